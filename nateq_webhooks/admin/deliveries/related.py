"""What belongs to a delivery: the same resource before and after, its conversation, what came under another id.

Each is found through an index and bounded, however many rows there are: the resource id and the time of the event,
and the keys of reissued deliveries. What is only in the payloads is left to the list's search.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries.processing import with_runs
from nateq_webhooks.admin.permissions import ALL_ROWS, Among, Permitted
from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.verbatim import Members

MAX_LOOKED_AT: Final = 500
"""Rows read of a resource id, on either side: other organizations and kinds of resources may have the same id."""

MAX_SHOWN: Final = 5
"""Deliveries shown of each relation."""

MAX_ID: Final = 200
"""Characters of an id that the column of a resource id holds."""

CONVERSATION: Final = "conversation"
"""The family of the events that are about a conversation itself."""

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
    """Another delivery, and what it is to this one."""

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
    permitted: Permitted,
) -> list[RelatedDelivery]:
    """Return what belongs to a delivery and may be seen: `newest` is what superseded it.

    `document` is its payload, None where it is not for the reader's eyes.
    """
    seen, found = {delivery.pk}, []
    for relation, other in _related(delivery, document, newest, _rows(permitted)):
        if other.pk not in seen and permitted.may_view(Delivery, other):
            seen.add(other.pk)
            # Another webhook may be another party's, whose events about a resource are its own.
            if other.webhook_id != delivery.webhook_id and permitted.shows(other.webhook):
                relation = _("%(relation)s, by the webhook %(name)s") % {
                    "relation": relation,
                    "name": formatting.visible(other.webhook.name),
                }
            found.append(_related_delivery(relation, other, url_of(other)))
    return found


def _rows(among: Among) -> QuerySet[Delivery]:
    rows: QuerySet[Delivery] = among.of(Delivery).select_related(None).select_related("webhook")
    return with_runs(rows.only(*_COLUMNS))


def superseding(delivery: Delivery, among: Among = ALL_ROWS) -> Delivery | None:
    """Return the newest delivery that carries a later state of the same resource: one of `Delivery.superseding`.

    Looked for among the newest of its resource id only, as thousands may share it and the database would read them all.
    """
    if not delivery.resource_id or delivery.timestamp is None:
        return None
    later = _rows(among).filter(resource_id=delivery.resource_id, timestamp__gt=delivery.timestamp)
    newest = _alike(later.order_by("-timestamp")[:MAX_LOOKED_AT], delivery, delivery.resource)
    return next((other for other in newest if other.webhook_id == delivery.webhook_id), None)


def conversation_of(delivery: Delivery, document: Any) -> str:
    """Return the id of the conversation that a delivery is about, or that its payload names; empty without one."""
    if delivery.resource == CONVERSATION:
        return delivery.resource_id
    data = _member(document, "data")
    named = _member(data, "conversation_id") or _member(_member(data, CONVERSATION), "id")
    # A text that no column holds is nobody's resource id, and asking for a NUL is an error on PostgreSQL.
    return named if isinstance(named, str) and column_text(named, MAX_ID) == named else ""


def _related(
    delivery: Delivery, document: Any, newest: Delivery | None, rows: QuerySet[Delivery]
) -> Iterator[tuple[str, Delivery]]:
    """Yield the relations and the deliveries, the closest relation first."""
    for other in rows.filter(reissues__delivery=delivery.pk):
        yield _("The same content, first under this id"), other
    for other in rows.filter(reissue__original=delivery.pk).order_by("pk")[:MAX_SHOWN]:
        yield _("The same content, again under this id"), other
    if newest is not None:
        yield _("Superseded by this newer event"), newest
    for other in _same_resource(rows, delivery):
        yield _("Same resource"), other
    conversation = conversation_of(delivery, document)
    if conversation and conversation != delivery.resource_id:
        same = rows.filter(resource_id=conversation).order_by("-timestamp")[:MAX_LOOKED_AT]
        for other in _alike(same, delivery, CONVERSATION)[:MAX_SHOWN]:
            yield _("Same conversation"), other


def _same_resource(rows: QuerySet[Delivery], delivery: Delivery) -> list[Delivery]:
    """Return the nearest deliveries of the same resource, in the order of their events."""
    if not delivery.resource_id:
        return []
    same = rows.filter(resource_id=delivery.resource_id)
    if delivery.timestamp is None:
        return _alike(same.order_by("-timestamp")[:MAX_LOOKED_AT], delivery, delivery.resource)[:MAX_SHOWN]
    before = same.filter(timestamp__lte=delivery.timestamp).order_by("-timestamp")[:MAX_LOOKED_AT]
    after = same.filter(timestamp__gt=delivery.timestamp).order_by("timestamp")[:MAX_LOOKED_AT]
    nearest = _alike(before, delivery, delivery.resource)[:MAX_SHOWN]
    return [*reversed(nearest), *_alike(after, delivery, delivery.resource)[:MAX_SHOWN]]


def _alike(rows: QuerySet[Delivery], delivery: Delivery, resource: str) -> list[Delivery]:
    """Return those of one family and organization; told apart here, as the database would read on to find enough."""
    return [
        other
        for other in rows
        if other.resource == resource and other.organization_id == delivery.organization_id and other.pk != delivery.pk
    ]


def _member(value: Any, key: str) -> Any:
    """Return what an object has under a key, of doubled keys the last as receivers see it; None when there is none."""
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
