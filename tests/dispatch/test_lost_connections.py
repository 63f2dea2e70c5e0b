"""The connection goes away in the middle, or the database rolls back: told to the receiver, which may not listen."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import Error, connection, transaction

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Run
from tests.dispatch.proxy import Wire, through_a_wire
from tests.dispatch.scene import (
    BOUND_SECONDS,
    Connect,
    Deliver,
    at_once,
    backend_id,
    elsewhere,
    kill_connection,
    lapse_leases,
    names_written,
    run_until_finished,
    write,
    written,
)
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.services]


@pytest.fixture(autouse=True)
def _a_server() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no connection to lose and no two writers to deadlock")


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, deliver: Deliver) -> Iterator[Wire]:
    with through_a_wire(monkeypatch.setitem) as wire:
        yield wire


def lose_connection() -> None:
    """Have the server close this thread's connection, as it does when it restarts."""
    elsewhere(partial(kill_connection, backend_id()))


def run_with_neighbour(deliver: Deliver, connect: Connect, receiver: Callable[..., None], **options: Any) -> Run:
    """Run a receiver and, after it in the same claim, one more; return the first one's run."""
    connect(signals.ticket_created, receiver, "test.loses", **options)
    connect(signals.ticket_created, lambda **kwargs: write("neighbour"), "test.neighbour")
    deliver()

    api.run_due()

    assert Run.objects.get(receiver="test.neighbour").status == "succeeded"
    assert written("neighbour") == 1
    return Run.objects.get(receiver="test.loses")


class TestKilled:
    def test_in_the_middle_and_raised_undoes_the_run_and_the_next_one_goes_on(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        def loses(*, run: Run, **kwargs: Any) -> None:
            write("mine")
            if run.tries == 1:
                lose_connection()
            write("mine")

        run = run_with_neighbour(deliver, connect, loses)

        assert (run.status, run.tries) == ("failed", 1)
        assert run.error.startswith(("OperationalError", "InterfaceError"))
        assert written("mine") == 0
        run_until_finished()
        assert written("mine") == 2
        assert Delivery.objects.get().status == "processed"

    @pytest.mark.parametrize("more", [0, 2], ids=["at its end", "and more queries after it"])
    def test_in_the_middle_and_swallowed_undoes_the_run_too(
        self, deliver: Deliver, connect: Connect, more: int
    ) -> None:
        def loses(*, run: Run, **kwargs: Any) -> None:
            write("mine")
            if run.tries == 1:
                lose_connection()
                for _ in range(1 + more):
                    with suppress(Exception):
                        write("mine")

        run = run_with_neighbour(deliver, connect, loses)

        assert (run.status, run.tries) == ("failed", 1)
        assert written("mine") == 0
        run_until_finished()
        assert written("mine") == 1

    def test_and_not_even_noticed_undoes_the_run_too(self, deliver: Deliver, connect: Connect) -> None:
        def loses(*, run: Run, **kwargs: Any) -> None:
            write("mine")
            if run.tries == 1:
                lose_connection()

        assert run_with_neighbour(deliver, connect, loses).status == "failed"
        assert written("mine") == 0

    def test_and_reopened_by_the_receiver_undoes_the_run_too(self, deliver: Deliver, connect: Connect) -> None:
        """Its second half would else be committed without its first."""

        def loses(*, run: Run, **kwargs: Any) -> None:
            write("before")
            if run.tries == 1:
                lose_connection()
                with suppress(Error):
                    write("lost")
                connection.close()
                with suppress(Exception):
                    write("after")

        run = run_with_neighbour(deliver, connect, loses)

        assert run.status == "failed"
        assert (written("before"), written("after")) == (0, 0)

    def test_in_a_receiver_that_is_not_atomic_fails_it_and_the_next_one_goes_on(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        def loses(*, run: Run, **kwargs: Any) -> None:
            write("mine")
            if run.tries == 1:
                lose_connection()

        run = run_with_neighbour(deliver, connect, loses, atomic=False)

        assert run.status == "failed"
        assert written("mine") == 1
        run_until_finished()
        assert Delivery.objects.get().status == "processed"


class TestInTheMiddleOfTheCommit:
    """The two halves of the same moment: the receiver's rows and `succeeded` are both there, or neither is."""

    def test_before_the_database_has_it_the_run_has_failed(
        self, deliver: Deliver, connect: Connect, wire: Wire
    ) -> None:
        def works(*, run: Run, **kwargs: Any) -> None:
            write("mine")
            if run.tries == 1:
                wire.cut_at(b"commit", after_the_answer=False)

        run = run_with_neighbour(deliver, connect, works)

        assert wire.cuts == 1
        assert (run.status, run.tries) == ("failed", 1)
        assert written("mine") == 0
        run_until_finished()
        assert written("mine") == 1

    def test_when_only_its_answer_is_lost_the_run_has_succeeded_and_is_not_repeated(
        self, deliver: Deliver, connect: Connect, wire: Wire
    ) -> None:
        def works(**kwargs: Any) -> None:
            write("mine")
            wire.cut_at(b"commit", after_the_answer=True)

        run = run_with_neighbour(deliver, connect, works)

        assert wire.cuts == 1
        assert (run.status, run.tries, run.error, run.next_try_at) == ("succeeded", 1, "", None)
        assert Delivery.objects.get().status == "processed"
        lapse_leases()
        assert api.run_due() == 0
        assert written("mine") == 1

    def test_when_the_database_is_away_afterwards_the_run_starts_again_after_its_lease(
        self, deliver: Deliver, connect: Connect, wire: Wire
    ) -> None:
        def works(*, run: Run, **kwargs: Any) -> None:
            write("mine")
            if run.tries == 1:
                wire.down()

        connect(signals.ticket_created, works)
        deliver()

        with suppress(Error):  # what a worker waits out
            api.run_due()
        wire.up()
        connection.close()
        assert (Run.objects.get().status, written("mine")) == ("running", 0)
        lapse_leases()
        api.run_due()

        assert (Run.objects.get().status, Run.objects.get().tries, written("mine")) == ("succeeded", 2, 1)
        assert Delivery.objects.get().status == "processed"


class TestDeadlock:
    @pytest.mark.parametrize("how", ["raw", "orm", "own atomic block"])
    def test_whose_victim_swallows_the_error_never_commits_half_of_its_work(
        self, deliver: Deliver, connect: Connect, how: str
    ) -> None:
        """MariaDB has rolled everything back by then, and would commit what comes after it."""
        first = Group.objects.create(name="first")
        second = Group.objects.create(name="second")
        holds_second, holds_first = threading.Event(), threading.Event()
        failed: list[str] = []

        def lock(group: Group) -> None:
            if how == "raw":
                with connection.cursor() as cursor:
                    cursor.execute("UPDATE auth_group SET name = name WHERE id = %s", [group.pk])
            elif how == "orm":
                Group.objects.filter(pk=group.pk).update(name=group.name)
            else:
                with transaction.atomic():
                    Group.objects.select_for_update().get(pk=group.pk)

        def victim(*, run: Run, **kwargs: Any) -> None:
            if run.tries > 1:
                return
            write("before")
            lock(first)
            holds_first.set()
            wait_until_somebody_waits()
            try:
                lock(second)
            except Error as error:
                failed.append(type(error).__name__)
            with suppress(Exception):
                write("after")

        def rival() -> int:
            with transaction.atomic():
                be_the_one_that_survives()
                Group.objects.select_for_update().get(pk=second.pk)
                holds_second.set()
                assert holds_first.wait(BOUND_SECONDS)
                Group.objects.select_for_update().get(pk=first.pk)
            return 0

        def runs() -> int:
            assert holds_second.wait(BOUND_SECONDS)
            return api.run_due()

        connect(signals.ticket_created, victim)
        deliver()

        at_once([runs, rival])

        assert failed == ["OperationalError"]
        if how == "own atomic block" and connection.vendor == "postgresql":
            # PostgreSQL undoes the victim's inner block alone, as after any other error: nothing is lost.
            assert Run.objects.get().status == "succeeded"
            assert (written("before"), written("after")) == (1, 1)
            return
        assert Run.objects.get().status == "failed"
        assert (written("before"), written("after")) == (0, 0)
        run_until_finished()
        assert Delivery.objects.get().status == "processed"


def be_the_one_that_survives() -> None:
    """PostgreSQL's victim is who looks first for a deadlock, MariaDB's who has written less."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL deadlock_timeout = '60s'")
    else:
        Group.objects.bulk_create(Group(name=f"weight {number}") for number in range(200))


def wait_until_somebody_waits() -> None:
    """MariaDB looks again only when nobody has asked for a tenth of a second, so ask less often."""
    wait_until(lambda: elsewhere(is_somebody_waiting), seconds=BOUND_SECONDS, every=0.15)


def is_somebody_waiting() -> bool:
    """Say whether a transaction waits for a lock on the site's table."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        else:
            cursor.execute("SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")
        return bool(cursor.fetchone()[0])


def test_a_lost_connection_while_finalizing_is_recovered_by_the_next_claim(deliver: Deliver, connect: Connect) -> None:
    def commits_then_loses(**kwargs: Any) -> None:
        write("mine")
        transaction.on_commit(lose_connection)

    connect(signals.ticket_created, commits_then_loses)
    deliver()

    with suppress(Error):
        api.run_due()
    connection.close()
    assert Run.objects.get().status == "succeeded"
    Run.objects.exclude(next_try_at=None).update(next_try_at=Run.objects.get().started_at)
    api.run_due()

    assert names_written() == ["mine"]
    assert (Run.objects.get().tries, Run.objects.get().next_try_at) == (1, None)
    assert Delivery.objects.get().status == "processed"
