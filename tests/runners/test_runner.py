"""Which runner is used: by its short name, or a class of the site's own by its dotted path."""

from datetime import timedelta

import django
import pytest

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery
from nateq_webhooks.runners.inline import InlineRunner
from nateq_webhooks.runners.worker import WorkerRunner
from tests.conftest import Sender, envelope
from tests.dispatch.scene import Configure, Connect, write, written
from tests.runners.processes import run

pytestmark = pytest.mark.django_db(transaction=True)


class Notebook:
    """A way to dispatch of a site's own: it notes whom to run."""

    woken: list[dispatch.Due] = []

    hold = timedelta()

    def wake(self, due: dispatch.Due) -> None:
        self.woken.append(due)


class Broken:
    """A way to dispatch of a site's own, with a mistake in it."""

    hold = timedelta()

    def wake(self, due: dispatch.Due) -> None:
        raise RuntimeError("nobody is in")


def test_a_short_name_is_one_of_ours(configure: Configure) -> None:
    configure(DISPATCH="inline")
    assert isinstance(api.runner(), InlineRunner)
    configure(DISPATCH="worker")
    assert isinstance(api.runner(), WorkerRunner)


def test_a_dotted_path_is_a_class_of_the_sites_own(sender: Sender, connect: Connect, configure: Configure) -> None:
    configure(DISPATCH="tests.runners.test_runner.Notebook")
    connect(signals.ticket_created, lambda **kwargs: write("mine"))

    sender.post(envelope())
    sender.post(envelope(attempt=2))
    sender.post(envelope("message.sent", delivery_id="nobody listens"))

    (due,) = Notebook.woken
    Notebook.woken.clear()
    assert written("mine") == 0
    assert api.run_delivery(due.pk, alias=due.alias, dispatch_at=due.dispatch_at) == 1
    assert written("mine") == 1


def test_one_that_raises_does_not_change_the_answer_and_the_worker_finds_the_delivery(
    sender: Sender, connect: Connect, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    configure(DISPATCH="tests.runners.test_runner.Broken")
    connect(signals.ticket_created, lambda **kwargs: write("mine"))

    assert sender.post(envelope()).status_code == 200

    assert "nobody is in" in caplog.text
    assert api.run_due() == 1
    assert written("mine") == 1


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import django
django.setup()
from django.core.management import call_command
from nateq_webhooks.models import Webhook
from tests.conftest import Sender, envelope
sender = Sender(Webhook.objects.get())
print("answered", sender.post(envelope()).status_code)
call_command("nateq_worker", "--once")
"""


def test_celery_without_celery_says_what_to_install_and_the_worker_runs_what_was_stored(sender: Sender) -> None:
    said = run("-c", WITHOUT.format(missing={"celery"}), NATEQ_DISPATCH="celery")

    assert 'NATEQ_WEBHOOKS["DISPATCH"] is "celery", but Celery is not installed' in said
    assert 'pip install "nateq-webhooks[celery]"' in said
    assert "answered 200" in said
    assert "1 run was due." in said
    assert Delivery.objects.get().status == "processed"
    assert written("dlv_1 write_once") == 1


@pytest.mark.skipif(django.VERSION >= (6,), reason="Django 6 brings django.tasks")
def test_tasks_without_any_says_what_to_install_and_the_worker_runs_what_was_stored(sender: Sender) -> None:
    said = run("-c", WITHOUT.format(missing={"django_tasks"}), NATEQ_DISPATCH="tasks")

    assert '"tasks", which needs Django 6 or the backport: pip install "nateq-webhooks[tasks]"' in said
    assert "answered 200" in said
    assert Delivery.objects.get().status == "processed"
    assert written("dlv_1 write_once") == 1
