"""The figures of the dashboard beside the truth: each one is computed again from every row."""

import random
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Max, Model, QuerySet
from django.test import Client
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.admin.dashboard import hour_counts
from nateq_webhooks.admin.dashboard.silent_webhooks import find_silent
from nateq_webhooks.admin.dashboard.statistics import MAX_TIMED_EACH, Statistics, read_statistics
from nateq_webhooks.admin.permissions import ALL_ROWS
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hourly_count import HourlyCount, store_next_hours
from tests.admin.pages import shown
from tests.builders import ago, build_delivery, build_run
from tests.conftest import Connect

pytestmark = pytest.mark.django_db

INDEX = "/admin/nateq_webhooks/"
STATUSES = ("processed", "failed", "dead", "received", "ignored", "invalid")
EVENTS = ("ticket.created", "ticket.updated", "lead.created")
SPAN = timedelta(hours=80)

Moment = Callable[[float], timedelta]


def day_and_night(share: float) -> timedelta:
    """Return how old a delivery is whose webhook gets none in the hours from 20 to 30 ago."""
    age = SPAN * (1 - share)
    return age + timedelta(hours=10) if timedelta(hours=20) < age < timedelta(hours=30) else age


WEBHOOKS: dict[str, tuple[float, Moment]] = {
    "busy": (0.7, lambda share: SPAN * (1 - share)),
    "shop": (0.2, day_and_night),
    "failing": (0.07, lambda share: SPAN * (1 - share)),
    "silent": (0.02, lambda share: timedelta(hours=75) + SPAN * (1 - share)),
    "seldom": (0.01, lambda share: SPAN * (1 - share)),
}


def fill(rows: int, seed: int = 1) -> None:
    """Store deliveries with runs, in the order they came."""
    chance = random.Random(seed)
    webhooks = {name: Webhook.objects.create(name=name) for name in [*WEBHOOKS, "never"]}
    now = timezone.now()
    ages = sorted(
        (
            (moment(chance.random()), name)
            for name, (share, moment) in WEBHOOKS.items()
            for _ in range(int(rows * share))
        ),
        reverse=True,
    )
    for first in range(0, len(ages), 5_000):
        Delivery.objects.bulk_create(
            build_delivery(
                webhooks[name],
                now - age,
                chance.choices(STATUSES, (9, 40, 30, 20, 1, 0) if name == "failing" else (96, 1, 1, 1, 0.5, 0.5))[0],
                event=chance.choice(EVENTS),
            )
            for age, name in ages[first : first + 5_000]
        )
        stored = Delivery.objects.filter(status="processed", runs=None).only("received_at")
        Run.objects.bulk_create(
            build_run(each, finished_at=each.received_at + timedelta(milliseconds=chance.randrange(5_000)))
            for each in stored.iterator()
        )


def hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def assert_true(
    found: Statistics, rows: QuerySet[Delivery] | None = None, shown_for: Sequence[uuid.UUID | None] | None = None
) -> None:
    """Compare each figure with what every row says."""
    deliveries = Delivery.objects.all() if rows is None else rows
    truth: dict[uuid.UUID | None, dict[datetime, Counter[str]]] = {}
    for webhook_id, status, received_at in deliveries.order_by().values_list("webhook_id", "status", "received_at"):
        if found.counted_from is None or received_at >= found.counted_from:
            for one in (webhook_id, None):
                truth.setdefault(one, {}).setdefault(hour_of(received_at), Counter())[status] += 1
    for key in shown_for or [*Webhook.objects.values_list("pk", flat=True), None]:
        health, of_one = found.health(key), truth.get(key, {})
        assert {hour.start: dict(hour.numbers) for hour in health.hours} == {
            start: dict(of_one.get(start, {})) for start in found.hours
        }
        assert health.total == sum(of_one.get(start, Counter()).total() for start in found.hours)
        assert health.failed == sum(
            of_one.get(start, Counter())[status] for start in found.hours for status in ("failed", "dead")
        )
        its = deliveries if key is None else deliveries.filter(webhook=key)
        if found.is_last_known and (key is not None or found.newest):
            assert health.last == its.aggregate(last=Max("received_at"))["last"]


def read_all() -> Statistics:
    """Reload until every hour is counted; each time what is shown is true."""
    for _reload in range(10):
        found = read_statistics()
        assert_true(found)
        if found.counted_from is None:
            return found
    raise AssertionError("The hours are never all counted.")


def without_times(found: Statistics) -> tuple[Any, ...]:
    return found.hours, found.numbers, found.newest, found.activities, found.times


@pytest.fixture
def filled() -> None:
    fill(3_000)


def settle() -> None:
    """Change statuses, as dispatch does."""
    chance = random.Random(2)
    for before, after in (("received", "processed"), ("failed", "dead"), ("dead", "processed"), ("received", "failed")):
        keys = list(Delivery.objects.filter(status=before).values_list("pk", flat=True))
        Delivery.objects.filter(pk__in=chance.sample(keys, len(keys) // 3)).update(status=after)


@pytest.mark.parametrize(
    ("rows", "at_once"), [(8_000, 4_000), pytest.param(200_000, hour_counts.MAX_KEYS, marks=pytest.mark.long)]
)
def test_every_figure_is_true_also_after_settlements_replays_and_deletions(
    boss: Client, connect: Connect, monkeypatch: pytest.MonkeyPatch, rows: int, at_once: int
) -> None:
    monkeypatch.setattr(hour_counts, "MAX_KEYS", at_once)  # so that the hours are not all counted by the first request
    fill(rows)
    first, again, found = read_all(), read_all(), read_statistics()
    if first.hours == found.hours:  # else an hour has ended meanwhile
        assert without_times(again) == without_times(found) == without_times(first)
        assert HourlyCount.objects.count() in (46, 47)

    settle()
    read_all()

    connect(signals.ticket_created, lambda **kwargs: None, "shop.open_ticket")
    ignored = Delivery.objects.filter(status="ignored", event="ticket.created", received_at__gte=ago(hours=40))
    dispatch.replay(ignored)
    read_all()
    api.run_due()
    read_all()

    recent = Delivery.objects.filter(received_at__gte=ago(hours=30)).order_by("pk")
    for each in recent[10:20]:
        boss.post(f"{INDEX}delivery/{each.pk}/delete/", {"post": "yes"})
    Delivery.objects.filter(pk__in=[each.pk for each in recent[:3_000:31]]).delete()
    newest = Delivery.objects.latest("pk")
    newest.delete()
    read_all()
    assert not Delivery.objects.filter(pk=newest.pk).exists()


@pytest.mark.usefixtures("filled")
def test_one_webhook_is_counted_as_the_dashboard_counts_it() -> None:
    of_all = read_all()

    for webhook in Webhook.objects.all():
        found = read_statistics(webhook.pk)
        if found.hours == of_all.hours:  # else an hour has ended meanwhile
            assert found.health(webhook.pk).hours == of_all.health(webhook.pk).hours
        assert found.health(webhook.pk).last == of_all.health(webhook.pk).last


@pytest.mark.usefixtures("filled")
def test_processing_times_are_of_the_newest_of_each_webhook_however_busy_another_one_is() -> None:
    found = read_all()

    for webhook in Webhook.objects.exclude(name__in=["silent", "never"]):
        its = Delivery.objects.filter(webhook=webhook, status="processed", received_at__gte=found.hours[0])
        newest = [each.pk for each in its.order_by("-pk")[:MAX_TIMED_EACH]]
        spans = sorted(
            run.finished_at - run.delivery.received_at
            for run in Run.objects.filter(delivery__in=newest).select_related("delivery")
            if run.finished_at is not None
        )
        times = found.health(webhook.pk).times
        assert times is not None
        assert (times.median, times.number) == (spans[(len(spans) + 1) // 2 - 1], len(newest))
        assert times.p95 == spans[-(-len(spans) * 95 // 100) - 1]


@pytest.mark.usefixtures("filled")
def test_a_silent_webhook_and_one_that_never_got_any_have_a_line_each(boss: Client) -> None:
    read_all()

    page = shown(boss, INDEX)

    rows = {name: page.split(f'class="nateq-text">{name}</bdi>')[-1].split("</tr>")[0] for name in ("silent", "never")}
    silent = Webhook.objects.get(name="silent")
    last = Delivery.objects.filter(webhook=silent).latest("pk").received_at
    assert last.isoformat() in rows["silent"]
    assert ">never<" in rows["never"]
    assert [each.name for each in find_silent(read_statistics(), Webhook.objects.all())] == ["silent"]


class Narrowed:
    """The rows of a user who sees only the deliveries of some webhooks."""

    def of(self, model: type[Model]) -> QuerySet[Any]:
        rows = ALL_ROWS.of(model)
        return rows.filter(webhook__name__in=["shop", "seldom"]) if model is Delivery else rows


@pytest.mark.usefixtures("filled")
def test_a_user_who_does_not_see_every_row_gets_counts_of_his_own_rows() -> None:
    read_all()

    found = read_statistics(among=Narrowed())

    assert not found.is_last_known
    assert_true(found, Narrowed().of(Delivery))
    assert found.health().total > 0


def test_deliveries_that_came_slightly_out_of_order_are_each_counted_once() -> None:
    chance = random.Random(3)
    webhook = Webhook.objects.create(name="shop")
    moments = [ago(hours=46 * number / 5_000, seconds=chance.uniform(-2, 2)) for number in range(5_000, 0, -1)]
    Delivery.objects.bulk_create(build_delivery(webhook, moment) for moment in moments)

    for found in (read_statistics(), read_statistics()):
        health = found.health(webhook.pk)
        assert health.total == 5_000
        true = Counter(map(hour_of, moments))
        assert all(abs(hour.total - true[hour.start]) <= 2 for hour in health.hours)


class TestManyDeliveries:
    @pytest.fixture
    def webhook(self) -> Webhook:
        webhook = Webhook.objects.create(name="shop")
        Delivery.objects.bulk_create(
            build_delivery(webhook, ago(hours=47.9 * number / 1_000), "failed" if number % 5 == 0 else "processed")
            for number in range(1_000, 0, -1)
        )
        return webhook

    def test_hours_are_counted_newest_first_and_the_page_says_from_when_on(
        self, boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hour_counts, "MAX_KEYS", 300)

        first = read_statistics()
        assert_true(first)
        assert first.counted_from == first.hours[0]
        assert 300 - 22 <= first.health().total <= 300 + 22
        HourlyCount.objects.all().delete()

        assert "older hours are still being counted" in shown(boss, INDEX)
        read_all()
        assert "older hours are still being counted" not in shown(boss, INDEX)

    def test_the_page_of_a_webhook_counts_its_own_deliveries_whatever_the_dashboard_has_counted(
        self, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = Webhook.objects.create(name="own")
        Delivery.objects.filter(pk__in=list(Delivery.objects.values_list("pk", flat=True))[::10]).update(webhook=own)
        monkeypatch.setattr(hour_counts, "MAX_KEYS", 150)
        read_statistics()

        found = read_statistics(own.pk)

        assert found.counted_from is None
        assert found.health(own.pk).total > 90
        assert_true(found, Delivery.objects.filter(webhook=own), [own.pk, None])
        assert 0 < HourlyCount.objects.count() < 47

    def test_a_worker_counts_too(self, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
        assert store_next_hours("default", 400) in range(17, 21)
        while store_next_hours("default", 1):  # at least one hour, however many deliveries it has
            pass
        monkeypatch.setattr(hour_counts, "MAX_KEYS", 50)

        found = read_statistics()

        assert found.counted_from is None
        assert_true(found)

    def test_only_the_newest_are_counted_if_too_many_came_in_this_hour(
        self, boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hour_counts, "MAX_KEYS", 3)
        Delivery.objects.bulk_create(build_delivery(webhook, timezone.now()) for _ in range(9))

        found = read_statistics()

        assert found.health().total == 3
        assert "these are the deliveries since" in shown(boss, INDEX)

    def test_an_hour_that_is_over_and_has_very_many_deliveries_is_counted_alone(
        self, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Delivery.objects.filter(received_at__gte=hour_of(timezone.now()) - timedelta(hours=1)).delete()
        monkeypatch.setattr(hour_counts, "MAX_KEYS", 5)

        stored = []
        for _reload in range(4):
            read_statistics()
            stored.append(HourlyCount.objects.count())

        assert stored == sorted(set(stored))  # each request counts a further one

    def test_too_many_unfinished_and_failed_deliveries_shorten_the_chart(
        self, boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read_all()
        monkeypatch.setattr(hour_counts, "MAX_UNSETTLED", 100)

        found = read_statistics()

        assert found.counted_from == found.hours[0]
        assert 1 < len(found.hours) < 48
        assert_true(found)
        page = shown(boss, INDEX)
        assert "these are the deliveries since" in page
        assert "still being counted" not in page

    def test_webhooks_and_events_in_any_number_are_counted(
        self, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read_all()
        Webhook.objects.bulk_create(Webhook(name=f"zebra {number}") for number in range(400))

        assert_true(read_statistics())

    def test_hours_that_are_over_are_not_counted_again(self, webhook: Webhook) -> None:
        read_all()
        HourlyCount.objects.update(numbers={})

        found = read_statistics()

        assert found.health().total < 50


READ_ONLY = {
    "sqlite": ("PRAGMA query_only = 1", "PRAGMA query_only = 0"),
    "postgresql": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    ),
    "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION TRANSACTION READ WRITE"),
}


@pytest.mark.django_db(transaction=True)
def test_a_database_that_cannot_be_written_to_is_counted_each_time() -> None:
    webhook = Webhook.objects.create(name="shop")
    Delivery.objects.bulk_create(build_delivery(webhook, ago(hours=hours)) for hours in range(60, 0, -1))
    read_only, writable = READ_ONLY[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(read_only)
    try:
        found = [read_statistics(), read_statistics()]
    finally:
        with connection.cursor() as cursor:
            cursor.execute(writable)

    for each in found:
        assert_true(each)
    assert not HourlyCount.objects.exists()


def test_the_last_delivery_of_all_is_no_earlier_than_that_of_a_webhook() -> None:
    shop, other = (Webhook.objects.create(name=name) for name in ("shop", "other"))
    last = ago(minutes=1)
    build_delivery(shop, last).save()
    build_delivery(other, last - timedelta(seconds=5)).save()  # by a server whose clock is slow

    found = read_statistics()

    assert found.health().last == found.health(shop.pk).last == last
