"""One run: what the receiver gets, what is committed with it, and the traps that a transaction sets."""

import asyncio
import functools
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import DatabaseError, Error, IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.dispatch import receiver
from django.test.utils import CaptureQueriesContext

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import PARKED_UNTIL
from nateq_webhooks.receivers import registry
from tests.dispatch.scene import (
    Configure,
    Connect,
    Deliver,
    elsewhere,
    lapse_leases,
    make_due,
    names_written,
    run_until_finished,
    write,
    written,
)

pytestmark = pytest.mark.django_db(transaction=True)


def the_run() -> Run:
    return Run.objects.get()


def fails_and_leaves_nothing() -> Run:
    """Run what is due, and return the run, which failed and wrote nothing."""
    assert api.run_due() == 1
    run = the_run()
    assert run.status == Run.Status.FAILED
    assert Delivery.objects.get().status == Delivery.Status.FAILED
    assert names_written() == []
    return run


@pytest.mark.django_db
class TestTheReceiver:
    def test_it_gets_the_event_the_delivery_and_the_run(self, deliver: Deliver, connect: Connect) -> None:
        got: list[dict[str, Any]] = []
        connect(signals.ticket_created, lambda **kwargs: got.append(kwargs), "test.one")
        delivery = deliver()

        api.run_due()

        (call,) = got
        assert call.pop("sender") is Delivery
        assert call.pop("signal", signals.ticket_created) is signals.ticket_created
        assert call["event"].data == {"id": "tkt_1", "subject": "Help"}
        assert call["delivery"] == delivery
        assert (call["run"].receiver, call["run"].round, call["run"].tries) == ("test.one", 0, 1)
        assert call["run"].pk == the_run().pk

    def test_what_it_changes_on_what_it_got_the_next_one_does_not_see(self, deliver: Deliver, connect: Connect) -> None:
        def vandal(*, event: Any, delivery: Any, run: Any, **kwargs: Any) -> None:
            event.data["subject"] = delivery.event = delivery.payload["event"] = "broken"
            delivery.headers.clear()
            run.delivery.delivery_id = run.receiver = "broken"
            run.delivery.payload["data"] = "broken"
            run.tries = 99

        got: list[Any] = []

        def heir(*, event: Any, delivery: Delivery, run: Run, **kwargs: Any) -> None:
            got.append((event.data, delivery.event, delivery.payload, run.delivery.delivery_id, run.tries))
            assert delivery.headers

        connect(signals.ticket_created, vandal, "test.vandal")
        connect(signals.ticket_created, heir, "test.heir")
        delivery = deliver()

        api.run_due()

        assert delivery.payload is not None
        assert got == [(delivery.payload["data"], "ticket.created", delivery.payload, delivery.delivery_id, 1)]
        assert set(Run.objects.values_list("receiver", "status", "tries")) == {
            ("test.vandal", "succeeded", 1),
            ("test.heir", "succeeded", 1),
        }

    def test_receivers_run_in_the_order_they_were_connected_and_one_that_raises_stops_no_other(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        order: list[str] = []

        def breaks(**kwargs: Any) -> None:
            order.append("breaks")
            raise ValueError("broken")

        connect(signals.ticket_created, lambda **kwargs: order.append("first"))
        connect(signals.ticket_created, breaks)
        connect(signals.ticket_created, lambda **kwargs: order.append("last"))
        deliver()

        api.run_due()

        assert order == ["first", "breaks", "last"]
        assert sorted(Run.objects.values_list("status", flat=True)) == ["failed", "succeeded", "succeeded"]

    def test_what_it_returns_is_ignored(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: ValueError("not raised"))
        deliver()

        api.run_due()

        assert the_run().status == Run.Status.SUCCEEDED


class TestCommit:
    def test_its_rows_and_the_word_that_it_succeeded_become_visible_together(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        seen: list[tuple[str, int, str]] = []

        def look(when: str) -> None:
            seen.append((when, *elsewhere(lambda: (written("mine"), the_run().status))))

        def works(**kwargs: Any) -> None:
            write("mine")
            transaction.on_commit(lambda: look("right after the commit"))
            look("at its end")

        connect(signals.ticket_created, works)
        deliver()

        api.run_due()

        assert seen == [("at its end", 0, "running"), ("right after the commit", 1, "succeeded")]

    def test_its_rows_and_the_word_are_written_in_one_transaction(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: write("mine"))
        deliver()

        with CaptureQueriesContext(connection) as queries:
            api.run_due()

        texts = [query["sql"] for query in queries.captured_queries]
        wrote = next(number for number, sql in enumerate(texts) if "auth_group" in sql and "INSERT" in sql)
        said = next(number for number, sql in enumerate(texts) if "'succeeded'" in sql and "UPDATE" in sql)
        assert wrote < said
        assert not [sql for sql in texts[wrote:said] if sql.startswith(("BEGIN", "COMMIT"))]
        assert [sql for sql in texts[:wrote] if sql.startswith(("BEGIN", "COMMIT"))][-1].startswith("BEGIN")

    def test_a_success_says_when_it_began_and_ended(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: None)
        deliver()

        api.run_due()

        run = the_run()
        assert run.started_at is not None
        assert run.finished_at is not None
        assert run.created_at <= run.started_at <= run.finished_at
        assert run.duration is not None
        assert timedelta() <= run.duration <= run.finished_at - run.created_at
        assert (run.tries, run.error, run.traceback, run.next_try_at, run.lease) == (1, "", "", None, None)
        assert Delivery.objects.get().status == Delivery.Status.PROCESSED

    def test_one_that_raises_leaves_nothing_but_its_error(self, deliver: Deliver, connect: Connect) -> None:
        def breaks(**kwargs: Any) -> None:
            write("mine")
            raise ValueError("out of paper")

        connect(signals.ticket_created, breaks)
        deliver()

        run = fails_and_leaves_nothing()

        assert run.error == "ValueError: out of paper"
        assert run.traceback.rstrip().endswith("ValueError: out of paper")
        assert "in breaks" in run.traceback
        assert (run.tries, run.lease) == (1, None)
        assert run.duration is not None
        assert run.next_try_at is not None
        assert run.finished_at is not None
        assert run.next_try_at > run.finished_at

    def test_after_a_success_nothing_of_an_earlier_failure_is_left(self, deliver: Deliver, connect: Connect) -> None:
        tries: list[int] = []

        def breaks_once(*, run: Run, **kwargs: Any) -> None:
            tries.append(run.tries)
            if run.tries == 1:
                raise ValueError("broken")
            write("mine")

        connect(signals.ticket_created, breaks_once)
        deliver()

        run_until_finished()

        run = the_run()
        assert (run.status, run.tries, run.error, run.traceback) == ("succeeded", 2, "", "")
        assert tries == [1, 2]
        assert written("mine") == 1
        assert Delivery.objects.get().status == Delivery.Status.PROCESSED


class TestSwallowedErrors:
    def test_of_the_orm_undo_the_run(self, deliver: Deliver, connect: Connect) -> None:
        def swallows(**kwargs: Any) -> None:
            write("mine")
            Group.objects.create(name="same")
            with suppress(IntegrityError):
                Group.objects.create(name="same")

        connect(signals.ticket_created, swallows)
        deliver()

        run = fails_and_leaves_nothing()

        assert run.error.startswith("RolledBackError: The receiver swallowed a database error")
        assert "transaction.atomic()" in run.error

    def test_of_the_orm_with_a_query_after_it_undo_the_run(self, deliver: Deliver, connect: Connect) -> None:
        def swallows(**kwargs: Any) -> None:
            Group.objects.create(name="same")
            with suppress(IntegrityError):
                Group.objects.create(name="same")
            write("mine")

        connect(signals.ticket_created, swallows)
        deliver()

        assert fails_and_leaves_nothing().error.startswith("TransactionManagementError")

    def test_of_everything_after_a_swallowed_one_undo_the_run_too(self, deliver: Deliver, connect: Connect) -> None:
        def swallows_all(**kwargs: Any) -> None:
            write("mine")
            for _ in range(3):
                with suppress(DatabaseError, TransactionManagementError):
                    Group.objects.create(name="same")

        connect(signals.ticket_created, swallows_all)
        deliver()

        fails_and_leaves_nothing()

    def test_of_a_raw_cursor_never_leave_half_of_the_receivers_work(self, deliver: Deliver, connect: Connect) -> None:
        """PostgreSQL has aborted the whole transaction by then; the others undo the one statement and no more."""

        def swallows(**kwargs: Any) -> None:
            write("before")
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO auth_group (name) VALUES ('same')")
                with suppress(IntegrityError):
                    cursor.execute("INSERT INTO auth_group (name) VALUES ('same')")

        connect(signals.ticket_created, swallows)
        deliver()

        if connection.vendor == "postgresql":
            fails_and_leaves_nothing()
            return
        api.run_due()
        assert the_run().status == Run.Status.SUCCEEDED
        assert (written("before"), Group.objects.filter(name="same").count()) == (1, 1)

    def test_of_a_raw_cursor_with_a_query_after_it_never_leave_half_of_it_either(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        def swallows(**kwargs: Any) -> None:
            write("before")
            with connection.cursor() as cursor, suppress(DatabaseError):
                cursor.execute("INSERT INTO no_such_table VALUES (1)")
            with suppress(DatabaseError):
                write("after")

        connect(signals.ticket_created, swallows)
        deliver()

        if connection.vendor == "postgresql":
            fails_and_leaves_nothing()
            return
        api.run_due()
        assert the_run().status == Run.Status.SUCCEEDED
        assert (written("before"), written("after")) == (1, 1)

    def test_a_transaction_that_it_rolled_back_by_itself_is_no_success(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        def rolls_back(**kwargs: Any) -> None:
            write("mine")
            transaction.set_rollback(True)

        connect(signals.ticket_created, rolls_back)
        deliver()

        fails_and_leaves_nothing()

    @pytest.mark.parametrize("call", [transaction.commit, transaction.rollback])
    def test_it_can_not_end_its_transaction_by_django(self, deliver: Deliver, connect: Connect, call: Any) -> None:
        def ends_it(**kwargs: Any) -> None:
            write("mine")
            call()

        connect(signals.ticket_created, ends_it)
        deliver()

        assert fails_and_leaves_nothing().error.startswith("TransactionManagementError")


class TestEndedTransactions:
    """A raw COMMIT or ROLLBACK: the word that the run succeeded must not be committed without the run's work."""

    @pytest.mark.parametrize("end", ["ROLLBACK", "COMMIT"])
    @pytest.mark.parametrize("more", [False, True], ids=["at its end", "with more work after it"])
    def test_by_the_receiver_fail_the_run_and_say_so(
        self, deliver: Deliver, connect: Connect, end: str, more: bool
    ) -> None:
        def ends_it(*, run: Run, **kwargs: Any) -> None:
            write("before")
            if run.tries == 1:
                with connection.cursor() as cursor:
                    cursor.execute(end)
                if more:
                    write("after")

        connect(signals.ticket_created, ends_it, "test.ends")
        connect(signals.ticket_created, lambda **kwargs: write("next"), "test.next")
        deliver()

        api.run_due()

        run = Run.objects.get(receiver="test.ends")
        assert (run.status, run.tries) == ("failed", 1)
        assert run.error.startswith("RolledBackError: The receiver ended its transaction by itself")
        assert Run.objects.get(receiver="test.next").status == "succeeded"
        assert written("before") == (1 if end == "COMMIT" else 0)
        driver = type(connection.connection).__module__.partition(".")[0]
        commits_each = driver in ("sqlite3", "psycopg2")  # what comes after is in no transaction
        assert written("after") == (1 if more and commits_each else 0)
        run_until_finished()
        assert Delivery.objects.get().status == "processed"
        assert (written("before"), written("next")) == (2 if end == "COMMIT" else 1, 1)

    def test_by_a_rolled_back_savepoint_are_none(self, deliver: Deliver, connect: Connect) -> None:
        def undoes_a_part(**kwargs: Any) -> None:
            write("mine")
            with connection.cursor() as cursor:
                cursor.execute("SAVEPOINT mine")
                write("undone")
                cursor.execute("ROLLBACK TO SAVEPOINT mine")

        connect(signals.ticket_created, undoes_a_part)
        deliver()

        api.run_due()

        assert the_run().status == Run.Status.SUCCEEDED
        assert names_written() == ["mine"]

    def test_in_a_receiver_that_is_not_atomic_are_its_own(self, deliver: Deliver, connect: Connect) -> None:
        def ends_it(**kwargs: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("INSERT INTO auth_group (name) VALUES ('mine 1')")
                cursor.execute("COMMIT")

        connect(signals.ticket_created, ends_it, atomic=False)
        deliver()

        api.run_due()

        assert the_run().status == Run.Status.SUCCEEDED
        assert names_written() == ["mine"]


class TestDeleted:
    @pytest.mark.parametrize("what", ["delivery", "run"])
    def test_by_its_own_receiver_a_run_has_failed_and_says_why(
        self, deliver: Deliver, connect: Connect, what: str
    ) -> None:
        def deletes(*, run: Run, delivery: Delivery, **kwargs: Any) -> None:
            write("mine")
            if run.tries == 1:
                (delivery if what == "delivery" else run).delete()

        connect(signals.ticket_created, deletes, "test.deletes")
        connect(signals.ticket_created, lambda **kwargs: write("next"), "test.next")
        deliver()

        api.run_due()

        run = Run.objects.get(receiver="test.deletes")
        assert (run.status, run.tries) == ("failed", 1)
        assert run.error.startswith("RolledBackError: The receiver deleted its own delivery, or its run")
        assert (written("mine"), written("next")) == (0, 1)
        run_until_finished()
        assert Delivery.objects.get().status == "processed"

    def test_by_its_own_receiver_that_is_not_atomic_it_is_gone_and_the_log_says_so(
        self, deliver: Deliver, connect: Connect, caplog: pytest.LogCaptureFixture
    ) -> None:
        connect(signals.ticket_created, lambda *, delivery, **kwargs: delivery.delete(), "test.deletes", atomic=False)
        connect(signals.ticket_created, lambda **kwargs: write("next"), "test.next")
        deliver()
        deliver()

        api.run_due()

        assert (Delivery.objects.count(), Run.objects.count()) == (0, 0)
        assert "its delivery was deleted while it ran" in caplog.text
        assert written("next") == 0

    def test_by_somebody_else_meanwhile_it_is_gone_and_the_log_says_so(
        self, deliver: Deliver, connect: Connect, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[Delivery] = []

        def processed(*, delivery: Delivery, **kwargs: Any) -> None:
            told.append(delivery)

        def is_deleted(**kwargs: Any) -> None:
            elsewhere(lambda: Delivery.objects.all().delete())

        connect(signals.ticket_created, is_deleted, "test.first", atomic=False)
        deliver()
        signals.delivery_processed.connect(processed)
        try:
            api.run_due()
        finally:
            signals.delivery_processed.disconnect(processed)

        assert Run.objects.count() == 0
        assert "its delivery was deleted while it ran" in caplog.text
        assert told == []

    def test_after_its_commit_a_delivery_is_not_announced(self, deliver: Deliver, connect: Connect) -> None:
        """As retention may do: `delivery.delete()` in `transaction.on_commit()`, which is what the error advises."""
        told: list[Delivery] = []

        def processed(*, delivery: Delivery, **kwargs: Any) -> None:
            told.append(delivery)

        def deletes_later(*, delivery: Delivery, **kwargs: Any) -> None:
            transaction.on_commit(lambda: Delivery.objects.filter(pk=delivery.pk).delete())

        connect(signals.ticket_created, deletes_later)
        connect(signals.ticket_closed, lambda **kwargs: write("other"))
        deliver()
        deliver("ticket.closed")
        signals.delivery_processed.connect(processed)
        try:
            api.run_due()
        finally:
            signals.delivery_processed.disconnect(processed)

        assert Delivery.objects.get().status == "processed"
        assert [delivery.event for delivery in told] == ["ticket.closed"]
        assert written("other") == 1


class TestSaved:
    @pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "not atomic"])
    def test_what_a_receiver_saves_of_its_delivery_and_run_does_no_harm(
        self, deliver: Deliver, connect: Connect, atomic: bool
    ) -> None:
        """Their columns are dispatch's; a receiver that saves them must not have them dispatched again."""

        def saves(*, delivery: Delivery, run: Run, **kwargs: Any) -> None:
            write("mine")
            delivery.save()
            run.save()

        connect(signals.ticket_created, saves, "test.saves", atomic=atomic)
        connect(signals.ticket_created, lambda **kwargs: write("next"), "test.next")
        deliver()

        for _ in range(3):
            api.run_due()

        assert list(Run.objects.values_list("status", "tries", "next_try_at")) == [("succeeded", 1, None)] * 2
        assert Delivery.objects.get().status == "processed"
        assert (written("mine"), written("next")) == (1, 1)


class TestAtomicBlocks:
    def test_one_that_failed_and_was_handled_inside_is_a_success(self, deliver: Deliver, connect: Connect) -> None:
        def handles(**kwargs: Any) -> None:
            write("before")
            Group.objects.create(name="same")
            with suppress(IntegrityError), transaction.atomic():
                write("inside")
                Group.objects.create(name="same")
            write("after")

        connect(signals.ticket_created, handles)
        deliver()

        api.run_due()

        assert the_run().status == Run.Status.SUCCEEDED
        assert (written("before"), written("inside"), written("after")) == (1, 0, 1)

    def test_one_that_failed_and_was_not_handled_fails_the_run(self, deliver: Deliver, connect: Connect) -> None:
        def breaks(**kwargs: Any) -> None:
            write("before")
            with transaction.atomic():
                write("inside")
                raise ValueError("broken")

        connect(signals.ticket_created, breaks)
        deliver()

        assert fails_and_leaves_nothing().error == "ValueError: broken"

    def test_one_without_a_savepoint_that_failed_and_was_handled_fails_the_run(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        def handles(**kwargs: Any) -> None:
            write("before")
            with suppress(ValueError), transaction.atomic(savepoint=False):
                raise ValueError("broken")

        connect(signals.ticket_created, handles)
        deliver()

        assert fails_and_leaves_nothing().error.startswith("RolledBackError")

    def test_a_durable_one_is_refused_clearly(self, deliver: Deliver, connect: Connect) -> None:
        def wants_its_own(**kwargs: Any) -> None:
            write("mine")
            with transaction.atomic(durable=True):
                write("mine too")

        connect(signals.ticket_created, wants_its_own)
        deliver()

        assert "durable" in fails_and_leaves_nothing().error


class TestOnCommit:
    def test_a_callback_runs_after_the_commit_of_the_try_that_succeeded_and_of_no_other(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        called: list[tuple[int, int, str]] = []

        def registers(*, run: Run, **kwargs: Any) -> None:
            write("mine")
            transaction.on_commit(
                lambda: called.append((run.tries, *elsewhere(lambda: (written("mine"), the_run().status))))
            )
            if run.tries < 3:
                raise ValueError("broken")

        connect(signals.ticket_created, registers)
        deliver()

        run_until_finished()

        assert called == [(3, 1, "succeeded")]

    def test_a_callback_of_an_inner_block_that_failed_does_not_run(self, deliver: Deliver, connect: Connect) -> None:
        called: list[str] = []

        def registers(**kwargs: Any) -> None:
            transaction.on_commit(lambda: called.append("outer"))
            with suppress(ValueError), transaction.atomic():
                transaction.on_commit(lambda: called.append("inner"))
                raise ValueError("broken")

        connect(signals.ticket_created, registers)
        deliver()

        api.run_due()

        assert called == ["outer"]

    def test_a_callback_that_raises_neither_fails_nor_repeats_the_run(
        self, deliver: Deliver, connect: Connect, caplog: pytest.LogCaptureFixture
    ) -> None:
        def breaks() -> None:
            raise ValueError("no mail today")

        def registers(**kwargs: Any) -> None:
            write("mine")
            transaction.on_commit(breaks)

        connect(signals.ticket_created, registers)
        deliver()

        api.run_due()
        lapse_leases()
        make_due()
        api.run_due()

        run = the_run()
        assert (run.status, run.tries, run.error, run.next_try_at) == ("succeeded", 1, "", None)
        assert Delivery.objects.get().status == Delivery.Status.PROCESSED
        assert written("mine") == 1
        assert "no mail today" in caplog.text
        assert "tried again" not in caplog.text

    def test_a_callback_that_exits_neither_fails_the_run_nor_ends_the_worker(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        def registers(**kwargs: Any) -> None:
            write("mine")
            transaction.on_commit(lambda: sys.exit(1))

        connect(signals.ticket_created, registers)
        deliver()

        api.run_due()

        assert the_run().status == Run.Status.SUCCEEDED
        assert written("mine") == 1


def test_a_foreign_key_that_is_checked_only_at_commit_counts_as_failed(deliver: Deliver, connect: Connect) -> None:
    """MariaDB checks it at once; PostgreSQL and SQLite at COMMIT, when the receiver has long returned."""
    returned: list[bool] = []

    def points_nowhere(**kwargs: Any) -> None:
        write("mine")
        group = Group.objects.create(name="same")
        Group.permissions.through.objects.create(group_id=group.pk, permission_id=2_000_000_000)
        returned.append(True)

    connect(signals.ticket_created, points_nowhere)
    deliver()

    run = fails_and_leaves_nothing()

    assert run.error.startswith("IntegrityError")
    assert returned == ([] if connection.vendor == "mysql" else [True])


class TestAsync:
    def test_what_it_wrote_is_committed_with_its_success(self, deliver: Deliver, connect: Connect) -> None:
        seen: list[tuple[bool, int]] = []

        async def works(**kwargs: Any) -> None:
            await Group.objects.acreate(name="mine 1")
            await sync_to_async(write)("mine")
            seen.append(
                (
                    await sync_to_async(lambda: connection.in_atomic_block)(),
                    await sync_to_async(lambda: elsewhere(lambda: written("mine")))(),
                )
            )

        connect(signals.ticket_created, works)
        deliver()

        api.run_due()

        assert seen == [(True, 0)]
        assert the_run().status == Run.Status.SUCCEEDED
        assert written("mine") == 2

    def test_what_it_wrote_is_undone_by_its_failure(self, deliver: Deliver, connect: Connect) -> None:
        async def breaks(**kwargs: Any) -> None:
            await Group.objects.acreate(name="mine 1")
            raise ValueError("broken")

        connect(signals.ticket_created, breaks)
        deliver()

        assert fails_and_leaves_nothing().error == "ValueError: broken"

    def test_a_database_error_that_it_swallows_undoes_the_run(self, deliver: Deliver, connect: Connect) -> None:
        async def swallows(**kwargs: Any) -> None:
            await Group.objects.acreate(name="same")
            with suppress(IntegrityError):
                await Group.objects.acreate(name="same")

        connect(signals.ticket_created, swallows)
        deliver()

        assert fails_and_leaves_nothing().error.startswith("RolledBackError")

    def test_one_inside_a_decorators_sync_wrapper_is_awaited_too(self, deliver: Deliver, connect: Connect) -> None:
        async def works(**kwargs: Any) -> None:
            await Group.objects.acreate(name="mine 1")

        @functools.wraps(works)
        def wrapper(**kwargs: Any) -> Any:
            return works(**kwargs)

        connect(signals.ticket_created, wrapper)
        deliver()

        api.run_due()

        assert the_run().status == Run.Status.SUCCEEDED
        assert written("mine") == 1

    def test_one_that_is_cancelled_has_failed(self, deliver: Deliver, connect: Connect) -> None:
        async def is_cancelled(**kwargs: Any) -> None:
            await Group.objects.acreate(name="mine 1")
            raise asyncio.CancelledError

        connect(signals.ticket_created, is_cancelled)
        deliver()

        fails_and_leaves_nothing()


@pytest.mark.django_db
class TestExit:
    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_a_receiver_that_calls_sys_exit_has_failed_and_the_worker_goes_on(
        self, deliver: Deliver, connect: Connect, is_async: bool
    ) -> None:
        def leaves(**kwargs: Any) -> None:
            write("mine")
            sys.exit("goodbye")

        async def leaves_async(**kwargs: Any) -> None:
            await Group.objects.acreate(name="mine 1")
            sys.exit("goodbye")

        connect(signals.ticket_created, leaves_async if is_async else leaves, "test.leaves")
        connect(signals.ticket_created, lambda **kwargs: None, "test.next")
        deliver()

        api.run_due()

        assert dict(Run.objects.values_list("receiver", "status")) == {
            "test.leaves": "failed",
            "test.next": "succeeded",
        }
        assert Run.objects.get(receiver="test.leaves").error == "SystemExit: goodbye"
        assert names_written() == []


@pytest.mark.django_db
class TestTimeout:
    def test_a_receiver_that_ran_too_long_is_refused_and_counted(
        self, deliver: Deliver, connect: Connect, configure: Configure
    ) -> None:
        configure(RUN_TIMEOUT=timedelta(seconds=2))
        clock = threading.Event()

        def hangs(*, run: Run, **kwargs: Any) -> None:
            write("mine")
            if run.tries == 1:
                clock.wait(2.05)

        connect(signals.ticket_created, hangs)
        deliver()

        run = fails_and_leaves_nothing()
        assert run.error.startswith("TimedOutError: The receiver ran for 2 s, longer than RUN_TIMEOUT")
        assert run.tries == 1
        run_until_finished()
        assert (the_run().status, the_run().tries, written("mine")) == ("succeeded", 2, 1)

    def test_each_receiver_has_the_whole_time_for_itself(
        self, deliver: Deliver, connect: Connect, configure: Configure
    ) -> None:
        configure(RUN_TIMEOUT=timedelta(seconds=3))
        clock = threading.Event()
        for _ in range(2):
            connect(signals.ticket_created, lambda **kwargs: clock.wait(1.6))
        deliver()

        api.run_due()

        assert list(Run.objects.values_list("status", flat=True)) == ["succeeded", "succeeded"]


class TestNotAtomic:
    def test_it_runs_without_a_transaction_and_what_it_wrote_before_it_raised_stays(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        seen: list[tuple[bool, int]] = []

        def breaks(*, run: Run, **kwargs: Any) -> None:
            write("mine")
            seen.append((connection.in_atomic_block, elsewhere(lambda: written("mine"))))
            if run.tries == 1:
                raise ValueError("broken")

        connect(signals.ticket_created, breaks, atomic=False)
        deliver()

        api.run_due()
        assert (the_run().status, written("mine")) == ("failed", 1)
        run_until_finished()

        assert seen == [(False, 1), (False, 2)]
        assert (the_run().status, the_run().tries) == ("succeeded", 2)
        assert Delivery.objects.get().status == Delivery.Status.PROCESSED

    def test_it_may_open_transactions_of_its_own(self, deliver: Deliver, connect: Connect) -> None:
        def works(**kwargs: Any) -> None:
            with transaction.atomic(durable=True):
                write("mine")
            with suppress(ValueError), transaction.atomic(durable=True):
                write("undone")
                raise ValueError("broken")

        connect(signals.ticket_created, works, atomic=False)
        deliver()

        api.run_due()

        assert the_run().status == Run.Status.SUCCEEDED
        assert names_written() == ["mine"]

    def test_the_decorator_takes_the_option_too(self, deliver: Deliver) -> None:
        seen: list[bool] = []

        @receiver(signals.ticket_created, atomic=False, dispatch_uid="test.decorated", weak=False)
        def decorated(**kwargs: Any) -> None:
            seen.append(connection.in_atomic_block)

        try:
            deliver()
            api.run_due()
        finally:
            signals.ticket_created.disconnect(dispatch_uid="test.decorated")

        assert seen == [False]
        assert the_run().status == Run.Status.SUCCEEDED

    def test_one_that_leaves_autocommit_off_has_its_rows_if_and_only_if_it_succeeded(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        def leaves_it_off(*, run: Run, **kwargs: Any) -> None:
            if run.tries == 1:
                transaction.set_autocommit(False)
            write("mine")

        connect(signals.ticket_created, leaves_it_off, atomic=False)
        deliver()

        with suppress(Error):  # what a worker waits out
            api.run_due()
        connection.close()
        if the_run().status != Run.Status.SUCCEEDED:
            assert written("mine") == 0
            lapse_leases()
            run_until_finished()

        assert (the_run().status, written("mine")) == ("succeeded", 1)
        assert Delivery.objects.get().status == Delivery.Status.PROCESSED


@pytest.mark.django_db
class TestIdempotencyKey:
    def test_it_is_the_same_for_every_try_of_a_run(self, deliver: Deliver, connect: Connect) -> None:
        keys: list[str] = []

        def breaks_twice(*, run: Run, **kwargs: Any) -> None:
            keys.append(run.idempotency_key)
            if run.tries < 3:
                raise ValueError("broken")

        connect(signals.ticket_created, breaks_twice)
        deliver()

        run_until_finished()

        assert len(keys) == 3
        assert set(keys) == {the_run().idempotency_key}

    def test_it_differs_by_delivery_by_receiver_and_by_round(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: None, "test.one")
        connect(signals.ticket_created, lambda **kwargs: None, "test.two")
        deliver()
        deliver()
        api.run_due()
        run = Run.objects.earliest("pk")
        replay = Run.objects.create(delivery=run.delivery, receiver=run.receiver, round=1, status="dropped")

        keys = {other.idempotency_key for other in Run.objects.all()}

        assert len(keys) == 5
        assert replay.idempotency_key in keys


@pytest.mark.usefixtures("caches_stay_fresh")
def test_a_new_delivery_with_one_receiver_costs_its_run_at_most_six_statements(
    deliver: Deliver, connect: Connect
) -> None:
    connect(signals.ticket_created, lambda **kwargs: None)
    delivery = deliver()
    hold_cache.get("default")  # that nothing is held back is asked twice a second, not for each delivery

    with CaptureQueriesContext(connection) as queries:
        assert api.run_delivery(delivery.pk) == 1

    control = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
    tripwire = connection.vendor == "postgresql"  # what finds a raw ROLLBACK
    assert sum(not query["sql"].startswith(control) for query in queries.captured_queries) <= 6 + tripwire


def test_a_run_whose_receiver_is_gone_when_it_would_start_is_parked(deliver: Deliver, connect: Connect) -> None:
    def removes_the_next(**kwargs: Any) -> None:
        registry.remove("ticket.created", None, uid="test.next")

    connect(signals.ticket_created, removes_the_next, "test.first")
    connect(signals.ticket_created, lambda **kwargs: None, "test.next")
    deliver()

    api.run_due()

    run = Run.objects.get(receiver="test.next")
    assert (run.status, run.tries, run.next_try_at) == ("waiting", 0, PARKED_UNTIL)
