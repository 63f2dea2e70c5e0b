"""Which deliveries are selected: by a command, a form, or a replay whose runs are created later."""

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from django.db import models
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from nateq_webhooks.models import Delivery, Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Conditions on deliveries. A delivery is selected if it meets all that are given.

    Those on runs (`receiver`, `run_status`, `error`, `runs`, `runs_since`, `runs_until`): one failed or dead run of it
    meets all of them.
    """

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
    run_status: str = ""
    "`failed` or `dead`; empty: either."
    error: str = ""
    "A part of the error's text, in any case."
    runs: tuple[int, ...] = ()
    "Keys of runs; empty: any."
    runs_since: datetime | None = None
    "The run was created at this moment or later."
    runs_until: datetime | None = None
    "The run was created before this moment."

    def as_json(self) -> dict[str, Any]:
        """Return what is given, as JSON stores it."""
        given = {name: value for name, value in asdict(self).items() if value}
        for name in _KEYS:
            if name in given:
                given[name] = list(given[name])
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}

    def audited(self) -> list[str]:
        """Return the names of the fields that are given: their values may be what a customer wrote."""
        return list(self.as_json())

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Selection":
        """Return the selection that was stored as JSON."""
        values = dict(kept)
        for name in _MOMENTS:
            if name in values:
                values[name] = parse_datetime(values[name])
        return cls(**{**values, **{name: tuple(kept.get(name, ())) for name in _KEYS}})

    @property
    def is_about_deliveries(self) -> bool:
        """Whether there is a condition on the deliveries."""
        return bool(self.as_json().keys() - _OF_RUNS)

    @property
    def is_about_runs(self) -> bool:
        """Whether there is a condition on the runs."""
        return bool(self.as_json().keys() & _OF_RUNS)

    def of(self, deliveries: "models.QuerySet[Delivery]") -> "models.QuerySet[Delivery]":
        """Return those of the deliveries that are selected."""
        return self.with_failed_runs(deliveries) if self.is_about_runs else self.of_deliveries(deliveries)

    def with_failed_runs(self, deliveries: "models.QuerySet[Delivery]") -> "models.QuerySet[Delivery]":
        """Return those of the selected deliveries that have a failed run that meets the conditions on runs."""
        rows = self.of_deliveries(deliveries)
        if self.runs:  # few keys, which the database need not look for delivery by delivery
            rows = rows.filter(pk__in=Run.objects.filter(pk__in=self.runs).values("delivery_id"))
        statuses = [self.run_status] if self.run_status else Run.FAILING
        trouble = Run.objects.filter(self.of_runs(), delivery=models.OuterRef("pk"), status__in=statuses)
        return rows.filter(models.Exists(trouble))

    def of_deliveries(self, deliveries: "models.QuerySet[Delivery]") -> "models.QuerySet[Delivery]":
        """Return those of the deliveries that meet the conditions on deliveries."""
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
        return rows

    def of_runs(self) -> models.Q:
        """Return the conditions on runs, without that on their status."""
        given = {
            "receiver": self.receiver,
            "error__icontains": self.error,
            "pk__in": self.runs,
            "created_at__gte": self.runs_since,
            "created_at__lt": self.runs_until,
        }
        return models.Q(**{name: value for name, value in given.items() if value})


_KEYS: Final = ("deliveries", "runs")
"""The fields that are keys of rows."""

_MOMENTS: Final = ("since", "until", "runs_since", "runs_until")

_OF_RUNS: Final = frozenset({"receiver", "run_status", "error", "runs", "runs_since", "runs_until"})
"""The fields that are conditions on runs."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the nearest of the known names, after a space; empty if none is near."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.lower(), names, n=1, cutoff=0.6)
    return " " + _("Did you mean %(name)r?") % {"name": names[near[0]]} if near else ""
