"""A receiver that writes to another database is warned of: that write is not undone with its run."""

import copy
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connections
from pytest_django import DjangoDbBlocker

from nateq_webhooks import dispatch, signals
from nateq_webhooks.models import Run
from tests.dispatch.scene import Connect, Deliver, write

pytestmark = pytest.mark.django_db(databases=["default", "other"])


@pytest.fixture(scope="module", autouse=True)
def other(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The alias of a second database that has the site's table."""
    settings = copy.deepcopy(connections.databases["default"])
    name = str(tmp_path_factory.mktemp("other") / "other.sqlite3")
    settings |= {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": {}}
    connections.databases["other"] = settings
    with django_db_blocker.unblock():
        with connections["other"].schema_editor() as editor:
            editor.create_model(Group)
        yield "other"
        connections["other"].close()
    del connections["other"]
    del connections.databases["other"]


@pytest.fixture
def name() -> str:
    """A receiver that this process has not been warned of yet."""
    return f"test.{uuid.uuid4().hex}"


def warnings(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and record.getMessage().startswith(f"Receiver {name} writes")
    ]


def test_a_write_to_it_is_warned_of_once_with_what_to_do(
    deliver: Deliver, connect: Connect, other: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def writes(*, delivery: Any, **kwargs: Any) -> None:
        for number in range(3):
            Group.objects.using(other).create(name=f"{delivery.delivery_id} {number}")

    connect(signals.ticket_created, writes, name)
    deliver()
    deliver()

    dispatch.run_due()

    (said,) = warnings(caplog, name)
    assert f'writes to the database "{other}"' in said
    assert "run.idempotency_key" in said
    assert "atomic=False" in said
    assert Group.objects.using(other).count() == 6


@pytest.mark.parametrize("sql", ["INSERT INTO auth_group (name) VALUES ('x')", "  delete from auth_group"])
def test_a_write_by_a_raw_cursor_is_warned_of_too(
    deliver: Deliver, connect: Connect, other: str, name: str, caplog: pytest.LogCaptureFixture, sql: str
) -> None:
    def writes(**kwargs: Any) -> None:
        with connections[other].cursor() as cursor:
            cursor.execute(sql)

    connect(signals.ticket_created, writes, name)
    deliver()

    dispatch.run_due()

    assert len(warnings(caplog, name)) == 1


def test_an_async_receiver_is_warned_of_too(
    deliver: Deliver, connect: Connect, other: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def writes(**kwargs: Any) -> None:
        await Group.objects.using(other).acreate(name="x")

    connect(signals.ticket_created, writes, name)
    deliver()

    dispatch.run_due()

    assert len(warnings(caplog, name)) == 1


def test_what_it_wrote_there_survives_the_failure_of_its_run(
    deliver: Deliver, connect: Connect, other: str, name: str
) -> None:
    """The documented limit, and the reason for the warning."""

    def writes_and_breaks(**kwargs: Any) -> None:
        write("mine")
        Group.objects.using(other).create(name="x")
        raise ValueError("broken")

    connect(signals.ticket_created, writes_and_breaks, name)
    deliver()

    dispatch.run_due()

    assert Run.objects.get().status == "failed"
    assert (Group.objects.count(), Group.objects.using(other).count()) == (0, 1)


def test_reading_from_it_and_writing_to_its_own_database_are_not_warned_of(
    deliver: Deliver, connect: Connect, other: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def reads(**kwargs: Any) -> None:
        write("mine")
        assert not Group.objects.using(other).exists()

    connect(signals.ticket_created, reads, name)
    deliver()

    dispatch.run_due()

    assert Run.objects.get().status == "succeeded"
    assert warnings(caplog, name) == []


def test_writing_to_it_outside_a_receiver_is_not_warned_of(
    deliver: Deliver, connect: Connect, other: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, name)
    deliver()
    dispatch.run_due()

    Group.objects.using(other).create(name="x")

    assert "writes to the database" not in caplog.text
