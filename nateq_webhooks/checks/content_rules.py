"""Checks of `RETENTION`, `REDACT` and `ORDERED_BY`: what is legal and probably does not mean what it says."""

import difflib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from django.core import checks

from nateq_webhooks import conf
from nateq_webhooks.conf.retention import DEFAULT, STATUSES, RetentionRules, Tier, days_text, matches_event
from nateq_webhooks.conf.rules import redacted_paths
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.protocol.redaction import ANY, parse_path

_PREFIX: Final = "nateq_webhooks"

_ENVELOPE: Final = ("data", "event", "metadata", "organization_id", "timestamp")

_OTHER_NOTATIONS: Final = frozenset("[]$/")
"""Characters of paths in other notations: JSONPath, JSON Pointer, Python."""


@checks.register("nateq_webhooks")
def check_retention_rules(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report keys that no event matches, and periods that never come into effect."""
    if list(conf.problems()):
        return []
    rules = conf.settings().retention_rules
    return [
        *_mistyped_events(rules),
        *_periods_without_effect(rules),
        *_events_of_a_longer_period(rules),
        *_periods_of_zero(rules),
    ]


@checks.register("nateq_webhooks")
def check_redacted_paths(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report paths that probably lead nowhere, so that nothing is masked."""
    if list(conf.problems()):
        return []
    return [
        checks.Warning(
            f'NATEQ_WEBHOOKS["REDACT"] has the path {".".join(path)!r}, {why}. Probably nothing is masked by it.',
            hint=hint,
            id=f"{_PREFIX}.W081",
        )
        for path, _is_stored in redacted_paths(conf.settings().redact)
        if (found := _doubt(path, _of_another_notation(path), _REDACT_HINT)) is not None
        for why, hint in [found]
    ]


@checks.register("nateq_webhooks")
def check_path_of_the_order(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report an `ORDERED_BY` that probably leads nowhere, so that no delivery has a value there and none is ordered."""
    if list(conf.problems()) or not conf.settings().ordered_by:
        return []
    path = parse_path(conf.settings().ordered_by) or ()
    found = _doubt(path, _of_another_notation(path) or _of_a_list(path), _ORDER_HINT)
    if found is None:
        return []
    why, hint = found
    return [
        checks.Warning(
            f'NATEQ_WEBHOOKS["ORDERED_BY"] is {".".join(path)!r}, {why}. Probably no delivery has a value there, and '
            "deliveries run in any order.",
            hint=hint,
            id=f"{_PREFIX}.W084",
        )
    ]


def _mistyped_events(rules: RetentionRules) -> Iterator[checks.CheckMessage]:
    families = {f"{event.partition('.')[0]}.*" for event in EVENTS}
    known = sorted({*EVENTS, *families})
    for key in sorted({key for tier in Tier for key in rules.periods[tier]} - {DEFAULT, *STATUSES}):
        if any(matches_event(key, event) for event in EVENTS):
            continue
        close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.8)
        if close:
            yield checks.Warning(
                f'NATEQ_WEBHOOKS["RETENTION"] has the key {key!r}, which no published event matches: deliveries of '
                f"{close[0]!r} are kept as long as the other keys say.",
                hint=f"Did you mean {close[0]!r}? Upper and lower case count.",
                id=f"{_PREFIX}.W079",
            )


def _periods_without_effect(rules: RetentionRules) -> Iterator[checks.CheckMessage]:
    """Report periods of the payload that are not shorter than any period of the delivery."""
    deliveries = rules.periods[Tier.DELIVERY]
    longest = max((period for period in deliveries.values() if period is not None), default=timedelta())
    if None in deliveries.values():
        return
    for key, period in rules.periods[Tier.PAYLOAD].items():
        if period is not None and (key in deliveries or DEFAULT in deliveries) and period >= longest:
            yield checks.Warning(
                f'In NATEQ_WEBHOOKS["RETENTION"] the payload of {key!r} is kept for {days_text(period)}, but the whole '
                f"delivery for {days_text(longest)} at most: the former never comes into effect.",
                hint="Make the period of 'payload' shorter than that of 'delivery', or leave it out.",
                id=f"{_PREFIX}.W080",
            )


def _events_of_a_longer_period(rules: RetentionRules) -> Iterator[checks.CheckMessage]:
    """Report events whose period never comes into effect, because a pattern that matches them has a longer one."""
    for tier in Tier:
        periods = {key: period for key, period in rules.periods[tier].items() if key not in (DEFAULT, *STATUSES)}
        for key, period in periods.items():
            if period is None:
                continue
            covering = [other for other in periods if matches_event(other, key) and _is_longer(periods[other], period)]
            for pattern in covering[:1]:
                kept = "for ever" if (longest := periods[pattern]) is None else f"for {days_text(longest)}"
                yield checks.Warning(
                    f'In NATEQ_WEBHOOKS["RETENTION"] the period of {key!r} is {days_text(period)} (tier '
                    f"{tier.value!r}), but {pattern!r} matches the same deliveries and keeps them {kept}: the longest "
                    "period applies.",
                    hint=f"Name the other events instead of {pattern!r}, or leave out {key!r}.",
                    id=f"{_PREFIX}.W087",
                )


def _is_longer(period: timedelta | None, than: timedelta) -> bool:
    return period is None or period > than


def _periods_of_zero(rules: RetentionRules) -> Iterator[checks.CheckMessage]:
    """Report zeros: elsewhere a zero switches something off."""
    names = {Tier.PAYLOAD: "payload", Tier.DELIVERY: "whole delivery"}
    for tier, name in names.items():
        for key in sorted(key for key, period in rules.periods[tier].items() if period == timedelta()):
            yield checks.Warning(
                f'In NATEQ_WEBHOOKS["RETENTION"] the period of {key!r} is zero (tier {tier.value!r}): the {name} is '
                "removed as soon as its receivers have finished.",
                hint="Write None to keep it for ever. If zero is what you mean, silence this check.",
                id=f"{_PREFIX}.W083",
            )


def _of_another_notation(path: Sequence[str]) -> str | None:
    """Return the first name of a path that is written as in JSONPath, JSON Pointer or Python; None if there is none."""
    return next((name for name in path if _OTHER_NOTATIONS & set(name) or (name != ANY and set(name) == {ANY})), None)


def _of_a_list(path: Sequence[str]) -> str | None:
    """Return the first name of a path that leads into a list; None if there is none."""
    return next((name for name in path if name == ANY or name.isdecimal()), None)


def _doubt(path: Sequence[str], strange: str | None, hint: str) -> tuple[str, str] | None:
    """Return why a path probably leads nowhere, and what to do; None if it may lead somewhere.

    `strange` is a name of the path that is probably no key, and `hint` what to write instead.
    """
    if strange is not None:
        return f"in which {strange!r} is taken for the name of a key", hint
    if path[0] not in _ENVELOPE:
        names = (path[0].lower(), *path[1:]) if path[0].lower() in _ENVELOPE else ("data", *path)
        return f"but Nateq's body has no key {path[0]!r} beside 'data'", f"Did you mean {'.'.join(names)!r}?"
    return None


_REDACT_HINT: Final = (
    "Write names and indexes with dots between them: 'data.messages.0.email', or '*' for any one of them."
)
_ORDER_HINT: Final = "Write names with dots between them: 'data.conversation_id'. The value can't be inside a list."
