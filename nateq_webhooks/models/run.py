"""The run: one receiver's work on one delivery, kept until the receiver has succeeded or was given up."""

import hashlib
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from django.db import models, router
from django.db.models import Case, DateTimeField, Exists, F, OuterRef, Q, Value, When
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from nateq_webhooks import tenants
from nateq_webhooks.models.delivery import Delivery
from nateq_webhooks.models.fields import ExactCharField, SafeTextField
from nateq_webhooks.protocol.invisible_chars import visible

MAX_ERROR_CHARS = 1_000
"""Characters kept of an exception's own text."""

MAX_TRACEBACK_CHARS = 20_000
"""Characters kept of a traceback: its end, where the error is."""

NOT_HELD: Final = 0
"""`held_by` of runs that nothing holds back."""

HELD_BY_ORDER: Final = -1
"""`held_by` of runs that wait for an earlier delivery of the same key (`ORDERED_BY`)."""

PARKED_UNTIL: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""`next_try_at` of parked runs: at the far end of the index, so they are never read before a due run."""

IS_PARKED: Final = Q(next_try_at__gte=PARKED_UNTIL)
"""The condition that a run is parked: no process knows its receiver."""

NOT_PARKED: Final = Q(next_try_at__lt=PARKED_UNTIL)
"""The condition that a run is not parked, and not finalized."""

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Lower bound of `next_try_at` that excludes NULL; SQLite does not use the index for IS NOT NULL."""


class RunQuerySet(models.QuerySet["Run"]):
    """Runs by their state, and the transitions from one to the next. Each owns the columns that it writes.

    `next_try_at` is when a pending run is due, when the lease of a running one ends, and NULL once a finished one has
    been finalized. `held_by` is what holds a pending run back. A parked run has a date that never comes.
    """

    def pending(self) -> "RunQuerySet":
        """Return the runs that wait for their first or their next try."""
        return self.filter(status__in=Run.PENDING)

    def unfinished(self) -> "RunQuerySet":
        """Return the runs that wait, are being tried, or will be tried again."""
        return self.filter(status__in=Run.UNFINISHED)

    def finished(self) -> "RunQuerySet":
        """Return the runs that succeeded, were given up or dropped; they may still have to be finalized."""
        return self.filter(status__in=Run.FINISHED)

    def due(self, now: datetime, *, held_by: int = NOT_HELD) -> "RunQuerySet":
        """Return the runs to start: new, waiting whose time has come, or left by a dead worker; one hold's.

        Finished runs that still have to be finalized are among them.
        """
        return self.filter(held_by=held_by, next_try_at__lte=now)

    def held(self, hold_pk: int) -> "RunQuerySet":
        """Return the pending runs that one hold holds back and that are not parked; `NOT_HELD`: that none does."""
        return self.pending().filter(NOT_PARKED, held_by=hold_pk)

    def parked(self, hold_pks: Collection[int]) -> "RunQuerySet":
        """Return the runs whose receiver no process knows, of these holds: each is one range of the index."""
        return self.filter(IS_PARKED, held_by__in=hold_pks)

    def not_finalized(self, hold_pk: int) -> "RunQuerySet":
        """Return the runs of one hold that are unfinished or still have to be finalized."""
        return self.filter(held_by=hold_pk, next_try_at__gte=EARLIEST)

    def not_started_since(self, moment: datetime | None) -> "RunQuerySet":
        """Return the runs that were not started since then, and finished ones; all if `moment` is None."""
        if moment is None:
            return self.all()
        return self.filter(Q(status__in=Run.FINISHED) | Q(started_at__isnull=True) | Q(started_at__lt=moment))

    def latest_rounds(self) -> "RunQuerySet":
        """Return the runs that no later replay of the same delivery and receiver has replaced."""
        return self.filter(~has_later_round())

    def leased(self, run: "Run") -> "RunQuerySet":
        """Return the run's row if it is still running under the lease that `run` has in memory."""
        return self.held_under(run.lease, run.pk)

    def held_under(self, lease: uuid.UUID | None, pk: int) -> "RunQuerySet":
        """Return one run if it is running under this lease: only a running one has any.

        Its status is not asked for. The statistics know hardly a running row, so a database may look for it by the
        index that begins with the status, and read what is left there of all the runs of before.
        """
        return self.filter(pk=pk, lease=lease) if lease is not None else self.none()

    def claim(
        self, *, lease: uuid.UUID, until: datetime, held_by: int, started: "Run | None" = None, now: datetime
    ) -> int:
        """Take the unfinished ones under a lease, and count a try of the one that starts now; return how many.

        The number of tries and `started_at` say of a running run whether its receiver may have been called.
        """
        starts = Q(pk=started.pk if started is not None else None)
        return self.unfinished().update(
            status=Run.Status.RUNNING,
            tries=F("tries") + Case(When(starts, then=1), default=0),
            started_at=Case(When(starts, then=Value(now)), default=None, output_field=DateTimeField()),
            next_try_at=until,
            lease=lease,
            held_by=held_by,
        )

    def renew(self, until: datetime) -> int:
        """Extend the lease of running ones."""
        return self.update(next_try_at=until)

    def release(self, run: "Run", *, due_at: datetime) -> int:
        """Give a claimed run back as it was before the claim."""
        return self._give_back(run, next_try_at=due_at)

    def park(self, run: "Run") -> int:
        """Put a claimed run aside whose receiver is not connected in this process; the claim counts no try."""
        return self._give_back(
            run,
            status=Run.Status.WAITING,
            next_try_at=PARKED_UNTIL,
            error=f'No receiver called "{run.receiver}" is connected.',
        )

    def unpark(self, now: datetime) -> int:
        """Make parked ones due."""
        return self.update(next_try_at=now, error="")

    def fail(
        self, *, next_try_at: datetime | None, finished_at: datetime, duration: timedelta, error: str, traceback: str
    ) -> int:
        """Record a failed try: it is due again at `next_try_at`, or given up (None)."""
        changes: dict[str, Any] = {
            "status": Run.Status.FAILED,
            "finished_at": finished_at,
            "duration": duration,
            "lease": None,
            "error": error,
            "traceback": traceback,
        }
        if next_try_at is None:  # it stays due until it is finalized, which no hold delays
            return self.update(**changes | {"status": Run.Status.DEAD, "held_by": NOT_HELD})
        return self.update(**changes, next_try_at=next_try_at)

    def give_up(self, error: str, *, now: datetime) -> int:
        """Give the unfinished ones up whose worker died on their last try."""
        return self.unfinished().update(
            status=Run.Status.DEAD, lease=None, finished_at=now, held_by=NOT_HELD, error=error
        )

    def drop(self, error: str, *, finished_at: datetime | None) -> int:
        """Drop the unfinished ones that no worker has: they are not to run."""
        changes = {} if finished_at is None else {"finished_at": finished_at}
        return self.unfinished().filter(lease=None).update(status=Run.Status.DROPPED, error=error, **changes)

    def fence(self, error: str, *, now: datetime) -> int:
        """Drop unfinished ones, also those that a worker has: it loses them. They stay due until they are finalized."""
        return self.unfinished().update(
            status=Run.Status.DROPPED,
            lease=None,
            finished_at=now,
            held_by=NOT_HELD,
            next_try_at=now,
            error=error,
            traceback="",
        )

    def mark_finalized(self) -> int:
        """Take finished ones out of the index of what is due: their deliveries have been finalized."""
        return self.finished().update(next_try_at=None)

    def _give_back(self, run: "Run", **changes: Any) -> int:
        is_new = run.tries == 0
        before = {
            "status": Run.Status.WAITING if is_new else Run.Status.FAILED,
            "tries": run.tries,
            "started_at": run.started_at,
            "lease": None,
        }
        return self.update(**before | changes)


def has_later_round() -> Exists:
    """Return the condition that a later replay of the same delivery and receiver has replaced a run."""
    later = Run.objects.filter(
        delivery_id=OuterRef("delivery_id"), receiver=OuterRef("receiver"), round__gt=OuterRef("round")
    )
    return Exists(later)


class Run(models.Model):
    """One receiver x one delivery. `dispatch` is the only writer; `RunQuerySet` names its states and transitions."""

    class Status(models.TextChoices):
        """How far a run got."""

        WAITING = "waiting", _("Waiting")
        "Not tried yet."
        RUNNING = "running", _("Running")
        "A worker holds it until `next_try_at`."
        SUCCEEDED = "succeeded", _("Succeeded")
        "Its work and this word were committed together."
        FAILED = "failed", _("Retrying")
        "The last try failed; it will be tried again at `next_try_at`."
        DEAD = "dead", _("Failed for good")
        "It will not be tried again by itself."
        DROPPED = "dropped", _("Dropped")
        "A person decided that it shall not run."

    PENDING: ClassVar = (Status.WAITING, Status.FAILED)
    "Wait for a try; no worker has them."
    UNFINISHED: ClassVar = (Status.WAITING, Status.FAILED, Status.RUNNING)
    "May still succeed by themselves."
    FINISHED: ClassVar = (Status.SUCCEEDED, Status.DEAD, Status.DROPPED)
    "Nobody starts them by themselves."
    RESOLVED: ClassVar = (Status.SUCCEEDED, Status.DROPPED)
    "Finished, and nothing is left to do."
    FAILING: ClassVar = (Status.FAILED, Status.DEAD)
    "The last try failed."

    # The unique constraint starts with the delivery, so the foreign key needs no index of its own.
    delivery = models.ForeignKey(
        Delivery, on_delete=models.CASCADE, related_name="runs", db_index=False, verbose_name=_("delivery")
    )
    receiver = ExactCharField(_("receiver"), max_length=200)
    round = models.BigIntegerField(_("round"), default=0, help_text=_("0 is the first; a replay has its own."))
    status = ExactCharField(_("status"), max_length=16, choices=Status, default=Status.WAITING)
    tries = models.PositiveIntegerField(_("tries"), default=0)
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    duration = models.DurationField(_("duration"), null=True)
    error = SafeTextField(_("error"), default="")
    traceback = SafeTextField(_("traceback"), default="")
    # What holds the run back: NOT_HELD, a hold's key, or HELD_BY_ORDER.
    held_by = models.BigIntegerField(_("held by"), default=NOT_HELD)
    # While running it is the end of the lease; NULL once finished.
    next_try_at = models.DateTimeField(_("next try"), null=True, default=timezone.now)
    lease = models.UUIDField(_("lease"), null=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    objects = RunQuerySet.as_manager()

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ["pk"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["delivery", "receiver", "round"], name="nateq_run_once"),
        ]
        indexes = [
            # For the claim: the due runs of one hold, so that it never reads past held ones.
            models.Index(fields=["held_by", "next_try_at"], name="nateq_run_due"),
            # For the list by status and receiver, either or both (skip_scan), and for what was given up.
            models.Index(fields=["status", "receiver", "id"], name="nateq_run_browse"),
        ]

    def __str__(self) -> str:
        return f"{visible(self.receiver)} #{self.round}"

    @property
    def is_parked(self) -> bool:
        """Whether it waits for a receiver that no process knows."""
        return self.next_try_at is not None and self.next_try_at >= PARKED_UNTIL

    @property
    def is_replay(self) -> bool:
        """Whether it was created by a replay, not when the delivery came."""
        return self.round != 0

    @property
    def idempotency_key(self) -> str:
        """A key for calls to other services: the same for every try of this run, another for a replay."""
        tenant = tenants.current(self._state.db or router.db_for_write(Run))
        # Deliveries of two tenants have the same keys.
        name = f"{tenant}\0{self.receiver}" if tenant else self.receiver
        return f"nateq-{self.delivery_id}-{self.round}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRun:
    """A run to insert together with its delivery, under a lease of the process that inserts it: what differs by run."""

    receiver: str
    status: str
    tries: int
    started_at: datetime | None
    next_try_at: datetime
    lease: uuid.UUID
    created_at: datetime
