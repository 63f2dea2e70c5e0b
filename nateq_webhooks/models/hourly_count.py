"""How many deliveries came in an hour, stored once the hour is over: no page has to count millions of rows.

An hour is a range of keys, because keys ascend with the time of receipt. How many came in it changes only if some are
deleted; what became of most of them, too. So a stored count stays right: receivers that finish later are counted
through an index (`Delivery.UNSETTLED`), and who deletes deliveries or replays ignored ones removes the counts of
their hours (`forget`). Nothing is paid when a delivery is stored or processed.
"""

import functools
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db import models, transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.database.keyset.date_ranges import KeyRange, first_keys
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.models.delivery import Delivery

HOURS: Final = 48
"""Hours that are counted, including the current one."""

GRACE: Final = timedelta(minutes=5)
"""An hour is stored this long after its end: a slow transaction may still add a delivery to it."""

HOUR: Final = timedelta(hours=1)


class WebhookHour(NamedTuple):
    """The deliveries of one webhook in one hour; stored as a list in JSON."""

    first: int
    "The key of the first one."
    last: int
    total: int
    ignored: int
    invalid: int


@dataclass(frozen=True, slots=True)
class HourRange:
    """The keys of an hour: from `low` on, below `high`."""

    start: datetime
    low: int
    high: int

    @property
    def width(self) -> int:
        """The number of keys; there are at most as many deliveries."""
        return self.high - self.low

    def is_over(self, now: datetime) -> bool:
        """Whether no further delivery can come in it."""
        return self.start + HOUR + GRACE <= now


class StatusCount(NamedTuple):
    """Deliveries of one webhook and status in one hour, with their first and last keys."""

    webhook_id: uuid.UUID
    status: str
    start: datetime
    number: int
    first: int
    last: int


class HourlyCountQuerySet(models.QuerySet["HourlyCount"]):
    """The hours that are counted."""

    def forget(self, pks: Collection[int]) -> None:
        """Remove the hours from that of the lowest to that of the highest of some keys: they are counted again."""
        self.filter(first_key__lte=max(pks), end_key__gt=min(pks)).delete()


class HourlyCount(models.Model):
    """An hour that is over, with the number of deliveries of each webhook."""

    start = models.DateTimeField(_("hour"), primary_key=True)
    first_key = models.BigIntegerField(_("first key"))
    end_key = models.BigIntegerField(_("end of the keys"))
    numbers = models.JSONField(_("numbers"))
    "`WebhookHour` by the webhook's key in hexadecimal digits; webhooks without a delivery are left out."

    objects = HourlyCountQuerySet.as_manager()

    class Meta:
        verbose_name = _("hourly count")
        verbose_name_plural = _("hourly counts")
        ordering = ["start"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H}"

    @property
    def keys(self) -> HourRange:
        """The hour's keys."""
        return HourRange(self.start, self.first_key, self.end_key)


def last_hours(now: datetime) -> list[datetime]:
    """Return the beginnings of the last `HOURS` hours in UTC, the oldest first."""
    this_hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return [this_hour - HOUR * ago for ago in range(HOURS - 1, -1, -1)]


def stored_hours(alias: str, hours: Sequence[datetime]) -> dict[datetime, HourlyCount]:
    """Return the hours of these that are stored."""
    rows = HourlyCount.objects.using(alias).filter(start__gte=hours[0], start__lte=hours[-1])
    return {row.start: row for row in rows}


def key_ranges(alias: str, hours: Sequence[datetime], stored: Mapping[datetime, HourlyCount]) -> list[HourRange]:
    """Return the keys of consecutive hours; none if there are no deliveries.

    What is stored is kept, so that no delivery is counted in two hours: where some came out of order, another search
    could find another key.
    """
    keys = Delivery.objects.using(alias).aggregate(lowest=models.Min("pk"), highest=models.Max("pk"))
    lowest, highest = keys["lowest"], keys["highest"]
    if lowest is None or highest is None:
        return []
    found = _known_keys(hours, stored)
    unknown = [hour for hour in hours if hour not in found]
    if unknown:
        first = first_keys(Delivery, alias, "received_at", unknown, KeyRange(lowest, highest))
        found |= zip(unknown, first, strict=True)
    lows = [max(found[hour], lowest) for hour in hours]  # no rows are below it
    for number in range(1, len(lows)):
        lows[number] = max(lows[number], lows[number - 1])
    highs = [*lows[1:], max(lows[-1], highest + 1)]
    return [HourRange(*each) for each in zip(hours, lows, highs, strict=True)]


def _known_keys(hours: Sequence[datetime], stored: Mapping[datetime, HourlyCount]) -> dict[datetime, int]:
    known = {row.start + HOUR: row.end_key for row in stored.values() if row.start + HOUR <= hours[-1]}
    return known | {row.start: row.first_key for row in stored.values()}


def count(rows: "models.QuerySet[Delivery]", hours: Sequence[HourRange]) -> list[StatusCount]:
    """Count the rows with the keys of these hours, which are in order; one statement, which reads each row."""
    if not any(hour.width for hour in hours):
        return []
    place = models.Case(
        *(models.When(pk__gte=hour.low, then=number) for number, hour in reversed([*enumerate(hours)])),
        default=0,
        output_field=models.IntegerField(),
    )
    grouped = rows.filter(_within(hours)).order_by().values("webhook_id", "status", place=place)
    counted = grouped.annotate(number=models.Count("pk"), first=models.Min("pk"), last=models.Max("pk"))
    return [
        StatusCount(webhook_id, status, hours[place].start, *numbers)
        for webhook_id, status, place, *numbers in counted.values_list(
            "webhook_id", "status", "place", "number", "first", "last"
        )
    ]


def _within(hours: Sequence[HourRange]) -> models.Q:
    """Return the condition on the key; hours that follow each other are one range."""
    ranges: list[tuple[int, int]] = []
    for hour in hours:
        if ranges and ranges[-1][1] == hour.low:
            ranges[-1] = (ranges[-1][0], hour.high)
        else:
            ranges.append((hour.low, hour.high))
    return functools.reduce(models.Q.__or__, (models.Q(pk__gte=low, pk__lt=high) for low, high in ranges))


def newest_within(hours: Iterable[HourRange], most: int) -> list[HourRange]:
    """Return the newest hours that have at most so many keys together, in order."""
    found: list[HourRange] = []
    for hour in sorted(hours, key=lambda each: each.start, reverse=True):
        most -= hour.width
        if most < 0:
            break
        found.insert(0, hour)
    return found


def store(alias: str, hours: Sequence[HourRange], counts: Iterable[StatusCount]) -> None:
    """Store hours that are over, and remove those that are no longer shown. Raises `django.db.Error`."""
    rows = _rows(hours, counts)
    shown_from = min(hour.start for hour in hours) - HOUR * HOURS

    def write() -> None:
        with transaction.atomic(using=alias):
            manager = HourlyCount.objects.using(alias)
            manager.bulk_create(rows, ignore_conflicts=True)
            manager.filter(start__lt=shown_from).delete()

    retry_transaction(write, alias=alias)  # several workers may store the same hours at once


def _rows(hours: Sequence[HourRange], counts: Iterable[StatusCount]) -> list[HourlyCount]:
    by_hour: dict[datetime, dict[uuid.UUID, list[StatusCount]]] = {hour.start: {} for hour in hours}
    for each in counts:
        if each.start in by_hour:
            by_hour[each.start].setdefault(each.webhook_id, []).append(each)
    return [
        HourlyCount(
            start=hour.start,
            first_key=hour.low,
            end_key=hour.high,
            numbers={key.hex: _webhook_hour(parts) for key, parts in by_hour[hour.start].items()},
        )
        for hour in hours
    ]


def _webhook_hour(parts: Sequence[StatusCount]) -> WebhookHour:
    numbers = {part.status: part.number for part in parts}
    return WebhookHour(
        first=min(part.first for part in parts),
        last=max(part.last for part in parts),
        total=sum(numbers.values()),
        ignored=numbers.get(Delivery.Status.IGNORED, 0),
        invalid=numbers.get(Delivery.Status.INVALID, 0),
    )


def store_next_hours(alias: str, most: int) -> int:
    """Count and store hours that are over, the newest first, with at most so many keys; at least one. Return how many.

    Raises `django.db.Error`.
    """
    now = timezone.now()
    hours = last_hours(now)
    stored = stored_hours(alias, hours)
    if all(hour in stored for hour in hours if hour + HOUR + GRACE <= now):
        return 0
    missing = [hour for hour in key_ranges(alias, hours, stored) if hour.start not in stored and hour.is_over(now)]
    wanted = newest_within(missing, most) or missing[-1:]
    if wanted:
        store(alias, wanted, count(Delivery.objects.using(alias), wanted))
    return len(wanted)


def forget_hours(alias: str, pks: Iterable[int]) -> None:
    """Remove the counts of the hours of some deliveries, now and once the transaction has been committed.

    A page that counts in between does not see what the transaction has changed.
    """
    rows, keys = HourlyCount.objects.using(alias), set(pks)
    if not keys:
        return
    rows.forget(keys)
    if transaction.get_connection(alias).in_atomic_block:
        transaction.on_commit(functools.partial(rows.forget, keys), using=alias, robust=True)


@receiver(post_delete, sender=Delivery, dispatch_uid="nateq_webhooks.hourly_count")
def _forget_deleted(instance: Delivery, using: str, **kwargs: Any) -> None:  # noqa: ARG001 - Django's signature
    """Count the hour of a deleted delivery again, if it is one of those that are stored."""
    if instance.received_at >= timezone.now() - HOUR * (HOURS + 2):
        forget_hours(using, [instance.pk])
