"""The run: one receiver's work on one delivery, kept until the receiver has succeeded or was given up."""

import hashlib

from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from nateq_webhooks import tenants
from nateq_webhooks.models.delivery import Delivery
from nateq_webhooks.models.fields import ExactCharField, SafeTextField

MAX_ERROR_CHARS = 1_000
"""Characters kept of an exception's own text."""

MAX_TRACEBACK_CHARS = 20_000
"""Characters kept of a traceback: its end, where the error is."""


class Run(models.Model):
    """One receiver x one delivery. `dispatch` is the only writer."""

    class Status(models.TextChoices):
        """How far a run got."""

        WAITING = "waiting", _("Waiting")
        "Not tried yet."
        RUNNING = "running", _("Running")
        "A worker holds it until `next_try_at`."
        SUCCEEDED = "succeeded", _("Succeeded")
        "Its work and this word were committed together."
        FAILED = "failed", _("Failed")
        "The last try failed; it will be tried again at `next_try_at`."
        DEAD = "dead", _("Given up")
        "It will not be tried again by itself."
        DROPPED = "dropped", _("Dropped")
        "A person decided that it shall not run."

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
    # 0 is open; else what holds the run back: a gate's key, or -1 while it waits for its turn (models.gate).
    lane = models.BigIntegerField(_("lane"), default=0)
    # While running it is the end of the lease; NULL once finished.
    next_try_at = models.DateTimeField(_("next try"), null=True, default=timezone.now)
    lease = models.UUIDField(_("lease"), null=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ["pk"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["delivery", "receiver", "round"], name="nateq_run_once"),
        ]
        indexes = [
            # For the claim: runs to start, lane by lane, so that what is held back is in nobody's way.
            models.Index(fields=["lane", "next_try_at"], name="nateq_run_due"),
            # For the list by status and receiver, either or both (admin.biglist.skip_scan), and for what was given up.
            models.Index(fields=["status", "receiver", "id"], name="nateq_run_browse"),
        ]

    def __str__(self) -> str:
        return f"{self.receiver} #{self.round}"

    @property
    def is_replay(self) -> bool:
        """Whether it was made by a replay, not when the delivery came."""
        return self.round != 0

    @property
    def idempotency_key(self) -> str:
        """A key for calls to other services: the same for every try of this run, another for a replay."""
        tenant = tenants.current(self._state.db or router.db_for_write(Run))
        # Deliveries of two tenants have the same keys.
        name = f"{tenant}\0{self.receiver}" if tenant else self.receiver
        return f"nateq-{self.delivery_id}-{self.round}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
