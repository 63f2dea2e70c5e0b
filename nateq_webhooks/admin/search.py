"""The search by delivery id: exact, and through the unique index of webhook and identity."""

from django.db.models import QuerySet

from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol.envelope import identity_of_id

MAX_DIGITS = 200
"""Digits that are taken for an integer id: as many as the column of the id has characters."""


def with_delivery_id(deliveries: QuerySet[Delivery], term: str) -> QuerySet[Delivery]:
    """Return those of `deliveries` whose delivery id is `term`, of whichever webhook.

    The webhooks are named, because the index begins with them: without that the database would read every row.
    """
    webhooks = list(Webhook.objects.values_list("pk", flat=True))
    return deliveries.filter(webhook__in=webhooks, identity__in=_identities(term))


def _identities(term: str) -> list[str]:
    """Return the identities that `term` may mean: the text as typed, without the space around it, or an integer."""
    bare = term.strip()
    found = {identity_of_id(term), identity_of_id(bare)}
    if bare.isascii() and bare.removeprefix("-").isdecimal() and len(bare) <= MAX_DIGITS:
        number = int(bare)
        if str(number) == bare:
            found.add(identity_of_id(number))
    return sorted(found)
