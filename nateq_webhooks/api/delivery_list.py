"""How the list of deliveries is read: each combination of filters through an index, or a bounded part of one.

A combination without an index of its own is scanned for a bounded time: then a page has fewer rows than asked for, and
`next_cursor` continues after the last row that was looked at.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.db.models import QuerySet

from nateq_webhooks.api.callers import Caller
from nateq_webhooks.database.keyset.bounded_scan import BoundedScan
from nateq_webhooks.database.keyset.cursor import EMPTY, KeyPage, read_page
from nateq_webhooks.database.keyset.key_queries import IndexScan, Scan, Union
from nateq_webhooks.database.keyset.time_limit import limited
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.dispatch.selection_queries import key_query, selected_rows
from nateq_webhooks.models import Delivery


def find_page(caller: Caller, parameters: Mapping[str, Any]) -> KeyPage:
    """Return the keys of a page of the deliveries that the caller sees and the parameters select.

    Raises `TookTooLongError` where the project's own condition hides rows and the database needs too long for it.
    """
    organization = parameters.get("organization") or caller.organization
    if caller.organization not in ("", organization):
        return EMPTY  # of another organization: there is nothing to look for
    rows = caller.rows(Delivery)
    scan = _scan(rows, organization, parameters.get("resource", ""), _selection(parameters))
    with time_limit(caller, rows):
        return read_page(scan, parameters["cursor"], parameters["limit"], newest_first=True)


def load(caller: Caller, pks: list[int], columns: tuple[str, ...]) -> list[Delivery]:
    """Load the rows of a page, in its order."""
    with time_limit(caller, caller.rows(Delivery)):
        by_pk = caller.rows(Delivery).only(*columns).order_by().in_bulk(pks) if pks else {}
    return [by_pk[pk] for pk in pks if pk in by_pk]


def time_limit(caller: Caller, rows: QuerySet[Any]) -> AbstractContextManager[None]:
    """Limit the statements if a condition of the project's hides rows: no index of ours serves it."""
    return nullcontext() if caller.organization or caller.sees_all_rows else limited(rows.db)


def _selection(parameters: Mapping[str, Any]) -> Selection:
    webhook = parameters.get("webhook")
    return Selection(
        webhook=str(webhook) if webhook else "",
        event=parameters.get("event", ""),
        status=parameters.get("status", ""),
        since=parameters.get("since"),
        until=parameters.get("until"),
    )


def _scan(rows: QuerySet[Delivery], organization: str, resource: str, selection: Selection) -> Scan:
    """Return how to find the keys: by the resource, else by the organization, else by the index of the columns."""
    if not resource and not organization:
        return IndexScan(key_query(selection, rows))
    of_period = Selection(since=selection.since, until=selection.until)
    indexed = {"resource_id": resource} if resource else {"organization_id": organization}
    narrow = Union([selected_rows(of_period, rows.filter(**indexed))])
    further = {"organization_id": organization} if resource and organization else {}
    if not further and not (selection.status or selection.event or selection.webhook):
        return IndexScan(narrow)
    return BoundedScan(narrow, rows, lambda found: selection.of(found).filter(**further))
