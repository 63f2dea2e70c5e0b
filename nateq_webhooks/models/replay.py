"""The replay: deliveries run once more, on somebody's word. Its id is the round of its runs."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Replay(models.Model):
    """Who wanted which deliveries run again by which receivers, when and why, and how far that got.

    Runs are made in portions, in the order of the deliveries' keys; a portion's runs and `after` are committed
    together, so one that was killed goes on where it stopped.
    """

    created_at = models.DateTimeField(_("asked for"), default=timezone.now)
    by = models.CharField(_("by"), max_length=150, default="")
    reason = models.CharField(_("reason"), max_length=500, default="")
    receivers = models.JSONField(_("receivers"), null=True)
    "Names; NULL: every receiver that is connected to the event."
    filters = models.JSONField(_("filters"), default=dict)
    "What `dispatch.Selection` is made of; empty for deliveries that were handed over one by one."
    after = models.BigIntegerField(_("done up to"), default=0)
    "The key of the last delivery that was looked at."
    until = models.BigIntegerField(_("up to"), default=0)
    "The key of the last delivery that is to be looked at: what comes later is not replayed."
    deliveries = models.BigIntegerField(_("deliveries"), default=0)
    "How many were found so far."
    runs = models.BigIntegerField(_("runs"), default=0)
    "How many runs were made so far."
    finished_at = models.DateTimeField(_("all runs made"), null=True)
    is_cancelled = models.BooleanField(_("cancelled"), default=False)

    class Meta:
        verbose_name = _("replay")
        verbose_name_plural = _("replays")
        ordering = ["-pk"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{_('Replay')} {self.pk}"

    @property
    def share_done(self) -> float:
        """How much of the way is done, from 0 to 1, by the deliveries' keys."""
        if self.finished_at is not None or not self.until:
            return 1.0
        return min(1.0, self.after / self.until)
