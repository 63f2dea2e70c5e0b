"""Compares what the demo sent with what the database holds: nothing lost, nothing doubled, nothing forged."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol.events import EVENTS

from .expectations import Receiver, receivers_of, statuses_of
from .sender import Answer


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What the database holds about some delivery ids."""

    stored: Counter[str]
    """Rows by delivery id."""
    status: dict[str, str]
    """The delivery's status by delivery id."""
    effects: Counter[tuple[str, str]]
    """Rows by delivery id and receiver."""

    def effects_of(self, delivery_id: str) -> int:
        """How many pieces of work were done for a delivery, by all receivers together."""
        return sum(count for (owner, _), count in self.effects.items() if owner == delivery_id)

    def has_trace_of(self, delivery_id: str) -> bool:
        """Whether anything at all is there of a delivery."""
        return bool(self.stored[delivery_id] or self.effects_of(delivery_id))


def problems(answers: Sequence[Answer], observed: Observed) -> list[str]:
    """Name everything that went wrong, a line each; empty when all is well."""
    found = [
        f"answered {answer.status} instead of {answer.wanted_status}: {_name(answer)}, attempt {answer.attempt.number}"
        for answer in answers
        if answer.status != answer.wanted_status
    ]
    for answer in _first_answers(answers):
        if answer.attempt.genuine:
            found += _problems_of_accepted(answer, observed)
        elif observed.has_trace_of(answer.attempt.delivery_id):
            found.append(f"let in: {_name(answer)} has no valid signature and left a trace")
    return found


def _problems_of_accepted(answer: Answer, observed: Observed) -> list[str]:
    """What went wrong with a genuine delivery."""
    delivery_id = answer.attempt.delivery_id
    stored = observed.stored[delivery_id]
    if not stored:
        return [f"lost: {_name(answer)} is not stored"]
    found = [f"doubled: {_name(answer)} is stored {stored} times"] if stored > 1 else []
    for who in Receiver:
        wanted = int(who in receivers_of(answer.attempt.event))
        done = observed.effects[delivery_id, who]
        if done < wanted:
            found.append(f"lost: receiver {who.value} did not run for {_name(answer)}")
        elif done > wanted:
            found.append(f"doubled: receiver {who.value} ran {done} times, not {wanted}, for {_name(answer)}")
    status = observed.status[delivery_id]
    if status not in statuses_of(answer.attempt.event):
        found.append(f'wrong status: {_name(answer)} stands as "{status}"')
    return found


def _first_answers(answers: Iterable[Answer]) -> list[Answer]:
    """One answer per delivery id."""
    by_id: dict[str, Answer] = {}
    for answer in answers:
        by_id.setdefault(answer.attempt.delivery_id, answer)
    return list(by_id.values())


def _name(answer: Answer) -> str:
    return f"{answer.attempt.event} {answer.attempt.delivery_id}"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the summary; its fields are the columns."""

    event: str
    sent: int
    accepted: int
    retried: int
    refused: int
    stored: int
    effects: int
    failed: int


LEGEND = (
    "accepted: answered 200   retried: a retry answered 200, nothing ran again   refused: answered 401",
    "stored: rows   effects: work done by receivers   failed: deliveries with a failed receiver, on purpose",
)


def summary(answers: Sequence[Answer], observed: Observed) -> list[Line]:
    """A line per published event, and the total."""
    lines = [_line(event, [a for a in answers if a.attempt.event == event], observed) for event in EVENTS]
    return [*lines, _line("total", answers, observed)]


def _line(title: str, answers: Sequence[Answer], observed: Observed) -> Line:
    ids = {answer.attempt.delivery_id for answer in answers}
    failing = {Delivery.Status.FAILED, Delivery.Status.DEAD}

    def count(test: Callable[[Answer], bool]) -> int:
        return sum(1 for answer in answers if test(answer))

    return Line(
        event=title,
        sent=len(answers),
        accepted=count(lambda answer: answer.status == 200 and answer.attempt.number == 1),
        retried=count(lambda answer: answer.status == 200 and answer.attempt.number > 1),
        refused=count(lambda answer: answer.status == 401),
        stored=sum(observed.stored[delivery_id] for delivery_id in ids),
        effects=sum(observed.effects_of(delivery_id) for delivery_id in ids),
        failed=sum(1 for delivery_id in ids if observed.status.get(delivery_id) in failing),
    )


def table(lines: Sequence[Line]) -> str:
    """The lines as aligned text under a heading; the last one, the total, stands apart."""
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
