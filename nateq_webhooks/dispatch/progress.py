"""How far a replay is: its runs are created, or brought forward, and then they still have to run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.db.models import Case, CharField, Count, F, IntegerField, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.dispatch.holds import limited_condition, parked_condition, paused_condition, read_holds
from nateq_webhooks.dispatch.notify import runs_elsewhere
from nateq_webhooks.models import Replay, Run
from nateq_webhooks.models.hold import Heartbeat
from nateq_webhooks.models.replay import ReplayedRun

MAX_REPLAYS: Final = 1_000
"""Replays that are counted in one run of maintenance."""


class ReplayState(StrEnum):
    """The state of a replay, for a program that waits for its end."""

    CREATING = "creating"
    """Its runs are being created."""
    RUNNING = "running"
    """All are created, and some have not finished."""
    DONE = "done"
    """All have finished."""
    CANCELLED = "cancelled"
    """No more runs are created; those that were created still run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far the runs of a replay are."""

    replay: Replay
    succeeded: int
    failed: int
    "Given up or dropped: they are not tried again by themselves."
    retrying: int = 0
    "Failed, and to be tried again."
    waiting: int = 0
    "Not tried yet."
    running: int = 0
    held: int = 0
    "Held back by a pause or a rate limit, tried or not."
    paused: int = 0
    "Of those held: by a pause."
    parked: int = 0
    "Waiting for a receiver that no process knows."

    @property
    def left(self) -> int:
        """How many have not finished."""
        return self.retrying + self.waiting + self.running + self.held + self.parked

    @property
    def is_for_workers(self) -> bool:
        """Whether a worker would run any of those that have not finished, without anything being resumed."""
        return self.left > self.paused + self.parked

    @property
    def is_done(self) -> bool:
        """Whether every run is created and has finished."""
        return percent(self.replay, self.left) == 100

    @property
    def state(self) -> ReplayState:
        """The state."""
        if self.replay.is_cancelled:
            return ReplayState.CANCELLED
        if self.replay.finished_at is None:
            return ReplayState.CREATING
        return ReplayState.RUNNING if self.left else ReplayState.DONE

    @property
    def percent(self) -> int:
        """How much is done: 100 only when every run is created and has finished."""
        return percent(self.replay, self.left)

    @property
    def looked_through(self) -> int:
        """The share of the deliveries that were looked at, from 0 to 100: this is no progress of runs."""
        return looked_through(self.replay)

    @property
    def in_words(self) -> str:
        """The numbers, in words."""
        text = _("%(succeeded)s succeeded, %(failed)s failed for good, %(left)s left") % {
            "succeeded": number_format(self.succeeded),
            "failed": number_format(self.failed),
            "left": number_format(self.left),
        }
        parts = [
            _counted(self.retrying, _("%(count)s retrying")),
            _counted(self.waiting, _("%(count)s waiting")),
            _counted(self.running, _("%(count)s running")),
            _counted(self.held, _("%(count)s held")),
            _counted(self.parked, _("%(count)s waiting for an unknown receiver")),
        ]
        kinds = _(", ").join(part for part in parts if part)
        return f"{text} ({kinds})" if kinds else text


def progress(alias: str, replay: Replay) -> Progress:
    """Return how far a replay is, counted now unless it is known to be done."""
    return progress_of(alias, [replay])[0]


def progress_of(alias: str, replays: Sequence[Replay]) -> list[Progress]:
    """Return how far each of the replays is, in their order. One statement counts those that are not done."""
    counted = [replay.pk for replay in replays if replay.done_at is None]
    by_replay: dict[int, Counter[str]] = {}
    if counted:
        rows = ReplayedRun.objects.using(alias).filter(replay__in=counted).order_by()
        holds = read_holds(alias)
        state_of = Case(
            When(parked_condition("run__"), then=Value(_PARKED)),
            When(paused_condition(holds, "run__"), then=Value(_PAUSED)),
            When(limited_condition(holds, "run__"), then=Value(_LIMITED)),
            default=F("run__status"),
            output_field=CharField(),
        )
        for pk, state, count in rows.values_list("replay_id", state_of).annotate(Count("pk")):
            by_replay.setdefault(pk, Counter())[state] += count
    return [_progress(replay, by_replay.get(replay.pk, Counter())) for replay in replays]


_PARKED: Final = "parked"
_PAUSED: Final = "paused"
_LIMITED: Final = "limited"


def _progress(replay: Replay, counts: Mapping[str, int]) -> Progress:
    if replay.done_at is not None:
        return Progress(replay=replay, succeeded=replay.succeeded, failed=replay.failed)
    return Progress(
        replay=replay,
        succeeded=counts[Run.Status.SUCCEEDED],
        failed=counts[Run.Status.DEAD] + counts[Run.Status.DROPPED],
        retrying=counts[Run.Status.FAILED],
        waiting=counts[Run.Status.WAITING],
        running=counts[Run.Status.RUNNING],
        held=counts[_PAUSED] + counts[_LIMITED],
        paused=counts[_PAUSED],
        parked=counts[_PARKED],
    )


def percent(replay: Replay, left: int) -> int:
    """Return how much of a replay is done, from 0 to 100, given how many of its runs have not finished.

    While its runs are still being created, what was not looked at is taken for as much work as what was. 0 as long as
    no run was found: looking is no progress.
    """
    is_made = replay.finished_at is not None or replay.is_cancelled
    if is_made and not left:
        return 100
    total = max(replay.runs + replay.brought_forward, left)
    if not total:
        return 0
    share = (1.0 if is_made else replay.share_done) * (total - left) / total
    return min(99, int(share * 100))


def looked_through(replay: Replay) -> int:
    """Return the share of the deliveries that were looked at, from 0 to 100; below 100 until the last one was."""
    return 100 if replay.finished_at is not None else min(99, int(replay.share_done * 100))


def state_in_words(replay: Replay, left: int) -> str:
    """Return in a few words how far a replay is, for a list."""
    if replay.is_cancelled:
        return _("cancelled")
    if replay.finished_at is None:
        return _("looking through the deliveries: %(share)d %%") % {"share": looked_through(replay)}
    if not replay.has_runs:
        return _("nothing to run")
    return _("%(share)d %%") % {"share": percent(replay, left)}


def with_left(replays: "QuerySet[Replay]") -> "QuerySet[Replay]":
    """Return the replays with `left`: how many of their runs have not finished. One statement for a whole list."""
    runs = ReplayedRun.objects.filter(replay=OuterRef("pk"), run__status__in=Run.UNFINISHED).order_by().values("replay")
    count = Coalesce(Subquery(runs.annotate(count=Count("pk")).values("count")), 0)
    return replays.annotate(left=Case(When(done_at=None, then=count), default=Value(0), output_field=IntegerField()))


def under_way(alias: str, limit: int) -> list[Progress]:
    """Return the newest replays that still have runs to create or to finish."""
    replays = Replay.objects.using(alias).filter(done_at=None).order_by("-pk")[:limit]
    return [found for found in progress_of(alias, list(replays)) if not found.is_done]


def save_finished_totals(alias: str) -> int:
    """Store the numbers of replays whose runs have all finished; return how many there were."""
    made = Replay.objects.using(alias).filter(Q(finished_at__isnull=False) | Q(is_cancelled=True), done_at=None)
    return sum(_note_done(alias, replay) for replay in made.order_by("pk")[:MAX_REPLAYS])


def _note_done(alias: str, replay: Replay) -> bool:
    if ReplayedRun.objects.using(alias).filter(replay=replay, run__status__in=Run.UNFINISHED).exists():
        return False
    found = progress(alias, replay)
    if not found.is_done:
        return False
    mine = Replay.objects.using(alias).filter(pk=replay.pk, done_at=None)
    return bool(mine.update(done_at=timezone.now(), succeeded=found.succeeded, failed=found.failed))


def outcome(replay: Replay) -> str:
    """Return in words what a replay did: how many runs it created, brought forward, found running, and left alone."""
    without_content = ngettext(
        "%(count)s delivery left out, as its content was removed",
        "%(count)s deliveries left out, as their content was removed",
        replay.without_content,
    )
    disconnected = ngettext(
        "%(count)s run left alone, as its receiver is not connected",
        "%(count)s runs left alone, as their receivers are not connected",
        replay.disconnected,
    )
    parts = [
        _counted(replay.brought_forward, _("%(count)s brought forward")),
        _counted(replay.already_running, _("%(count)s already running")),
        _counted(replay.skipped, _("%(count)s succeeded since")),
        _counted(replay.without_content, without_content),
        _counted(replay.disconnected, disconnected),
    ]
    others = [part for part in parts if part]
    made = ngettext("%(count)s run made", "%(count)s runs made", replay.runs) % {"count": number_format(replay.runs)}
    return _(", ").join([made, *others] if replay.runs or not others else others)


def _counted(number: int, text: str) -> str:
    return text % {"count": number_format(number)} if number else ""


def missing_worker_advice(alias: str, found: Progress) -> str:
    """Return what to do if no worker runs what is left of a replay; empty if one does, or if none would.

    A worker runs nothing that is paused, or whose receiver it does not know; what a rate limit holds back it does run.
    """
    return worker_advice(alias) if found.is_for_workers else ""


def worker_advice(alias: str) -> str:
    """Return what to do if no worker runs, and no other process that is notified; empty otherwise."""
    if runs_elsewhere() or Heartbeat.objects.using(alias).running(timezone.now()).exists():
        return ""
    return _(
        "No worker was seen in the last minute, so nobody runs them now. Start manage.py nateq_worker, or run "
        "manage.py nateq_worker --once, by hand or from cron."
    )
