"""A command that fails because `migrate` was not run says so (docs: Commands)."""

from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder

from nateq_webhooks.management.commands import nateq_prune, nateq_secrets, nateq_status
from nateq_webhooks.management.unapplied_migrations import has_unapplied_migrations
from nateq_webhooks.runners.worker import Worker

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


@pytest.mark.usefixtures("_is_not_migrated")
def test_a_worker_says_it_when_it_starts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Worker, "run", lambda worker: None)

    call_command("nateq_worker")

    assert "not all migrations are applied" in capsys.readouterr().err


def test_nothing_is_unapplied_where_the_newest_migration_is() -> None:
    assert not has_unapplied_migrations()


def test_the_connection_goes_back_to_the_pool_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(connection, "close", lambda: closed.append(True))

    has_unapplied_migrations()

    assert closed
