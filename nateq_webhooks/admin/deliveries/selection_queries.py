"""The deliveries of a selection, found through the list's indexes: a replay's page must not read the whole table."""

from typing import Any, Final

from django.db.models import QuerySet

from nateq_webhooks.admin.biglist.date_ranges import SLACK, Period, by_keys, ends_of
from nateq_webhooks.admin.biglist.key_queries import Merged, Rows, counted
from nateq_webhooks.admin.biglist.skip_scan import Combined, combinations
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Delivery, Webhook

COLUMNS: Final = ("status", "event", "webhook_id")
"""The columns of the index, in its order."""


def count_of(selection: Selection, limit: int, among: QuerySet[Delivery] | None = None) -> int:
    """Count the deliveries of a selection among the rows that the user may see, stopping at `limit`.

    None are all rows, here and below. Raises `ValidationError` for a webhook that is none.
    """
    return counted(_rows(selection, among), limit, _all(among).db)


def keys_of(selection: Selection, count: int, among: QuerySet[Delivery] | None = None) -> list[int]:
    """Return the first keys of a selection, in the order they came."""
    return _rows(selection, among).pks(count, descending=False)


def ends_of_keys(selection: Selection, among: QuerySet[Delivery] | None = None) -> tuple[int, int] | None:
    """Return the lowest and the highest key of a selection; None when it has no delivery."""
    rows = _rows(selection, among)
    lowest, highest = rows.pks(1, descending=False), rows.pks(1, descending=True)
    return (lowest[0], highest[0]) if lowest and highest else None


def _all(among: QuerySet[Delivery] | None) -> QuerySet[Delivery]:
    return Delivery.objects.all() if among is None else among


def _rows(selection: Selection, among: QuerySet[Delivery] | None) -> Rows:
    deliveries = _within_period(selection, _all(among))
    webhook = [Webhook._meta.pk.to_python(selection.webhook)] if selection.webhook else []
    wanted = {"status": [selection.status], "event": [selection.event], "webhook_id": webhook}
    chosen = {column: values for column, values in wanted.items() if any(values)}
    if selection.deliveries or selection.receiver or not chosen:
        return Merged([deliveries])
    present = combinations(Delivery, deliveries.db, COLUMNS)
    return Merged([deliveries]) if present is None else Combined(deliveries, COLUMNS, present).only(chosen)


def _within_period(selection: Selection, among: QuerySet[Delivery]) -> QuerySet[Delivery]:
    """Return the rows of the selection, a period as a range of keys, too: no index leads from a time to them."""
    rows: QuerySet[Any] = selection.of(among)
    if selection.since is None and selection.until is None:
        return rows
    ends = ends_of(Delivery.objects.using(rows.db))
    if ends is None or ends.are_near:
        return rows
    period = Period(selection.since, selection.until)
    return rows.filter(by_keys([period], Delivery, rows.db, "received_at", ends, SLACK)[0])
