"""The acknowledgement of a group of failed runs: the dashboard leaves the group out until it grows."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.models.fields import ExactCharField, SafeCharField


class FailureAcknowledgement(models.Model):
    """Who has acknowledged which group of failures, and how large the group was then.

    A group is a receiver, a status (failed for good, or retrying) and a kind of error.
    """

    key = ExactCharField(_("group"), max_length=64, unique=True)
    receiver = ExactCharField(_("receiver"), max_length=200)
    at = models.DateTimeField(_("acknowledged"), default=timezone.now)
    by = SafeCharField(_("by"), max_length=150, default="")
    newest = models.DateTimeField(_("newest failure"), null=True)
    "When the group's newest failure ended."
    newest_run = models.BigIntegerField(_("newest run"))
    "The key of the group's newest run."
    number = models.BigIntegerField(_("runs"))
    "How many runs the group had."

    class Meta:
        verbose_name = _("acknowledged failure")
        verbose_name_plural = _("acknowledged failures")
        ordering = ["pk"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.receiver} ({self.key})"
