"""A command that fails because `migrate` was not run says so (docs: Commands)."""

from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder

from nateq_webhooks import signals
from nateq_webhooks.management.commands import nateq_prune, nateq_secrets, nateq_status, nateq_worker
from nateq_webhooks.management.unapplied_migrations import has_unapplied_migrations
from nateq_webhooks.models import Delivery
from nateq_webhooks.runners.worker import Worker
from tests.dispatch.scene import Connect, Deliver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def _is_not_migrated() -> Any:
    newest = MigrationRecorder.Migration.objects.filter(app="nateq_webhooks").latest("name")
    newest.delete()
    yield
    newest.save()


def fail(*args: object, **options: object) -> None:
    raise OperationalError("no such table: nateq_webhooks_hold")


COMMANDS = [
    ("nateq_status", nateq_status, "status"),
    ("nateq_prune", nateq_prune, "prune"),
    ("nateq_secrets", nateq_secrets, "count_forms"),
]


@pytest.mark.parametrize(("command", "module", "function"), COMMANDS)
@pytest.mark.usefixtures("_is_not_migrated")
def test_the_failure_of_a_command_names_migrate(
    command: str, module: object, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, function, fail)

    with pytest.raises(CommandError, match=r"not all migrations are applied\. Run: manage\.py migrate"):
        call_command(command)


@pytest.mark.parametrize(("command", "module", "function"), COMMANDS[1:])
def test_another_failure_of_the_database_does_not(
    command: str, module: object, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, function, fail)

    with pytest.raises(CommandError, match="The database failed"):
        call_command(command)


def test_a_worker_says_it_and_begins_when_they_are_applied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([True, True, True, False])
    began: list[bool] = []
    monkeypatch.setattr(nateq_worker, "has_unapplied_migrations", lambda: next(answers))
    monkeypatch.setattr(nateq_worker, "MIGRATIONS_SECONDS", 0.0)
    monkeypatch.setattr(Worker, "run", lambda worker: began.append(next(answers, None) is None))

    call_command("nateq_worker")

    assert "not all migrations are applied" in capsys.readouterr().err
    assert began == [True]


@pytest.mark.usefixtures("_is_not_migrated")
def test_a_worker_for_cron_claims_nothing(connect: Connect, deliver: Deliver) -> None:
    connect(signals.ticket_created, lambda **kwargs: None)
    deliver()

    with pytest.raises(CommandError, match="not all migrations are applied"):
        call_command("nateq_worker", once=True)

    assert Delivery.objects.get().dispatch_at is not None


def test_nothing_is_unapplied_where_the_newest_migration_is() -> None:
    assert not has_unapplied_migrations()


def test_the_connection_goes_back_to_the_pool_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(connection, "close", lambda: closed.append(True))

    has_unapplied_migrations()

    assert closed
