"""The columns of a delivery that the sender's text is in, and a text as they store it."""

from collections.abc import Mapping
from typing import Final

from nateq_webhooks.database.encoding import storable
from nateq_webhooks.models.delivery import Delivery
from nateq_webhooks.protocol.columns import column_text

LIMITS: Final[Mapping[str, int]] = {
    name: Delivery._meta.get_field(name).max_length  # type: ignore[union-attr,misc]
    for name in ("delivery_id", "event", "resource", "resource_id", "organization_id", "version")
}
"""The number of characters of each column."""


def stored_text(text: str, name: str, alias: str) -> str:
    """Return a text as the column stores it: cut, and without characters that the database can't store."""
    limit = LIMITS[name]
    return storable(column_text(text, limit), alias, binary=True)[:limit]
