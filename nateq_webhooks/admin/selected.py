"""The deliveries of a selection, found through the list's indexes: a replay's page must not read the whole table."""

from typing import Any, Final

from django.db.models import QuerySet

from nateq_webhooks.admin.bounds import SLACK, Period, by_keys, ends_of
from nateq_webhooks.admin.combinations import Combined, combinations
from nateq_webhooks.admin.rows import Merged, Rows, counted
from nateq_webhooks.dispatch import Selection
from nateq_webhooks.models import Delivery, Webhook

COLUMNS: Final = ("status", "event", "webhook_id")
"""The columns of the index, in its order."""


def count_of(selection: Selection, limit: int) -> int:
    """Count the deliveries of a selection, stopping at `limit`. Raises `ValidationError` for a webhook that is none."""
    return counted(_rows(selection), limit, Delivery.objects.db)


def keys_of(selection: Selection, count: int) -> list[int]:
    """Return the first keys of a selection, in the order they came."""
    return _rows(selection).pks(count, descending=False)


def ends_of_keys(selection: Selection) -> tuple[int, int] | None:
    """Return the lowest and the highest key of a selection; None when it has no delivery."""
    rows = _rows(selection)
    lowest, highest = rows.pks(1, descending=False), rows.pks(1, descending=True)
    return (lowest[0], highest[0]) if lowest and highest else None


def _rows(selection: Selection) -> Rows:
    deliveries = _within_period(selection)
    webhook = [Webhook._meta.pk.to_python(selection.webhook)] if selection.webhook else []
    wanted = {"status": [selection.status], "event": [selection.event], "webhook_id": webhook}
    chosen = {column: values for column, values in wanted.items() if any(values)}
    if selection.deliveries or selection.receiver or not chosen:
        return Merged([deliveries])
    present = combinations(Delivery, deliveries.db, COLUMNS)
    return Merged([deliveries]) if present is None else Combined(deliveries, COLUMNS, present).only(chosen)


def _within_period(selection: Selection) -> QuerySet[Delivery]:
    """Return the rows of the selection, a period as a range of keys, too: no index leads from a time to them."""
    rows: QuerySet[Any] = selection.of(Delivery.objects.all())
    if selection.since is None and selection.until is None:
        return rows
    ends = ends_of(Delivery.objects.all())
    if ends is None or ends.are_near:
        return rows
    period = Period(selection.since, selection.until)
    return rows.filter(by_keys([period], Delivery, rows.db, "received_at", ends, SLACK)[0])
