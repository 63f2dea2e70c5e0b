"""The system checks of receivers and runners."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.checks import CheckMessage, run_checks
from django.test import override_settings
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.checks import site
from nateq_webhooks.dispatch import notify
from nateq_webhooks.models import Delivery, EventType, Webhook
from nateq_webhooks.models.hold import Heartbeat
from nateq_webhooks.receivers import registry
from tests.conftest import Connect, Sender, envelope

pytestmark = pytest.mark.django_db  # Django's own checks of models may ask SQLite what it supports


def found(*wanted: str, databases: list[str] | None = None) -> list[CheckMessage]:
    """Return the messages of the checks with these ids."""
    tags = None if databases is None else ["nateq_webhooks"]
    messages = run_checks(tags=tags, databases=databases)
    return [message for message in messages if str(message.id).removeprefix("nateq_webhooks.") in wanted]


def stored(*wanted: str) -> list[CheckMessage]:
    return found(*wanted, databases=["default"])


def ignored(**kwargs: Any) -> None: ...


# Events without receivers


class TestEvents:
    def test_a_subscribed_event_without_a_receiver_is_a_warning(self, connect: Connect) -> None:
        Webhook.objects.create(name="shop", events=["ticket.created", "lead.created", "user.created"])
        connect(signals.lead_created, ignored)

        (message,) = stored("W050")

        assert 'No receiver is connected to ticket.created, user.created, which webhook "shop"' in message.msg
        assert "AppConfig.ready()" in str(message.hint)
        assert "Connected: lead.created." in str(message.hint)

    def test_a_receiver_of_each_event_or_of_every_event_is_enough(self, connect: Connect) -> None:
        Webhook.objects.create(name="shop", events=["ticket.created", "ticket.merged"])
        connect(signals.ticket_created, ignored)
        connect(signals.signal_for("ticket.merged"), ignored)
        assert stored("W050") == []
        Webhook.objects.create(name="leads", events=["lead.created"])
        assert len(stored("W050")) == 1
        connect(signals.event_received, ignored)
        assert stored("W050") == []

    def test_a_webhook_of_all_events_needs_one_receiver(self, connect: Connect) -> None:
        Webhook.objects.create(name="shop")

        (message,) = stored("W050")
        assert "No receiver is connected to any event" in message.msg
        assert "Connected: none." in str(message.hint)

        connect(signals.ticket_created, ignored)
        assert stored("W050") == []

    def test_each_active_webhook_is_named_once(self) -> None:
        Webhook.objects.create(name="shop", events=["ticket.created"])
        Webhook.objects.create(name="crm", events=[f"order.{number}" for number in range(20)])
        Webhook.objects.create(name="off", events=["ticket.created"], is_active=False)

        crm, shop = stored("W050")
        assert '"crm"' in crm.msg
        assert "order.11 and 8 more" in crm.msg
        assert '"shop"' in shop.msg

    @pytest.mark.parametrize("events", ["ticket.created", {"a": 1}, None, [1, None]])
    def test_events_that_are_no_list_of_names_raise_no_error(self, events: Any) -> None:
        Webhook.objects.create(name="shop", events=events if events is not None else 0)

        assert len(stored("W050")) == 1

    def test_a_receiver_of_a_misspelled_event_is_a_warning(self, connect: Connect) -> None:
        connect(signals.signal_for("ticket.creatd"), ignored, "shop.stock")
        connect(signals.signal_for("order.shipped"), ignored)

        (message,) = stored("W055")

        assert "'ticket.creatd'" in message.msg
        assert "shop.stock" in message.msg
        assert "'ticket.created'" in str(message.hint)

    def test_a_receiver_of_an_offered_or_subscribed_event_is_no_warning(self, connect: Connect) -> None:
        connect(signals.signal_for("conversation.unassigned"), ignored)
        connect(signals.signal_for("message.resent"), ignored)
        assert len(stored("W055")) == 2

        EventType.objects.create(name="conversation.unassigned")
        Webhook.objects.create(name="shop", events=["message.resent"])

        assert stored("W055") == []


# One module under two names


def test_receivers_of_a_module_with_two_names_are_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "receivers.py"
    file.write_text(
        "from django.dispatch import receiver\nfrom nateq_webhooks import signals\n\n\n"
        "@receiver(signals.ticket_created)\ndef handle(**kwargs): ...\n"
    )
    functions = []
    for name in ("shop.receivers", "proj.shop.receivers"):
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        functions.append(module.handle)
    try:
        (message,) = found("W051")
    finally:
        for function in functions:
            signals.ticket_created.disconnect(function)

    assert "shop.receivers.handle and proj.shop.receivers.handle are the same function" in message.msg
    assert found("W051") == []
    assert not list(registry)


# The runner


@pytest.fixture
def with_tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Set TASKS and NATEQ_WEBHOOKS as in a process that has read neither."""
    if django.VERSION < (6,):
        pytest.importorskip("django_tasks")
    package = "django.tasks" if django.VERSION >= (6,) else "django_tasks"

    def change(backend: str, *, queues: tuple[str, ...] = ("default",), alias: str = "default", **ours: str) -> Any:
        monkeypatch.delitem(sys.modules, "nateq_webhooks.runners.tasks", raising=False)
        notify._runner_at.cache_clear()
        tasks = {alias: {"BACKEND": f"{package}.backends.{backend}", "QUEUES": list(queues)}}
        return override_settings(TASKS=tasks, NATEQ_WEBHOOKS={"DISPATCH": "tasks"} | ours)

    yield change
    monkeypatch.undo()
    notify._runner_at.cache_clear()


class TestTasks:
    @pytest.mark.parametrize(
        ("backend", "said"),
        [
            ("immediate.ImmediateBackend", "ImmediateBackend: receivers run in the process that receives"),
            ("dummy.DummyBackend", "DummyBackend, which runs nothing"),
        ],
    )
    def test_a_backend_without_workers_is_a_warning(
        self, with_tasks: Callable[..., Any], backend: str, said: str
    ) -> None:
        with with_tasks(backend):
            (message,) = found("W053", "E007", "E025")

        assert message.id == "nateq_webhooks.W053"
        assert said in message.msg
        assert "TASK_BACKEND" in str(message.hint)

    def test_a_backend_that_stores_tasks_without_its_app_is_a_warning(self, with_tasks: Callable[..., Any]) -> None:
        pytest.importorskip("django_tasks_db")
        backend = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
        with with_tasks("dummy.DummyBackend"), override_settings(TASKS=backend):
            (message,) = found("W053", "E007", "E025")

        assert message.id == "nateq_webhooks.W053"
        assert "django_tasks_db, which is not in INSTALLED_APPS" in message.msg

    @pytest.mark.parametrize(
        ("backend", "leaves"), [("immediate.ImmediateBackend", False), ("dummy.DummyBackend", True)]
    )
    def test_the_dummy_backend_leaves_the_runs_to_workers(
        self, with_tasks: Callable[..., Any], backend: str, *, leaves: bool
    ) -> None:
        with with_tasks(backend):
            assert notify.leaves_to_workers() is leaves

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"queues": ("mail",)}, "no queue 'default' of the backend 'default'"),
            ({"TASK_QUEUE": "webhooks"}, "no queue 'webhooks' of the backend 'default'"),
            ({"TASK_BACKEND": "slow"}, "no queue 'default' of the backend 'slow'"),
            ({"alias": "slow"}, "no queue 'default' of the backend 'default'"),
        ],
    )
    def test_a_missing_queue_or_backend_is_an_error_that_names_the_setting(
        self, with_tasks: Callable[..., Any], options: dict[str, Any], named: str
    ) -> None:
        with with_tasks("dummy.DummyBackend", **options):
            (message,) = found("W053", "E007", "E025")

        assert message.id == "nateq_webhooks.E007"
        assert named in message.msg
        assert '["TASK_QUEUE"]' in message.msg

    @pytest.mark.django_db(transaction=True)
    def test_tasks_go_to_the_queue_and_the_backend_of_the_settings(
        self, with_tasks: Callable[..., Any], sender: Sender, connect: Connect
    ) -> None:
        connect(signals.ticket_created, ignored)
        options: dict[str, Any] = {"queues": ("webhooks",), "TASK_QUEUE": "webhooks", "TASK_BACKEND": "slow"}
        with with_tasks("dummy.DummyBackend", alias="slow", **options):
            assert sender.post(envelope()).status_code == 200
            from nateq_webhooks.runners import tasks

            (result,) = tasks._task().get_backend().results

        assert result.args == [Delivery.objects.get().pk]
        assert (result.task.queue_name, result.backend) == ("webhooks", "slow")


class Unreadable:
    """A runner whose own check raises an error."""

    hold = timedelta()

    def wake(self, due: dispatch.Due) -> None: ...

    def problems(self) -> Any:
        raise LookupError("no broker called shop")


def test_a_runner_whose_own_check_raises_is_an_error_with_the_exception() -> None:
    with override_settings(NATEQ_WEBHOOKS={"DISPATCH": "tests.test_checks_of_receivers.Unreadable"}):
        (message,) = found("E025")

    assert "LookupError: no broker called shop" in message.msg


def test_celery_that_is_not_installed_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "find_spec", lambda name: None)
    with override_settings(NATEQ_WEBHOOKS={"DISPATCH": "celery"}):
        (message,) = found("W052", "E007", "E025")

    assert message.id == "nateq_webhooks.E007"


# Later tries


class TestRecovery:
    @pytest.fixture(autouse=True)
    def _an_old_delivery(self, sender: Sender) -> None:
        sender.post(envelope())
        Delivery.objects.update(received_at=timezone.now() - timedelta(hours=1))

    @pytest.mark.parametrize("way", ["inline", "worker"])
    def test_a_site_without_a_recent_worker_is_a_warning(self, way: str) -> None:
        with override_settings(NATEQ_WEBHOOKS={"DISPATCH": way}):
            (message,) = stored("W054")
            assert "No worker has been seen since" in message.msg
            assert "nateq_worker --once" in str(message.hint)

            Heartbeat.objects.create(name="one", seen_at=timezone.now() - timedelta(hours=1))
            assert len(stored("W054")) == 1

            Heartbeat.objects.create(name="other")
            assert stored("W054") == []

    def test_a_site_without_an_old_delivery_is_no_warning(self) -> None:
        Delivery.objects.update(received_at=timezone.now())

        assert stored("W054") == []

    def test_celery_beat_is_a_worker(self) -> None:
        celery = pytest.importorskip("celery")
        app = celery.Celery("site", broker="memory://", set_as_current=False)
        from celery import _state

        before = (_state.default_app, _state._tls.current_app)
        _state.default_app = _state._tls.current_app = app
        try:
            with override_settings(NATEQ_WEBHOOKS={"DISPATCH": "celery"}):
                assert len(stored("W054")) == 1
                app.conf.beat_schedule = {"any name": {"task": "nateq_webhooks.run_due", "schedule": 60.0}}
                assert stored("W054") == []
        finally:
            _state.default_app, _state._tls.current_app = before
            app.close()
