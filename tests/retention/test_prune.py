"""What `RETENTION` removes and what it leaves, whichever way it is called, and that it may be killed anywhere."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, router
from django.db.models import Model, ProtectedError
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from nateq_webhooks import dispatch, retention, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.maintenance import Maintenance
from nateq_webhooks.errors import ContentRemovedError
from nateq_webhooks.models import Attempt, AuditEntry, Delivery, OtherContent, Reissue, Run, RunTry, Webhook
from nateq_webhooks.models.hold import Hold, OrderLock
from nateq_webhooks.models.hourly_count import HourlyCount, store_next_hours
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from nateq_webhooks.models.replay import ReplayedRun
from nateq_webhooks.models.retention_progress import RetentionProgress
from nateq_webhooks.models.run import PARKED_UNTIL
from nateq_webhooks.models.unredacted_body import UnredactedBody
from nateq_webhooks.retention import LeftReason, removal, walk
from nateq_webhooks.runners.worker import drain
from tests.builders import ago, build_delivery, build_run, insert, store_deliveries, store_run
from tests.conftest import Connect, Sender, envelope
from tests.retention.conftest import Configure

pytestmark = pytest.mark.django_db(transaction=True)


def old(webhook: Webhook, days: float, **over: Any) -> Delivery:
    (stored,) = insert([build_delivery(webhook, ago(days=days), payload={"a": 1}, headers={"A": "b"}, **over)])
    return stored


def kept() -> set[int]:
    return set(Delivery.objects.values_list("pk", flat=True))


def test_a_blanked_delivery_stays_erased_at_its_own_time(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"payload": 30})
    erased_at = ago(days=20)
    blanked = old(webhook, 31, content_change="erasure", content_changed_at=erased_at)

    assert retention.prune().payloads == 1

    blanked.refresh_from_db()
    assert (blanked.body, blanked.payload, blanked.headers) == (b"", None, {})
    assert (blanked.content_change, blanked.content_changed_at) == ("erasure", erased_at)


@pytest.mark.parametrize("tier", ["payload", "delivery"])
def test_a_run_that_was_given_up_stops_no_queue_once_it_can_not_be_replayed(
    sender: Sender, connect: Connect, configure: Configure, tier: str
) -> None:
    configure(DISPATCH="worker", ORDERED_BY="data.id", ORDER_ON_DEAD="block", MAX_TRIES=1, RETENTION={tier: 30})
    Webhook.objects.update(has_removed=True)
    ran: list[str] = []

    def receiver(*, event: Any, **kwargs: Any) -> None:
        ran.append(event.delivery_id)
        if event.delivery_id == "dlv_1":
            raise ValueError

    connect(signals.ticket_created, receiver, "shop.receive")
    for delivery_id in ("dlv_1", "dlv_2"):
        sender.post(envelope(delivery_id=delivery_id))
    drain()
    assert ran == ["dlv_1"]
    Delivery.objects.filter(delivery_id="dlv_1").update(received_at=ago(days=31))

    report = retention.prune()
    Maintenance(DEFAULT_DB_ALIAS).run_once()
    drain()

    assert report.payloads + report.deliveries == 1
    assert ran == ["dlv_1", "dlv_2"]


def test_the_payload_goes_first_and_the_delivery_later(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"payload": 30, "delivery": 90})
    gone, emptied, whole = old(webhook, 91), old(webhook, 31), old(webhook, 29)
    run = store_run(emptied)

    report = retention.prune()

    assert (report.deliveries, report.payloads, report.is_complete) == (1, 1, True)
    assert kept() == {emptied.pk, whole.pk}
    emptied.refresh_from_db()
    assert (emptied.body, emptied.payload, emptied.headers) == (b"", None, {})
    assert (emptied.content_change, emptied.status) == ("retention", "processed")
    assert emptied.content_changed_at is not None
    assert Run.objects.get() == run
    assert not Delivery.objects.filter(pk=gone.pk).exists()
    whole.refresh_from_db()
    assert (whole.body, whole.content_change) == (b"{}", None)
    removed = RemovedDelivery.objects.get()
    assert (removed.webhook_id, removed.identity, removed.reason) == (webhook.pk, gone.identity, "retention")


def test_errors_stay_masked_after_the_payload_that_tells_what_is_masked_has_gone(
    webhook: Webhook, configure: Configure, admin_client: Client
) -> None:
    body = b'{"event": "ticket.created", "data": {"email": "sara@example.com", "subject": "Help"}}'
    deliveries = [old(webhook, 31, body=body), old(webhook, 31, body=body)]
    for delivery in deliveries:  # failed before the setting was made
        run = store_run(delivery, error="no sara@example.com", traceback="Help\nKeyError: 'sara@example.com'")
        RunTry.objects.create(run=run, number=1, finished_at=timezone.now(), error="never sara@example.com")
    configure(RETENTION={"payload": 30}, REDACT=["data.email"])

    assert retention.prune().payloads == 2

    for run in Run.objects.all():
        assert (run.error, run.traceback) == ("no [redacted]", "Help\nKeyError: '[redacted]'")
        page = admin_client.get(reverse("admin:nateq_webhooks_run_change", args=[run.pk])).content.decode()
        assert "KeyError" in page
        assert "sara@example.com" not in page
    assert set(RunTry.objects.values_list("error", flat=True)) == {"never [redacted]"}


def test_everything_that_belongs_to_a_delivery_goes_with_it(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"delivery": 90})
    first, second, young = old(webhook, 100), old(webhook, 99), old(webhook, 1)
    run = store_run(first)
    RunTry.objects.create(run=run, number=1, finished_at=timezone.now())
    OrderLock.objects.create(run=run, key="k", position=1)
    ReplayedRun.objects.create(replay=dispatch.replay([young]), run=run)
    Attempt.objects.create(delivery=first)
    OtherContent.objects.create(delivery=first, content_hash="h", received_at=timezone.now(), size=1, body=b"x")
    Reissue.objects.create(delivery=second, original=first)
    Reissue.objects.create(delivery=young, original=second)
    UnredactedBody.objects.create(delivery=first, body=b"x")

    retention.prune()

    assert kept() == {young.pk}
    for model, _field in (*removal.OF_RUNS, *removal.OF_DELIVERIES):
        assert not model._meta.base_manager.exists(), model


def test_every_table_that_refers_to_what_is_deleted_is_known() -> None:
    deleted: set[type[Model]] = {Delivery, *(model for model, _field in (*removal.OF_RUNS, *removal.OF_DELIVERIES))}

    assert {model for table in deleted for model in removal.referring(table)} <= deleted
    assert not removal.is_referenced_by_project()


def test_what_is_unfinished_held_or_parked_stays_and_is_counted(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"payload": 10, "delivery": 30})
    hold = Hold.objects.create(scope="receiver:x", paused_at=timezone.now())
    waiting, held, parked, running, done = (
        old(webhook, 40, status=status) for status in ("received", "received", "received", "received", "processed")
    )
    Run.objects.bulk_create(
        [
            build_run(waiting, "waiting"),
            build_run(held, "waiting", held_by=hold.pk),
            build_run(parked, "waiting", next_try_at=PARKED_UNTIL),
            build_run(running, "running"),
            build_run(done, "succeeded", next_try_at=timezone.now()),  # not finalized yet
        ]
    )
    undispatched = old(webhook, 40, status="received", dispatch_at=timezone.now())

    report = retention.prune()

    assert kept() == {waiting.pk, held.pk, parked.pk, running.pk, done.pk, undispatched.pk}
    assert not Delivery.objects.exclude(content_change=None).exists()
    assert report.left == {LeftReason.UNFINISHED: 4, LeftReason.HELD: 1, LeftReason.PARKED: 1}


def test_what_was_left_goes_once_it_has_finished(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"delivery": 30})
    busy = old(webhook, 40, status="failed")
    run = store_run(busy, status="failed")
    later = old(webhook, 35)
    assert retention.prune().left == {LeftReason.UNFINISHED: 1}
    assert kept() == {busy.pk}
    assert later.pk not in kept()

    Run.objects.filter(pk=run.pk).update(status="succeeded", next_try_at=None)
    Delivery.objects.update(status="processed")

    assert (retention.prune().deliveries, kept()) == (1, set())


def test_many_that_are_left_do_not_stop_the_others(
    webhook: Webhook, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(RETENTION={"delivery": 30})
    monkeypatch.setattr(walk, "MAX_LEFT", 3)
    monkeypatch.setattr(walk, "BATCH_SIZE", 4)
    rows = [old(webhook, 60 - number, status="received" if number % 2 else "processed") for number in range(20)]

    for _call in range(3):
        report = retention.prune()
        assert report.left == {LeftReason.UNFINISHED: 10}
    assert kept() == {row.pk for row in rows if row.status == "received"}
    assert len(RetentionProgress.objects.get().left) == 3

    Delivery.objects.update(status="processed")
    assert (retention.prune().deliveries, kept()) == (10, set())


def test_failed_for_good_can_be_kept_longer(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"delivery": {"*": 30, "dead": 90, "message.*": 5}})
    dead, processed, message = (
        old(webhook, 40, status="dead"),
        old(webhook, 40),
        old(webhook, 6, event="message.sent"),
    )
    very_old = old(webhook, 91, status="dead")
    young = old(webhook, 6)

    retention.prune()

    assert kept() == {dead.pk, young.pk}
    assert not {processed.pk, message.pk, very_old.pk} & kept()


def test_deliveries_whose_times_are_out_of_order_are_found(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"delivery": 30})
    stored = store_deliveries(webhook, 10)
    Delivery.objects.filter(pk=stored[4].pk).update(received_at=ago(days=40))

    assert retention.prune().deliveries == 1
    Delivery.objects.filter(pk=stored[2].pk).update(received_at=ago(days=40))
    assert retention.prune().deliveries == 1

    assert kept() == {each.pk for each in stored} - {stored[2].pk, stored[4].pk}


def test_a_later_call_begins_where_the_former_one_ended(
    webhook: Webhook, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(RETENTION={"payload": 30})
    monkeypatch.setattr(walk, "BATCH_SIZE", 50)
    for _ in range(200):
        insert([build_delivery(webhook, ago(days=40))])
    assert retention.prune().payloads == 200

    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert retention.prune().payloads == 0

    assert len(queries) < 20


def test_other_rules_look_at_everything_again(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"delivery": {"dead": 30}})
    delivery = old(webhook, 40)
    assert retention.prune().deliveries == 0

    configure(RETENTION={"delivery": {"processed": 30}})

    assert (retention.prune().deliveries, Delivery.objects.filter(pk=delivery.pk).exists()) == (1, False)


def test_a_dry_run_counts_and_changes_nothing(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"payload": 30, "delivery": 90})
    old(webhook, 91)
    old(webhook, 31)
    busy = old(webhook, 95, status="received")
    store_run(busy, status="waiting")
    expired = RemovedDelivery(webhook_id=webhook.pk, identity="x", reason="retention", expires_at=ago(days=1))
    RemovedDelivery.objects.bulk_create([expired])  # saving one would set `has_removed`
    before = list(Delivery.objects.order_by("pk").values())

    report = retention.prune(dry_run=True)

    assert (report.deliveries, report.payloads, report.identities) == (1, 1, 1)
    assert report.left == {LeftReason.UNFINISHED: 1}
    assert list(Delivery.objects.order_by("pk").values()) == before
    assert not RetentionProgress.objects.exists()
    assert not Webhook.objects.get().has_removed
    real = retention.prune()
    assert (real.deliveries, real.payloads, real.identities, real.left) == (1, 1, 1, report.left)


def test_a_call_ends_when_its_time_is_over_and_the_next_one_continues(
    webhook: Webhook, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(RETENTION={"delivery": 30})
    monkeypatch.setattr(walk, "BATCH_SIZE", 1)
    for _ in range(5):
        old(webhook, 40)
    retention.prune(seconds=0.000001)
    calls = 0
    while not retention.prune(seconds=0.05).is_complete:
        calls += 1
        assert calls < 200

    assert kept() == set()


def test_identities_are_kept_for_the_time_of_the_setting(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"delivery": 30}, REMOVED_KEPT_FOR=timedelta(days=5))
    old(webhook, 40)
    erased = RemovedDelivery.objects.create(webhook_id=webhook.pk, identity="e", reason="erasure", expires_at=None)
    now = timezone.now()
    retention.prune(now=now)
    assert RemovedDelivery.objects.count() == 2

    assert retention.prune(now=now + timedelta(days=4)).identities == 0
    assert retention.prune(now=now + timedelta(days=5)).identities == 1

    assert RemovedDelivery.objects.get() == erased


def test_a_kill_at_any_statement_leaves_nothing_half_done(webhook: Webhook, configure: Configure) -> None:
    """Each statement fails once, as if the process had died there; the next call does the rest."""
    configure(RETENTION={"payload": 30, "delivery": 90})

    class KilledError(BaseException):
        pass

    def fill() -> None:
        for model, _field in (*removal.OF_RUNS, *removal.OF_DELIVERIES):
            model._meta.base_manager.all().delete()
        Delivery.objects.all().delete()
        RemovedDelivery.objects.all().delete()
        RetentionProgress.objects.all().delete()
        Webhook.objects.update(has_removed=True)
        rows = [old(webhook, 100), old(webhook, 100), old(webhook, 40), old(webhook, 1)]
        for row in rows:
            store_run(row)

    at = 0
    while True:
        fill()
        executed = 0

        def fail(execute: Any, *arguments: Any) -> Any:
            nonlocal executed
            executed += 1
            if executed == at:  # noqa: B023 - called in this turn only
                raise KilledError
            return execute(*arguments)

        at += 1
        killed = False
        with connection.execute_wrapper(fail):
            try:
                retention.prune(pause=0)
            except KilledError:
                killed = True
        if not killed:
            break
        # Whole deliveries are there with their run, or gone with it and remembered.
        there = kept()
        assert set(Run.objects.values_list("delivery_id", flat=True)) == there
        assert RemovedDelivery.objects.count() == 4 - len(there)
        retention.prune(pause=0)
        assert Delivery.objects.count() == 2
        assert (Delivery.objects.filter(body=b"").count(), RemovedDelivery.objects.count()) == (1, 2)
    assert at > 15


def test_a_replay_of_what_was_removed_is_refused_by_name(
    webhook: Webhook, configure: Configure, connect: Connect
) -> None:
    ran: list[int] = []
    connect(signals.ticket_created, lambda *, delivery, **kwargs: ran.append(delivery.pk), "shop.open")
    configure(RETENTION={"payload": 30})
    emptied, whole = old(webhook, 40), old(webhook, 1, body=b'{"event": "ticket.created", "data": {}}')
    retention.prune()

    date = f"{timezone.localtime():%Y-%m-%d}"
    message = f"The payload of delivery {emptied.pk} was removed by retention on {date}; it can't be run again."
    for given in (emptied, [emptied], [whole.pk, emptied.pk]):
        with pytest.raises(ContentRemovedError) as caught:
            dispatch.replay(given)
        assert str(caught.value) == message
    assert not Run.objects.exists()

    replay = dispatch.replay(Delivery.objects.all())
    api.run_due()
    assert (replay.runs, replay.without_content, ran) == (1, 1, [whole.pk])
    emptied.refresh_from_db()
    with pytest.raises(ContentRemovedError):
        emptied.load_event()


def test_a_run_of_a_delivery_whose_content_is_gone_is_given_up_with_the_reason(
    webhook: Webhook, connect: Connect
) -> None:
    """No way leads there, but a receiver must never get an empty event."""
    connect(signals.ticket_created, lambda **kwargs: None, "shop.open")
    delivery = old(webhook, 40, content_change="retention", content_changed_at=timezone.now(), status="received")
    run = store_run(delivery, "shop.open", status="waiting", next_try_at=timezone.now())

    api.run_due()

    run.refresh_from_db()
    assert (run.status, "was removed by retention" in run.error) == ("dead", True)


def test_the_counted_hours_of_the_dashboard_follow(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"delivery": 0.5})
    insert(build_delivery(webhook, ago(hours=13)) for _ in range(3))
    while store_next_hours(router.db_for_read(HourlyCount), 100_000):
        pass
    assert any(hour.numbers for hour in HourlyCount.objects.all())

    retention.prune()

    assert not any(hour.numbers for hour in HourlyCount.objects.all())


def test_nothing_is_looked_up_as_long_as_nothing_was_removed(sender: Sender, configure: Configure) -> None:
    configure(DISPATCH="worker", RETENTION={"delivery": 30})
    sender.post(envelope(delivery_id="warm"))

    with CaptureQueriesContext(connection) as queries:
        sender.post(envelope(delivery_id="dlv_2"))

    assert len([one for one in queries if "INSERT" in one["sql"]]) == len(queries) == 1


def test_a_worker_removes_what_is_old(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"delivery": 30})
    old(webhook, 40)

    api.Maintenance("default").run_once()

    assert kept() == set()


def test_the_audit_log_has_one_entry_a_day_with_what_was_removed(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"payload": 30, "delivery": 90}, AUDIT_RETENTION=timedelta(days=7))
    AuditEntry.objects.create(action="paused", source="admin", at=ago(days=8))
    recent = AuditEntry.objects.create(action="paused", source="admin", at=ago(days=6))
    for _ in range(2):
        old(webhook, 100)
        old(webhook, 40)
        retention.prune(dry_run=True)
        report = retention.prune()
    assert (report.deliveries, report.payloads) == (1, 1)

    entries = {(one.target, *one.details.items()) for one in AuditEntry.objects.filter(action="pruned")}
    assert entries == {
        ("deliveries", ("deliveries", 2)),
        ("payloads", ("deliveries", 2)),
        ("audit log", ("entries", 1)),
    }
    assert AuditEntry.objects.get(action="paused") == recent


def test_a_celery_task_removes_what_is_old(webhook: Webhook, configure: Configure) -> None:
    tasks = pytest.importorskip("nateq_webhooks.tasks")
    configure(RETENTION={"delivery": 30})
    old(webhook, 40)

    assert tasks.prune.apply().get() == 1

    assert kept() == set()


def test_rows_of_the_project_that_protect_a_delivery_keep_it(
    webhook: Webhook, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project's model may refer to deliveries with PROTECT: Django's own cascade then decides."""
    configure(RETENTION={"delivery": 30})
    protected, free = old(webhook, 40), old(webhook, 40)
    monkeypatch.setattr(removal, "is_referenced_by_project", lambda: True)

    def protect(*, instance: Delivery, **kwargs: Any) -> None:
        if instance.pk == protected.pk:
            raise ProtectedError("an order needs it", {instance})

    from django.db.models.signals import pre_delete

    pre_delete.connect(protect, sender=Delivery)
    try:
        report = retention.prune()
    finally:
        pre_delete.disconnect(protect, sender=Delivery)

    assert (kept(), report.left) == ({protected.pk}, {LeftReason.REFERENCED: 1})
    assert RemovedDelivery.objects.get().identity == free.identity
