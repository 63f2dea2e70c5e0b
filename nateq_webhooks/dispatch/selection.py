"""Which deliveries are selected: by a command, a form, or a replay whose runs are created later."""

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import models
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from nateq_webhooks.models import Delivery, Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Conditions, of which a delivery must meet all that are given. `receiver`: it has a dead or failed run of it."""

    webhook: str = ""
    "The webhook's key."
    event: str = ""
    status: str = ""
    since: datetime | None = None
    "Received at this moment or later."
    until: datetime | None = None
    "Received before this moment."
    receiver: str = ""
    deliveries: tuple[int, ...] = ()
    "Keys; empty: any."
    organization: str = ""
    resource: str = ""
    "The resource's id."

    def as_json(self) -> dict[str, Any]:
        """Return what is given, as JSON stores it."""
        given = {name: value for name, value in asdict(self).items() if value}
        if self.deliveries:
            given["deliveries"] = list(self.deliveries)
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Selection":
        """Return the selection that was stored as JSON."""
        values = dict(kept)
        for name in ("since", "until"):
            if name in values:
                values[name] = parse_datetime(values[name])
        return cls(**{**values, "deliveries": tuple(kept.get("deliveries", ()))})

    def of(self, deliveries: "models.QuerySet[Delivery]") -> "models.QuerySet[Delivery]":
        """Return those of the deliveries that are selected."""
        exact = {
            "webhook_id": self.webhook,
            "event": self.event,
            "status": self.status,
            "organization_id": self.organization,
            "resource_id": self.resource,
        }
        rows = deliveries.filter(**{name: value for name, value in exact.items() if value})
        if self.since is not None:
            rows = rows.filter(received_at__gte=self.since)
        if self.until is not None:
            rows = rows.filter(received_at__lt=self.until)
        if self.deliveries:
            rows = rows.filter(pk__in=self.deliveries)
        if self.receiver:
            trouble = Run.objects.filter(
                delivery=models.OuterRef("pk"),
                receiver=self.receiver,
                status__in=Run.FAILING,
            )
            rows = rows.filter(models.Exists(trouble))
        return rows


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the nearest of the known names, after a space; empty if none is near."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.lower(), names, n=1, cutoff=0.6)
    return " " + _("Did you mean %(name)r?") % {"name": names[near[0]]} if near else ""
