"""The setting `RETENTION`: how long the content of a delivery is kept, and how long the delivery itself."""

import difflib
import fnmatch
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

DEFAULT: Final = "*"
"""The key for deliveries that no other key is for."""

STATUSES: Final = ("processed", "dead", "ignored", "invalid")
"""The statuses that can be keys: `Delivery.Status` of deliveries whose receivers have finished."""

UNFINISHED: Final = ("received", "failed")
"""The statuses of deliveries that are never removed."""

MAX_DAYS: Final = 36_500
"""The longest period, in days."""


class Tier(StrEnum):
    """What is removed after a period."""

    PAYLOAD = "payload"
    """The content: body, payload, headers, and other contents. The row and its runs stay."""
    DELIVERY = "delivery"
    """The delivery with everything that belongs to it."""


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """`RETENTION`, parsed: a period for each key and tier; None: never removed."""

    periods: Mapping[Tier, Mapping[str, timedelta | None]]

    def __bool__(self) -> bool:
        return any(self.ages(tier) for tier in Tier)

    def ages(self, tier: Tier) -> list[timedelta]:
        """Return the different periods of a tier, the shortest first."""
        return sorted({period for period in self.periods[tier].values() if period is not None})

    def period(self, tier: Tier, status: str, event: str) -> timedelta | None:
        """Return how long a delivery is kept in a tier; None: for ever.

        Of several keys that match, the longest period applies; that of "*" only if no other key matches.
        """
        periods = self.periods[tier]
        found = [period for key, period in periods.items() if key != DEFAULT and _matches(key, status, event)]
        if not found:
            return periods.get(DEFAULT)
        return None if None in found else max(period for period in found if period is not None)

    def fingerprint(self, tier: Tier) -> str:
        """Return a hash that changes with the rules of a tier."""
        known = {key: None if period is None else period.total_seconds() for key, period in self.periods[tier].items()}
        return hashlib.sha256(json.dumps([tier, known], sort_keys=True).encode()).hexdigest()


def parse(value: Mapping[Any, Any]) -> RetentionRules:
    """Parse `RETENTION`. Raises `ValueError` with what is wrong and what to do.

    A key is a tier, a status, an event, a pattern of events such as "ticket.*", or "*". Under a tier there are days, or
    a dict from the other keys to days. Under another key there is a dict from tiers to days, or days: those of the
    delivery.
    """
    periods: dict[Tier, dict[str, timedelta | None]] = {tier: {} for tier in Tier}
    for tier, key, days in _entries(value):
        if key in periods[tier]:
            raise ValueError(f"{key!r} has two periods for the tier {tier.value!r}", "Write one of them.")
        periods[tier][key] = _period(days, key)
    return RetentionRules(periods)


def problem(value: Mapping[Any, Any]) -> tuple[str, str] | None:
    """Return what is wrong with `RETENTION` and what to do, or None."""
    try:
        parse(value)
    except ValueError as error:
        complaint, hint = error.args
        return complaint, hint
    return None


def _entries(value: Mapping[Any, Any]) -> Iterator[tuple[Tier, str, object]]:
    for outer, under in value.items():
        if outer in tuple(Tier):
            inner = under if isinstance(under, Mapping) else {DEFAULT: under}
            for key, days in inner.items():
                yield Tier(outer), _key(key), days
        else:
            inner = under if isinstance(under, Mapping) else {Tier.DELIVERY: under}
            for tier, days in inner.items():
                if tier not in tuple(Tier):
                    raise ValueError(f"{tier!r} under {outer!r} is no tier", "Legal tiers: 'payload', 'delivery'.")
                yield Tier(tier), _key(outer), days


def _key(key: object) -> str:
    if isinstance(key, str):
        if key in UNFINISHED:
            raise ValueError(
                f"{key!r} is the status of deliveries that are not finished", "Those are never removed; leave it out."
            )
        if key in (DEFAULT, *STATUSES) or (("." in key or "*" in key) and not any(map(str.isspace, key))):
            return key
    close = difflib.get_close_matches(str(key), [tier.value for tier in Tier], n=1) if key not in set(Tier) else []
    meant = f"Did you mean {close[0]!r}? " if close else ""
    hint = f"{meant}Write a status ({', '.join(map(repr, STATUSES))}), an event, a pattern such as 'ticket.*', or '*'."
    raise ValueError(f"{key!r} is neither a status nor an event", hint)


def _period(days: object, key: str) -> timedelta | None:
    if days is None or isinstance(days, timedelta):
        period = days
    elif isinstance(days, (int, float)) and not isinstance(days, bool) and -math.inf <= days <= math.inf:
        period = timedelta(days=min(max(days, -1), MAX_DAYS + 1))
    else:
        raise ValueError(f"the period of {key!r} is {days!r}", "Write a number of days, or None for ever.")
    if period is not None and not timedelta() <= period <= timedelta(days=MAX_DAYS):
        raise ValueError(f"the period of {key!r} is out of range", f"It counts days, from 0 to {MAX_DAYS}.")
    return period


def _matches(key: str, status: str, event: str) -> bool:
    return status == key if key in STATUSES else matches_event(key, event)


def days_text(period: timedelta) -> str:
    """Return a period as a message names it: "0.5 days"."""
    number = period / timedelta(days=1)
    return "1 day" if number == 1 else f"{number:.6g} days"


def matches_event(key: str, event: str) -> bool:
    """Return whether a key is an event's name, or a pattern of it."""
    return fnmatch.fnmatchcase(event, key)
