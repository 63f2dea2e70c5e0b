"""The payload's fields that people search by: what identifies a customer, an agent, a conversation.

Nateq does not publish what is in `data`; these are the fields of the package's examples. A site adds its own in a
subclass of the admin (`payload_fields`).
"""

from typing import Final

_PERSONS: Final = ("requester", "customer", "sender")
"""The keys of the person that an event is about."""

PAYLOAD_FIELDS: Final = (
    *(f"data.{person}.{field}" for field in ("email", "name", "phone", "id") for person in _PERSONS),
    "data.email",
    "data.name",
    "data.phone",
    "data.conversation_id",
    "data.number",
    "data.assignee.email",
    "data.assignee.name",
    "data.assignee.id",
)
"""Paths into the payload."""
