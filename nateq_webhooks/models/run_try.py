"""The tries of a run that did not succeed: each with its own time, duration and error."""

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.models.fields import SafeTextField
from nateq_webhooks.models.run import Run

MAX_TRIES_KEPT: Final = 50
"""Failed tries that are kept of a run, the latest ones: a receiver may ask to be tried again hundreds of times."""


class RunTry(models.Model):
    """A try that failed, or that ended because the worker died.

    A success is in the run's own columns only, so a run that succeeds at once has no row here. The traceback of the
    latest failure is in the run's own columns, too.
    """

    # The unique constraint starts with the run, so the foreign key needs no index of its own.
    run = models.ForeignKey(
        Run, on_delete=models.CASCADE, related_name="failed_tries", db_index=False, verbose_name=_("run")
    )
    number = models.PositiveIntegerField(_("number"))
    "1 is the first try of the run."
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"))
    "When the failure was recorded; for a dead worker, when another process found the run."
    duration = models.DurationField(_("duration"), null=True)
    "NULL if the worker died: nobody knows when."
    error = SafeTextField(_("error"), default="")

    class Meta:
        verbose_name = _("failed try")
        verbose_name_plural = _("failed tries")
        ordering = ["run", "number"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="nateq_run_try_once"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id}: {self.number}"
