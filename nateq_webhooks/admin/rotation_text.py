"""The state of a secret's rotation in words: on the webhook's page and on the dashboard."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting

HOUR: Final = timedelta(hours=1)


def rotation_text(states: Mapping[uuid.UUID, datetime | None], webhook_id: uuid.UUID) -> str:
    """Say how far a webhook's rotation is; empty if none is under way. `states` is what `rotations` returned."""
    if webhook_id not in states:
        return ""
    end = states[webhook_id]
    if end is None:
        return _("New secret not seen yet; the former one is still accepted")
    left = end - timezone.now()
    if left < HOUR:
        return _("The former secret ends in less than an hour")
    return _("The former secret ends in %(number)s h") % {"number": formatting.number(left // HOUR)}
