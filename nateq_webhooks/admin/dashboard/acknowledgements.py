"""Groups of failures that somebody has acknowledged: the dashboard leaves them out until they grow.

A group of failed-for-good runs has grown when one failed after the acknowledgement's newest. In a group of runs that
will be tried again each run fails again and again; it has grown when it has a newer run, or more runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import router
from django.utils import timezone

from nateq_webhooks.models import Run
from nateq_webhooks.models.failure_acknowledgement import FailureAcknowledgement

KEPT_FOR: Final = timedelta(days=90)
"""An acknowledgement that is older is deleted when another group is acknowledged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSize:
    """How large a group of failures is now."""

    key: str
    receiver: str
    status: str
    number: int
    newest: datetime | None
    "When the newest try ended."
    newest_run: int


def acknowledge(sizes: Sequence[GroupSize], by: str) -> None:
    """Store that somebody has seen these groups, as large as they are now."""
    alias = router.db_for_write(FailureAcknowledgement)
    rows, now = FailureAcknowledgement.objects.using(alias), timezone.now()
    for size in sizes:
        seen = {"newest": size.newest, "newest_run": size.newest_run, "number": size.number}
        rows.update_or_create(key=size.key, defaults={"receiver": size.receiver, "at": now, "by": by[:150], **seen})
    rows.filter(at__lt=now - KEPT_FOR).delete()


def acknowledgements() -> Mapping[str, FailureAcknowledgement]:
    """Return the acknowledgements by the key of their group."""
    alias = router.db_for_write(FailureAcknowledgement)
    return {each.key: each for each in FailureAcknowledgement.objects.using(alias)}


def has_grown(size: GroupSize, seen: FailureAcknowledgement) -> bool:
    """Return whether a group has grown since it was acknowledged."""
    if size.status == Run.Status.DEAD:
        return size.newest is not None and (seen.newest is None or size.newest > seen.newest)
    return size.newest_run > seen.newest_run or size.number > seen.number
