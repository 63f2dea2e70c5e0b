"""The timeline of a delivery: each attempt of the sender, each run of a receiver, each replay."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Exists, OuterRef
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.formatting import STATUS_STYLES, StatusStyle
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.dispatch.failed_tries import failed_tries
from nateq_webhooks.models import Attempt, Delivery, OtherContent, Replay, Run
from nateq_webhooks.models.redaction import text_mask
from nateq_webhooks.models.replay import ReplayedRun
from nateq_webhooks.models.run_try import RunTry
from nateq_webhooks.protocol.envelope import Note

MAX_RUNS_SHOWN: Final = 100
"""Runs on a delivery's page, the newest ones; the list of runs has all of them."""

MAX_TRIES_SHOWN: Final = 100
"""Earlier failed tries on a delivery's page, the latest ones; a run's page has all that are kept of it."""

MAX_TRACEBACKS_SHOWN: Final = 10
"""Tracebacks on a delivery's page, of the newest runs: each has up to 20,000 characters. A run's page has its own."""

ARRIVED: Final = StatusStyle("↓", "good")
DIFFERENT: Final = StatusStyle("≠", "bad")
REPEATED: Final = StatusStyle("↓", "quiet")
HAPPENED: Final = StatusStyle("•", "quiet")
REPLAYED: Final = StatusStyle("↺", "busy")
HELD: Final = StatusStyle("…", "busy")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunActions:
    """What a user may do about a run; what is empty is not offered."""

    url: str = ""
    "The page of the run."
    receiver_url: str = ""
    "The page of its receiver."
    replay_url: str = ""
    "The page that runs its receiver again: of a finished run."
    try_now: str = ""
    "The receiver whose pending run may be brought forward."
    hold: SafeString | str = ""
    "What holds the run back."
    resume: int = 0
    "The key of the pause that may be ended."


NO_ACTIONS: Final = RunActions()


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of the timeline."""

    at: datetime
    rank: int
    """The order of entries with the same time."""
    style: StatusStyle
    title: str | SafeString
    facts: Sequence[str | SafeString] = ()
    error: str = ""
    traceback: str = ""
    actions: "RunActions" = NO_ACTIONS
    "What the user may do about a run."

    @property
    def moment(self) -> SafeString | None:
        """The time, in the reader's time zone."""
        return formatting.moment(self.at)


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The rows of the database that a timeline shows."""

    delivery: Delivery
    attempts: Sequence[Attempt]
    other_contents: Sequence[OtherContent]
    runs: Sequence[Run]
    replays: Mapping[int, Replay]
    brought_forward: Mapping[int, Sequence[str]]
    "By the number of a replay: the receivers whose pending run it brought forward."
    hidden_replays: frozenset[int]
    "Numbers of replays that the reader may not see."
    tracebacks: Mapping[int, str]
    tries: Sequence[RunTry]
    "Failed tries that the runs' own columns do not show."
    has_more_runs: bool
    shows_errors: bool

    def newest(self) -> dict[str, Run]:
        """Return the newest run of each receiver, by its name: it has the receiver's present status."""
        newest: dict[str, Run] = {}
        for run in self.runs:  # the newest round first
            newest.setdefault(run.receiver, run)
        return newest


def read(delivery: Delivery, permitted: PermittedRows, *, errors: bool) -> History:
    """Read the history with two queries, and one more each for replays, tracebacks, earlier tries and other contents.

    It has only the runs and replays that the user may see. Without `errors` it has neither errors nor tracebacks.
    """
    rows = permitted.of(Run).filter(delivery=delivery.pk).order_by("-round", "pk")
    rows = rows.select_related(None).defer("traceback", *(() if errors else ("error",)))
    forward = ReplayedRun.objects.filter(run=OuterRef("pk"), is_brought_forward=True)
    found = list(rows.annotate(was_brought_forward=Exists(forward))[: MAX_RUNS_SHOWN + 1])
    runs = found[:MAX_RUNS_SHOWN]
    brought_forward = _brought_forward([run for run in runs if run.was_brought_forward])
    rounds = {run.round for run in runs if run.is_replay} | brought_forward.keys()
    failing = [run.pk for run in runs if run.status in Run.FAILING] if errors else []
    tracebacks = Run.objects.filter(pk__in=failing[:MAX_TRACEBACKS_SHOWN]).values_list("pk", "traceback")
    replays = permitted.of(Replay).in_bulk(rounds) if rounds else {}
    tries, mask = _earlier_tries(delivery, runs, errors=errors), text_mask(delivery.body)
    for row in (*runs, *tries) if errors else ():
        row.error = mask.masked(row.error)
    return History(
        delivery=delivery,
        attempts=list(delivery.attempts.all()),
        other_contents=list(delivery.other_contents.defer("body")) if Note.CONTENT_DIFFERS in delivery.notes else [],
        runs=runs,
        replays=replays,
        brought_forward=brought_forward,
        hidden_replays=frozenset(rounds - replays.keys()) if permitted.hides(Replay) else frozenset(),
        tracebacks={pk: mask.masked(text) for pk, text in tracebacks} if failing else {},
        tries=tries,
        has_more_runs=len(found) > MAX_RUNS_SHOWN,
        shows_errors=errors,
    )


def _earlier_tries(delivery: Delivery, runs: Sequence[Run], *, errors: bool) -> list[RunTry]:
    """Return the failed tries of runs that were tried more than once, without those that the runs' entries show."""
    several = {run.pk: run for run in runs if run.tries > 1}
    tries = failed_tries(str(delivery._state.db), list(several.values()), MAX_TRIES_SHOWN, with_errors=errors)  # noqa: SLF001
    return [each for each in tries if not is_of_latest_try(each, several[each.run_id])]


def is_of_latest_try(failed: RunTry, run: Run) -> bool:
    """Return whether a failed try is the one that the run's own columns show."""
    return run.status in Run.FAILING and failed.finished_at == run.finished_at


def _brought_forward(runs: Sequence[Run]) -> dict[int, list[str]]:
    """Return the replays that brought runs forward, each with the receivers of those runs."""
    names = {run.pk: run.receiver for run in runs}
    rows = ReplayedRun.objects.filter(run__in=names, is_brought_forward=True).order_by("replay", "run") if names else ()
    found: dict[int, list[str]] = {}
    for row in rows:
        found.setdefault(row.replay_id, []).append(names[row.run_id])
    return found


def entries(history: History, actions_of: Callable[[Run], RunActions]) -> list[Entry]:
    """Return the timeline, the oldest entry first."""
    runs = (_run(run, history, actions_of(run)) for run in history.runs)
    found = [*_attempts(history), *_replays(history), *_tries(history), *runs]
    return sorted(found, key=lambda entry: (entry.at, entry.rank))


def _attempts(history: History) -> Iterator[Entry]:
    delivery = history.delivery
    if delivery.timestamp is not None:
        yield Entry(at=delivery.timestamp, rank=0, style=HAPPENED, title=_("Happened (Nateq's time)"))
    yield Entry(
        at=delivery.received_at,
        rank=1,
        style=ARRIVED,
        title=_("Received, verified and stored"),
        facts=[*_attempt_facts(delivery.attempt, delivery.remote_addr), _signed_with(delivery)],
    )
    for attempt in history.attempts:
        yield Entry(
            # Of two simultaneous attempts the other one may have been stored; the stored one is still listed first.
            at=max(attempt.received_at, delivery.received_at),
            rank=2,
            style=REPEATED,
            title=_("Sent again; already stored"),
            facts=_attempt_facts(attempt.number, attempt.remote_addr),
        )
    for other in history.other_contents:
        yield Entry(
            at=max(other.received_at, delivery.received_at),
            rank=2,
            style=DIFFERENT,
            title=_("Sent again with different content; it was kept, and no receiver ran"),
            facts=[
                format_html(_("event {}"), formatting.text(other.event) or "-"),
                formatting.size(other.size),
                *_attempt_facts(other.number, other.remote_addr),
            ],
        )
    further = delivery.attempts_seen - 1 - len(history.attempts) - len(history.other_contents)
    if further > 0:
        text = ngettext("Received %(number)s more time", "Received %(number)s more times", further)
        yield Entry(at=delivery.last_received_at, rank=3, style=REPEATED, title=text % {"number": further})


def _attempt_facts(number: int | None, address: str | None) -> list[str | SafeString]:
    facts: list[str | SafeString] = [_("attempt %(number)s") % {"number": number or _("of unknown number")}]
    if address:
        facts.append(format_html(_("from {}"), formatting.text(address)))
    return facts


def _signed_with(delivery: Delivery) -> SafeString:
    return format_html(_("signed with {}"), formatting.text(delivery.secret_id) or "?")


def _replays(history: History) -> Iterator[Entry]:
    """Yield the replays. One whose row was deleted is dated by its first run."""
    made: dict[int, list[datetime]] = {}
    for run in history.runs:
        if run.is_replay:
            made.setdefault(run.round, []).append(run.created_at)
    for number in history.brought_forward.keys() & history.replays.keys():
        made.setdefault(number, []).append(history.replays[number].created_at)
    rounds = {run.round for run in history.runs}
    for number, moments in made.items():
        replay = history.replays.get(number)
        facts: list[str | SafeString] = [] if number in history.hidden_replays else [_replay_name(number)]
        if replay is not None and replay.reason:
            facts.append(format_html(_("reason: {}"), formatting.text(replay.reason)))
        if names := history.brought_forward.get(number):
            facts.append(format_html(_("brought forward: {}"), formatting.text(_(", ").join(names))))
        name = replay.by if replay is not None else ""
        by = format_html("<bdi>{}</bdi>", formatting.visible(name) if name else _("Somebody"))
        yield Entry(
            at=min(moments),
            rank=3,
            style=REPLAYED,
            title=format_html(_("{} replayed it") if number in rounds else _("{} had it tried now"), by),
            facts=facts,
        )


def _run(run: Run, history: History, actions: RunActions) -> Entry:
    error = run.error if history.shows_errors else ""
    return Entry(
        # A run that is inserted with its delivery may be a moment older; it is still listed after it.
        at=max(run.started_at or run.created_at, history.delivery.received_at),
        rank=4,
        style=STATUS_STYLES.get(run.status, HELD),
        title=format_html("<bdi>{}</bdi>: {}", formatting.visible(run.receiver), run.get_status_display()),
        facts=[*_run_facts(run, history), *([actions.hold] if actions.hold else [])],
        error=formatting.visible(error),
        traceback=formatting.visible(history.tracebacks.get(run.pk, "")),
        actions=actions,
    )


def _tries(history: History) -> Iterator[Entry]:
    """Yield the earlier tries that failed; a run's own entry has its latest one."""
    names = {run.pk: run.receiver for run in history.runs}
    for each in history.tries:
        title = _("try %(number)s failed") % {"number": formatting.number(each.number)}
        took = formatting.duration(each.duration)
        yield Entry(
            at=max(each.started_at or each.finished_at, history.delivery.received_at),
            rank=4,
            style=STATUS_STYLES[Run.Status.FAILED],
            title=format_html("<bdi>{}</bdi>: {}", formatting.visible(names[each.run_id]), title),
            facts=[took] if took is not None else [],
            error=formatting.visible(each.error) if history.shows_errors else "",
        )


def _replay_name(number: int) -> str:
    return _("replay %(number)s") % {"number": number}


def _run_facts(run: Run, history: History) -> Iterator[str | SafeString]:
    if run.tries:
        yield ngettext("%(number)s try", "%(number)s tries", run.tries) % {"number": run.tries}
    if (took := formatting.duration(run.duration)) is not None:
        yield took
    if run.is_replay and run.round not in history.hidden_replays:
        yield _replay_name(run.round)
    if run.status == Run.Status.FAILED and run.next_try_at is not None and not run.is_parked:
        yield format_html(_("next try {}"), formatting.moment(run.next_try_at) or "")
