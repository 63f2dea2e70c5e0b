"""What a delivery's page says if the stored content is not what was received."""

from collections.abc import Callable
from typing import Final

from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting
from nateq_webhooks.models import Delivery


def change_text(delivery: Delivery) -> str:
    """Return why the content is not what was received, and since when; empty if it is."""
    if delivery.content_change is None:
        return ""
    text, moment = _TEXTS[Delivery.ContentChange(delivery.content_change)](), delivery.content_changed_at
    return text % {"moment": "?" if moment is None else formatting.moment_text(moment)}


def is_gone(delivery: Delivery) -> bool:
    """Return whether there is no content to show."""
    return delivery.is_content_lost and not delivery.body


_TEXTS: Final[dict[Delivery.ContentChange, Callable[[], str]]] = {
    Delivery.ContentChange.RETENTION: lambda: _("Payload removed by retention on %(moment)s."),
    Delivery.ContentChange.ERASURE: lambda: _("Erased on %(moment)s: what identifies a person was removed."),
    Delivery.ContentChange.REDACTION: lambda: _("Values were masked before it was stored, on %(moment)s."),
}
