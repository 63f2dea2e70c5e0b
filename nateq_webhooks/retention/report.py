"""What a call of `prune` did: numbers only."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nateq_webhooks.conf.retention import Tier


class LeftReason(StrEnum):
    """Why a delivery that is old enough was left."""

    UNFINISHED = "unfinished"
    """A receiver has not finished, or will be tried again."""
    HELD = "held"
    """A run is held back: by a pause, a rate limit, the circuit breaker, or an earlier delivery."""
    PARKED = "parked"
    """A run waits for a receiver that no process knows."""
    LOCKED = "locked"
    """Another transaction has it; the next call looks at it again."""
    REFERENCED = "referenced"
    """A row of the project refers to it with `on_delete=PROTECT` or `RESTRICT`."""


@dataclass(kw_only=True, slots=True)
class PruneReport:
    """What was removed, or with `is_dry_run` what would be."""

    is_dry_run: bool = False
    payloads: int = 0
    "Deliveries whose content was removed."
    deliveries: int = 0
    "Deliveries that were removed."
    identities: int = 0
    "Identities of removed deliveries that were no longer needed."
    audit_entries: int = 0
    "Entries of the audit log that are older than `AUDIT_RETENTION`."
    left: Counter[LeftReason] = field(default_factory=Counter)
    "Deliveries that are old enough and were left."
    is_complete: bool = True
    "Whether everything was looked at; else the time was over, or another process was pruning."

    def add(self, tier: Tier, removed: int, left: Counter[LeftReason]) -> None:
        """Add what was done with a batch of deliveries."""
        if tier is Tier.DELIVERY:
            self.deliveries += removed
        else:
            self.payloads += removed
        self.left += left

    @property
    def removed(self) -> int:
        """How much was removed."""
        return self.payloads + self.deliveries + self.identities + self.audit_entries

    def as_json(self) -> dict[str, Any]:
        """Return the report for a program."""
        return {
            "dry_run": self.is_dry_run,
            "payloads_removed": self.payloads,
            "deliveries_removed": self.deliveries,
            "identities_expired": self.identities,
            "audit_entries_removed": self.audit_entries,
            "left": {reason.value: self.left[reason] for reason in LeftReason},
            "complete": self.is_complete,
        }
