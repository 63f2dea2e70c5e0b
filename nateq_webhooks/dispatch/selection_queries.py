"""Queries for the deliveries of a selection through the index of the list of deliveries."""

from typing import Any, Final

from django.db.models import QuerySet

from nateq_webhooks.database.keyset.date_ranges import SLACK, KeyRange, Period, first_keys, key_conditions, key_range_of
from nateq_webhooks.database.keyset.key_queries import KeyQuery, Union, count_up_to
from nateq_webhooks.database.keyset.skip_scan import SkipScan, read_combinations
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Delivery, Run, Webhook

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


def key_range_of_selection(selection: Selection, deliveries: QuerySet[Delivery]) -> KeyRange | None:
    """Return a range of keys that has all selected deliveries stored now; None if there are none.

    A period narrows it, so that a replay of the last hour does not look through all that came before.
    """
    keys = key_range_of(deliveries)
    if keys is None:
        return None
    lowest, highest = keys.lowest, keys.highest
    among = set(selection.deliveries)
    if selection.runs:
        of_runs = set(
            Run.objects.using(deliveries.db).filter(pk__in=selection.runs).values_list("delivery_id", flat=True)
        )
        among = among & of_runs if among else of_runs
    if selection.deliveries or selection.runs:
        among = {key for key in among if lowest <= key <= highest}
        return KeyRange(min(among), max(among)) if among else None
    ends = [(selection.since, -SLACK), (selection.until, SLACK)]
    moments = [moment + slack for moment, slack in ends if moment is not None]
    if keys.is_small or not moments:
        return keys
    found = iter(first_keys(Delivery, deliveries.db, "received_at", moments, keys))
    if selection.since is not None:
        lowest = next(found)
    if selection.until is not None:
        highest = next(found) - 1
    return KeyRange(lowest, highest) if lowest <= highest else None


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
    has_others = selection.deliveries or selection.is_about_runs or selection.organization or selection.resource
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
