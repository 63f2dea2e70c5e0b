"""Checks of how long the identities of removed deliveries are kept."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.core import checks

from nateq_webhooks import conf
from nateq_webhooks.conf.retention import Tier, days_text

_PREFIX: Final = "nateq_webhooks"


@checks.register("nateq_webhooks")
def check_removed_kept_for(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report identities that are forgotten before the sender stops retrying."""
    forgotten = _forgotten()
    if forgotten is None or forgotten.after >= (overlap := conf.settings().rotation_overlap):
        return []
    return [
        checks.Warning(
            f"A {forgotten}, but late retries are expected for {days_text(overlap)} (ROTATION_OVERLAP): such a retry "
            "would run the receivers again.",
            hint="Set REMOVED_KEPT_FOR to as long as Nateq may send a delivery again, or longer.",
            id=f"{_PREFIX}.W082",
        )
    ]


@checks.register("nateq_webhooks")
def check_replay_window(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report a window in which a delivery may be forgotten, so that a copy of it would be a new one."""
    forgotten = _forgotten()
    if forgotten is None or not (window := conf.settings().replay_window) or window <= forgotten.after:
        return []
    return [
        checks.Warning(
            f'NATEQ_WEBHOOKS["REPLAY_WINDOW"] is {days_text(window)}, but a {forgotten}: a copy of its request would '
            "then run the receivers again.",
            hint="Set a shorter REPLAY_WINDOW, or keep identities longer: REMOVED_KEPT_FOR.",
            id=f"{_PREFIX}.W047",
        )
    ]


@dataclass(frozen=True, slots=True)
class _Forgotten:
    """After how long a delivery may be removed, and for how long its identity is kept after that."""

    removed_after: timedelta
    kept_for: timedelta

    @property
    def after(self) -> timedelta:
        return self.removed_after + self.kept_for

    def __str__(self) -> str:
        return (
            f"delivery may be removed after {days_text(self.removed_after)} (RETENTION) and forgotten "
            f"{days_text(self.kept_for)} later (REMOVED_KEPT_FOR)"
        )


def _forgotten() -> _Forgotten | None:
    """Return when the first delivery may be forgotten; None if none is removed, or the settings are wrong."""
    if list(conf.problems()):
        return None
    settings = conf.settings()
    ages = settings.retention_rules.ages(Tier.DELIVERY)
    return _Forgotten(ages[0], settings.removed_kept_for) if ages else None
