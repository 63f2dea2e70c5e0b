"""The exact search: a delivery id, a resource id or an organization, each through an index of its own."""

from typing import Any, Final

from django.db.models import Q, QuerySet

from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol.envelope import identity_of_id

MAX_DIGITS: Final = 200
"""Digits that are taken for an integer id: as many as the column of the id has characters."""


def ways(term: str) -> list[Q]:
    """Return the conditions of which a delivery that is searched for fulfils one; each of them is quick by itself."""
    bare = term.strip()
    return [_has_delivery_id(term), Q(resource_id=bare), Q(organization_id=bare)]


def with_delivery_id(deliveries: QuerySet[Delivery], term: str) -> QuerySet[Delivery]:
    """Return those of `deliveries` whose delivery id is `term`, of whichever webhook."""
    return deliveries.filter(_has_delivery_id(term))


def any_of(conditions: list[Q]) -> Q:
    """Return the condition that at least one of the conditions holds."""
    found = Q()
    for condition in conditions:
        found |= condition
    return found


def _has_delivery_id(term: str) -> Q:
    """Name the webhooks, because the index begins with them: else the database would read every row."""
    webhooks: list[Any] = list(Webhook.objects.values_list("pk", flat=True))
    return Q(webhook__in=webhooks, identity__in=_identities(term))


def _identities(term: str) -> list[str]:
    """Return the identities that `term` may mean: the text as typed, without the space around it, or an integer."""
    bare = term.strip()
    found = {identity_of_id(term), identity_of_id(bare)}
    if bare.isascii() and bare.removeprefix("-").isdecimal() and len(bare) <= MAX_DIGITS:
        number = int(bare)
        if str(number) == bare:
            found.add(identity_of_id(number))
    return sorted(found)
