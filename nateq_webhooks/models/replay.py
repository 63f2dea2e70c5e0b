"""The replay: deliveries that a person has run once more. Its id is the round of its runs."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.models.fields import ExactCharField, SafeCharField
from nateq_webhooks.models.run import Run


class Replay(models.Model):
    """Who wanted which deliveries run again by which receivers, when and why, and how far that got.

    Runs are created in batches, in the order of the deliveries' keys; a batch's runs and `after` are committed
    together, so one that was killed continues where it stopped.
    """

    created_at = models.DateTimeField(_("requested"), default=timezone.now)
    by = SafeCharField(_("by"), max_length=150, default="")
    reason = SafeCharField(_("reason"), max_length=500, default="")
    receivers = models.JSONField(_("receivers"), null=True)
    "Names; NULL: every receiver that is connected to the event."
    filters = models.JSONField(_("filters"), default=dict)
    "The fields of `Selection`; empty for deliveries that were given one by one."
    after = models.BigIntegerField(_("done up to"), default=0)
    "The key of the last delivery that was looked at."
    first = models.BigIntegerField(_("from"), default=0, db_default=0)
    "No delivery up to this key is looked at: those are older than the period that is replayed."
    until = models.BigIntegerField(_("up to"), default=0)
    "The key of the last delivery that is to be looked at: what comes later is not replayed."
    deliveries = models.BigIntegerField(_("deliveries"), default=0)
    "How many were found so far."
    runs = models.BigIntegerField(_("runs made"), default=0)
    "How many runs were created so far."
    # The columns below have defaults in the database, too: a process of the former version knows nothing of them.
    brought_forward = models.BigIntegerField(_("brought forward"), default=0, db_default=0)
    "How many pending runs were brought forward so far, in place of a second run beside each."
    already_running = models.BigIntegerField(_("already running"), default=0, db_default=0)
    "For how many receivers of deliveries nothing was done, because their run had started."
    skipped = models.BigIntegerField(_("succeeded since"), default=0, db_default=0)
    "With `only_failed`: how many of the selected failed runs a later round has made good, so that none was created."
    without_content = models.BigIntegerField(_("content removed"), default=0, db_default=0)
    "How many deliveries were left out, because their content was removed by retention or an erasure."
    disconnected = models.BigIntegerField(_("receiver not connected"), default=0, db_default=0)
    "How many failed (`only_failed`) or pending (`try_now`) runs were left alone, as their receiver is not connected."
    succeeded = models.BigIntegerField(_("succeeded"), default=0, db_default=0)
    "How many of its runs have succeeded; counted once, when `done_at` is set."
    failed = models.BigIntegerField(_("failed"), default=0, db_default=0)
    "How many of its runs were given up or dropped; counted once, when `done_at` is set."
    finished_at = models.DateTimeField(_("all runs created"), null=True)
    done_at = models.DateTimeField(_("all runs finished"), null=True)
    "When its last run was found to have finished."
    is_cancelled = models.BooleanField(_("cancelled"), default=False)
    only_failed = models.BooleanField(_("failed receivers only"), default=False, db_default=False)
    "Whether only those receivers run again whose last run of a delivery has failed."
    organization_id = ExactCharField(_("organization"), max_length=200, blank=True, default="", db_default="")
    "The only organization whose deliveries the caller may see; empty: all."
    is_command_waiting = models.BooleanField(default=False, db_default=False)
    "Whether the command that requested it has not reached its end: the same command again continues this replay."

    class Meta:
        verbose_name = _("replay")
        verbose_name_plural = _("replays")
        ordering = ["-pk"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{_('Replay')} {self.pk}"

    @property
    def has_runs(self) -> bool:
        """Whether it made runs, or brought some forward."""
        return bool(self.runs or self.brought_forward)

    @property
    def is_of_given_deliveries(self) -> bool:
        """Whether the deliveries were given one by one, so that no range of keys was looked through.

        False for a replay of a version that did not store it.
        """
        return 0 < self.until == self.first

    @property
    def share_done(self) -> float:
        """The share of the deliveries that were looked at, from 0 to 1, by the deliveries' keys.

        The runs may not have started: `dispatch.progress` says how far those are.
        """
        if self.finished_at is not None or not self.until:
            return 1.0
        return min(1.0, (self.after - self.first) / max(1, self.until - self.first))


class ReplayedRun(models.Model):
    """A run that a replay has created, or that was pending already and was brought forward by it."""

    # The unique constraint starts with the replay, so that foreign key needs no index of its own.
    replay = models.ForeignKey(Replay, on_delete=models.CASCADE, related_name="replayed_runs", db_index=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="replayed_by")
    is_brought_forward = models.BooleanField(default=False)
    "It was pending already; else the replay created it."

    class Meta:
        verbose_name = _("replayed run")
        verbose_name_plural = _("replayed runs")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["replay", "run"], name="nateq_replayed_run_once"),
        ]

    def __str__(self) -> str:
        return f"{self.replay_id}: {self.run_id}"
