"""The related deliveries: of the same resource, of the same conversation, and with the same content under another id.

They are found through indexes, with a limit, however many rows there are: the resource id and the time of the event,
and the keys of reissued deliveries. What only payloads tell is left to the list's search.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries.processing import with_runs
from nateq_webhooks.admin.permissions import ALL_ROWS, PermittedRows, RowScope
from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.redaction import MASK
from nateq_webhooks.protocol.verbatim import Members

MAX_LOOKED_AT: Final = 500
"""Rows read for a resource id, before and after: other organizations and families of events may use the same id."""

MAX_SHOWN: Final = 5
"""Deliveries shown of each relation."""

MAX_ID: Final = 200
"""Characters that the column of a resource id holds."""

CONVERSATION: Final = "conversation"
"""The family of the events about conversations."""

_COLUMNS: Final = (
    "webhook",
    "event",
    "delivery_id",
    "resource",
    "resource_id",
    "organization_id",
    "timestamp",
    "received_at",
    "status",
    "webhook__name",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RelatedDelivery:
    """Another delivery, with its relation to this one."""

    relation: str
    badge: str
    event: str
    name: str
    moment: str | None
    url: str


def related(
    delivery: Delivery,
    document: Any,
    newest: Delivery | None,
    url_of: Callable[[Delivery], str],
    permitted: PermittedRows,
) -> list[RelatedDelivery]:
    """Return the related deliveries that the user may see. `newest` is the one that superseded `delivery`.

    `document` is the payload; None if the user may not see it.
    """
    seen, found = {delivery.pk}, []
    for relation, other in _related(delivery, document, newest, _rows(permitted)):
        if other.pk not in seen and permitted.may_view(Delivery, other):
            seen.add(other.pk)
            # Another webhook may belong to another party, so it is named.
            if other.webhook_id != delivery.webhook_id and permitted.shows(other.webhook):
                relation = _("%(relation)s (webhook %(name)s)") % {
                    "relation": relation,
                    "name": formatting.visible(other.webhook.name),
                }
            found.append(_related_delivery(relation, other, url_of(other)))
    return found


def _rows(among: RowScope) -> QuerySet[Delivery]:
    rows: QuerySet[Delivery] = among.of(Delivery).select_related(None).select_related("webhook")
    return with_runs(rows.only(*_COLUMNS))


def superseding(delivery: Delivery, among: RowScope = ALL_ROWS) -> Delivery | None:
    """Return the newest delivery that carries a later state of the same resource: one of `Delivery.superseding`.

    Only the newest rows of the resource id are read: thousands may share it.
    """
    if not delivery.resource_id or delivery.timestamp is None:
        return None
    later = _rows(among).filter(resource_id=delivery.resource_id, timestamp__gt=delivery.timestamp)
    newest = _of_same_kind(later.order_by("-timestamp")[:MAX_LOOKED_AT], delivery, delivery.resource)
    return next((other for other in newest if other.webhook_id == delivery.webhook_id), None)


def conversation_of(delivery: Delivery, document: Any) -> str:
    """Return the id of the conversation that a delivery is about or that its payload names; empty if there is none."""
    if delivery.resource == CONVERSATION:
        return delivery.resource_id
    data = _member(document, "data")
    named = _member(data, "conversation_id") or _member(_member(data, CONVERSATION), "id")
    # A text that no column holds is no resource id; a NUL character in a query is an error on PostgreSQL.
    is_id = isinstance(named, str) and named != MASK and column_text(named, MAX_ID) == named
    return named if is_id else ""


def _related(
    delivery: Delivery, document: Any, newest: Delivery | None, rows: QuerySet[Delivery]
) -> Iterator[tuple[str, Delivery]]:
    """Yield the relations and the deliveries, the closest relation first."""
    for other in rows.filter(reissues__delivery=delivery.pk):
        yield _("Same content, first received with this id"), other
    for other in rows.filter(reissue__original=delivery.pk).order_by("pk")[:MAX_SHOWN]:
        yield _("Same content, received again with this id"), other
    if newest is not None:
        yield _("Superseded by this newer event"), newest
    for other in _same_resource(rows, delivery):
        yield _("Same resource"), other
    conversation = conversation_of(delivery, document)
    if conversation and conversation != delivery.resource_id:
        same = rows.filter(resource_id=conversation).order_by("-timestamp")[:MAX_LOOKED_AT]
        for other in _of_same_kind(same, delivery, CONVERSATION)[:MAX_SHOWN]:
            yield _("Same conversation"), other


def _same_resource(rows: QuerySet[Delivery], delivery: Delivery) -> list[Delivery]:
    """Return the nearest deliveries of the same resource, in the order of their events."""
    if not delivery.resource_id:
        return []
    same = rows.filter(resource_id=delivery.resource_id)
    if delivery.timestamp is None:
        return _of_same_kind(same.order_by("-timestamp")[:MAX_LOOKED_AT], delivery, delivery.resource)[:MAX_SHOWN]
    before = same.filter(timestamp__lte=delivery.timestamp).order_by("-timestamp")[:MAX_LOOKED_AT]
    after = same.filter(timestamp__gt=delivery.timestamp).order_by("timestamp")[:MAX_LOOKED_AT]
    nearest = _of_same_kind(before, delivery, delivery.resource)[:MAX_SHOWN]
    return [*reversed(nearest), *_of_same_kind(after, delivery, delivery.resource)[:MAX_SHOWN]]


def _of_same_kind(rows: QuerySet[Delivery], delivery: Delivery, resource: str) -> list[Delivery]:
    """Return the rows of one family and organization. Filtered here: a query would read on until it finds enough."""
    return [
        other
        for other in rows
        if other.resource == resource and other.organization_id == delivery.organization_id and other.pk != delivery.pk
    ]


def _member(value: Any, key: str) -> Any:
    """Return the value of a key, the last one if the key is doubled; None if there is none."""
    if not isinstance(value, Members):
        return None
    return next((child for name, child in reversed(value) if name == key), None)


def _related_delivery(relation: str, other: Delivery, url: str) -> RelatedDelivery:
    return RelatedDelivery(
        relation=relation,
        badge=formatting.delivery_badge(other, has_runs=getattr(other, "has_runs", True)),
        event=formatting.visible(other.event),
        name=formatting.visible(str(other).strip()),
        moment=formatting.moment(other.timestamp or other.received_at),
        url=url,
    )
