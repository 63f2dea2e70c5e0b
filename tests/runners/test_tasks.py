"""As tasks of django.tasks, or of its backport: with the immediate backend and with the database one."""

import json
from importlib import import_module
from types import SimpleNamespace

import django
import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.protocol.signatures import sign
from tests.conftest import SECRET, Sender, envelope, wait_until
from tests.dispatch.scene import Configure, Connect, fails_once, make_due, names_written, write, written
from tests.runners.processes import run, site
from tests.server import post

if django.VERSION < (6,):
    pytest.importorskip("django_tasks")

pytestmark = pytest.mark.django_db(transaction=True)

ON = {"NATEQ_TASKS": "1", "NATEQ_DISPATCH": "tasks"}


class TestImmediateBackend:
    @pytest.fixture(autouse=True)
    def _tasks(self, configure: Configure) -> None:
        configure(DISPATCH="tasks")

    def test_receivers_have_run_before_the_answer_is_sent(self, sender: Sender, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: write("mine"))

        assert sender.post(envelope()).status_code == 200

        assert written("mine") == 1
        assert Delivery.objects.get().status == "processed"

    def test_a_receiver_that_fails_does_not_change_the_answer_and_is_tried_again(
        self, sender: Sender, connect: Connect
    ) -> None:
        def fails_once(*, run: Run, **kwargs: object) -> None:
            write("mine")
            if run.tries == 1:
                raise ValueError("broken")

        connect(signals.ticket_created, fails_once)

        assert sender.post(envelope()).status_code == 200

        assert (Delivery.objects.get().status, written("mine")) == ("failed", 0)
        make_due()
        api.run_due()
        assert (Delivery.objects.get().status, written("mine")) == ("processed", 1)

    def test_try_now_in_the_admin_runs_in_the_request(
        self, sender: Sender, connect: Connect, admin_client: Client
    ) -> None:
        connect(signals.ticket_created, fails_once)
        sender.post(envelope())
        assert Delivery.objects.get().status == "failed"

        admin_client.post(reverse("admin:nateq_webhooks_delivery_try_now", args=[Delivery.objects.get().pk]))

        assert (Delivery.objects.get().status, Run.objects.get().tries) == ("processed", 2)


def test_a_message_names_the_tenant_too(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = import_module("nateq_webhooks.runners.tasks")
    sent: list[tuple[object, ...]] = []
    monkeypatch.setattr(runner, "_task", lambda: SimpleNamespace(enqueue=lambda *identifiers: sent.append(identifiers)))
    notifier = runner._notifier.__wrapped__()

    notifier.notify(7)
    notifier.notify(8, "acme")

    wait_until(lambda: sent == [(7,), (8, "acme")])


@pytest.mark.slow
class TestDatabaseBackend:
    @pytest.fixture(autouse=True)
    def _tables(self) -> None:
        pytest.importorskip("django_tasks_db")
        run("-m", "django", "migrate", "--verbosity", "0", **ON)

    def test_a_task_carries_only_a_key_its_worker_runs_the_receivers_and_a_lost_one_costs_nothing_but_time(
        self, webhook: Webhook
    ) -> None:
        with site(**ON) as port:
            for number in (1, 2):
                forget_tasks()  # the first one's is lost
                body = json.dumps(envelope(delivery_id=f"dlv_{number}")).encode()
                headers = {"X-Nateq-Signature": sign(body, SECRET)}
                assert post(port, webhook.get_absolute_url(), body, headers)[0] == 200
                wait_until(lambda: len(enqueued()) == 1)
        first, second = Delivery.objects.order_by("pk")
        assert enqueued() == [{"args": [second.pk], "kwargs": {}}]
        assert (first.status, second.status, written()) == ("received", "received", 0)

        run("-m", "django", "db_worker", "--batch", "--no-startup-delay", **ON)
        assert names_written() == ["dlv_2 write_once"]
        run("-m", "django", "nateq_worker", "--once", **ON)

        assert names_written() == ["dlv_1 write_once", "dlv_2 write_once"]
        assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}
        assert set(Run.objects.values_list("status", "tries")) == {("succeeded", 1)}


def forget_tasks() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {tasks_table()}")


def tasks_table() -> str:
    (table,) = [name for name in connection.introspection.table_names() if name.endswith("dbtaskresult")]
    return table


def enqueued() -> list[object]:
    """Return the arguments of every task in the table."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT args_kwargs FROM {tasks_table()}")
        return [json.loads(row[0]) if isinstance(row[0], str) else row[0] for row in cursor.fetchall()]
