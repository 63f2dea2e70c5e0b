"""Queries for the deliveries of a selection through the index of the list of deliveries."""

from typing import Any, Final

from django.db.models import QuerySet

from nateq_webhooks.database.keyset.date_ranges import SLACK, Period, key_conditions, key_range_of
from nateq_webhooks.database.keyset.key_queries import KeyQuery, Union, count_up_to
from nateq_webhooks.database.keyset.skip_scan import SkipScan, read_combinations
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Delivery, Webhook

COLUMNS: Final = ("status", "event", "webhook_id")
"""The columns of the index, in its order."""


def count_of(selection: Selection, limit: int, among: QuerySet[Delivery] | None = None) -> int:
    """Count the deliveries of a selection up to `limit`."""
    return count_up_to(key_query(selection, among), limit, _all(among).db)


def keys_of(selection: Selection, count: int, among: QuerySet[Delivery] | None = None) -> list[int]:
    """Return the first keys of a selection, ascending."""
    return key_query(selection, among).pks(count, descending=False)


def ends_of_keys(selection: Selection, among: QuerySet[Delivery] | None = None) -> tuple[int, int] | None:
    """Return the lowest and the highest key of a selection; None if it has no delivery."""
    rows = key_query(selection, among)
    lowest, highest = rows.pks(1, descending=False), rows.pks(1, descending=True)
    return (lowest[0], highest[0]) if lowest and highest else None


def _all(among: QuerySet[Delivery] | None) -> QuerySet[Delivery]:
    return Delivery.objects.all() if among is None else among


def key_query(selection: Selection, among: QuerySet[Delivery] | None = None) -> KeyQuery:
    """Return the query for the keys of a selection: through the index of the columns, if one of them is selected.

    `among` are the rows that the user may see (None: all rows). Raises `ValidationError` for an invalid key of a
    webhook.
    """
    deliveries = selected_rows(selection, _all(among))
    webhook = [Webhook._meta.pk.to_python(selection.webhook)] if selection.webhook else []
    wanted = {"status": [selection.status], "event": [selection.event], "webhook_id": webhook}
    selected = {column: values for column, values in wanted.items() if any(values)}
    has_others = selection.deliveries or selection.receiver or selection.organization or selection.resource
    if has_others or not selected:
        return Union([deliveries])
    read = read_combinations(Delivery, deliveries.db, COLUMNS)
    combinations = None if read is None else read.only(selected)
    return (
        SkipScan(deliveries, combinations) if combinations is not None and combinations.are_few else Union([deliveries])
    )


def selected_rows(selection: Selection, among: QuerySet[Delivery]) -> QuerySet[Delivery]:
    """Return the rows of a selection, with a key range for its period: there is no index on the time."""
    rows: QuerySet[Any] = selection.of(among)
    if selection.since is None and selection.until is None:
        return rows
    keys = key_range_of(Delivery.objects.using(rows.db))
    if keys is None or keys.is_small:
        return rows
    period = Period(selection.since, selection.until)
    return rows.filter(key_conditions([period], Delivery, rows.db, "received_at", keys, SLACK)[0])
