"""Compares what the demo sent with the database: nothing may be lost, doubled or forged."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol import EVENTS

from .expectations import Receiver, receivers_of, statuses_of

ACCEPTED = 200
REFUSED = 401
PUT_OFF = 503
"""Nothing was stored, so Nateq retries: correct at any time, if the delivery succeeds in the end."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt from Nateq's log. `status` is this site's response, None without one."""

    event: str
    delivery_id: str
    number: int
    status: int | None
    is_genuine: bool
    """Whether it was signed with the webhook's secret."""
    ended_at: datetime

    @property
    def wanted_status(self) -> int:
        """The correct response: 200 to a genuine attempt, 401 to one with a bad signature."""
        return ACCEPTED if self.is_genuine else REFUSED


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What the database has about some delivery ids."""

    stored: Counter[str]
    """Rows by delivery id."""
    status: dict[str, str]
    """The delivery's status by delivery id."""
    effects: Counter[tuple[str, str]]
    """Rows by delivery id and receiver."""

    def effects_of(self, delivery_id: str) -> int:
        """How many effects all receivers together had for a delivery."""
        return sum(count for (owner, _), count in self.effects.items() if owner == delivery_id)

    def has_trace_of(self, delivery_id: str) -> bool:
        """Whether the database has anything of a delivery."""
        return bool(self.stored[delivery_id] or self.effects_of(delivery_id))


def problems(sent: Iterable[str], attempts: Sequence[Attempt], observed: Observed) -> list[str]:
    """Return what went wrong with the deliveries `sent`, one line each."""
    found = [
        f"answered {attempt.status or 'nothing'} instead of {attempt.wanted_status}: {_name(attempt)}, "
        f"attempt {attempt.number}"
        for attempt in attempts
        if attempt.status not in (attempt.wanted_status, PUT_OFF)
    ]
    by_id: dict[str, list[Attempt]] = {delivery_id: [] for delivery_id in sent}
    for attempt in attempts:
        by_id[attempt.delivery_id].append(attempt)
    for delivery_id, tried in by_id.items():
        if not tried:
            found.append(f"lost: {delivery_id} was never sent")
        elif any(attempt.is_genuine for attempt in tried):
            found += _problems_of_genuine(tried[0], observed)
        elif observed.has_trace_of(delivery_id):
            found.append(f"let in: {_name(tried[0])} has no valid signature, but was stored")
    return found


def _problems_of_genuine(attempt: Attempt, observed: Observed) -> list[str]:
    """What went wrong with a delivery that had a valid signature at least once."""
    delivery_id = attempt.delivery_id
    stored = observed.stored[delivery_id]
    if not stored:
        return [f"lost: {_name(attempt)} is not stored"]
    found = [f"doubled: {_name(attempt)} is stored {stored} times"] if stored > 1 else []
    for who in Receiver:
        wanted = int(who in receivers_of(attempt.event))
        done = observed.effects[delivery_id, who]
        if done < wanted:
            found.append(f"lost: receiver {who.value} did not run for {_name(attempt)}")
        elif done > wanted:
            found.append(f"doubled: receiver {who.value} ran {done} times, not {wanted}, for {_name(attempt)}")
    status = observed.status[delivery_id]
    if status not in statuses_of(attempt.event):
        found.append(f'wrong status: {_name(attempt)} has "{status}"')
    return found


def _name(attempt: Attempt) -> str:
    return f"{attempt.event} {attempt.delivery_id}"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the summary; its fields are the columns."""

    event: str
    sent: int
    accepted: int
    repeated: int
    refused: int
    put_off: int
    stored: int
    effects: int
    failed: int


LEGEND = (
    "sent: attempts of Nateq   accepted: answered 200   repeated: 200 again, nothing ran again",
    "refused: a bad signature, answered 401, then tried again   put_off: answered 503, then tried again",
    "stored: rows   effects: work done by receivers   failed: deliveries with a failed receiver, on purpose",
)


def summary(attempts: Sequence[Attempt], observed: Observed) -> list[Line]:
    """A line per published event, and the total."""
    lines = [_line(event, [a for a in attempts if a.event == event], observed) for event in EVENTS]
    return [*lines, _line("total", attempts, observed)]


def _line(title: str, attempts: Sequence[Attempt], observed: Observed) -> Line:
    ids = {attempt.delivery_id for attempt in attempts}
    accepted = [attempt.delivery_id for attempt in attempts if attempt.status == ACCEPTED]
    answers = Counter(attempt.status for attempt in attempts)
    failing = {Delivery.Status.FAILED, Delivery.Status.DEAD}
    return Line(
        event=title,
        sent=len(attempts),
        accepted=len(set(accepted)),
        repeated=len(accepted) - len(set(accepted)),
        refused=answers[REFUSED],
        put_off=answers[PUT_OFF],
        stored=sum(observed.stored[delivery_id] for delivery_id in ids),
        effects=sum(observed.effects_of(delivery_id) for delivery_id in ids),
        failed=sum(1 for delivery_id in ids if observed.status.get(delivery_id) in failing),
    )


def table(lines: Sequence[Line]) -> str:
    """The lines as aligned text under a heading; the last one, the total, is separated."""
    heading = [field.name for field in fields(Line)]
    rows = [[str(getattr(line, name)) for name in heading] for line in lines]
    widths = [max(len(row[column]) for row in [heading, *rows]) for column in range(len(heading))]
    rule = ["-" * width for width in widths]
    return "\n".join(_aligned(row, widths) for row in [heading, rule, *rows[:-1], rule, rows[-1]])


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *numbers = row
    cells = [first.ljust(widths[0])]
    cells += [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True)]
    return "  ".join(cells).rstrip()
