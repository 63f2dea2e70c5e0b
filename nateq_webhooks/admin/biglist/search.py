"""The exact search: a delivery id, a resource id or an organization, each through an index of its own."""

from django.db.models import Q

from nateq_webhooks.models.delivery import has_delivery_id


def ways(term: str) -> list[Q]:
    """Return the conditions of which a delivery that is searched for fulfils one; each of them is quick by itself."""
    bare = term.strip()
    return [has_delivery_id(term), Q(resource_id=bare), Q(organization_id=bare)]


def any_of(conditions: list[Q]) -> Q:
    """Return the condition that at least one of the conditions holds."""
    found = Q()
    for condition in conditions:
        found |= condition
    return found
