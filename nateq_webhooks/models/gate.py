"""What may hold runs back: a pause, a rate limit, a circuit breaker; and whose turn it is where order matters."""

import uuid
from typing import Final

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.models.fields import ExactCharField, SafeCharField
from nateq_webhooks.models.run import Run

OPEN_LANE: Final = 0
"""The lane of runs that nothing holds back."""

TURN_LANE: Final = -1
"""The lane of runs that wait for an earlier delivery of the same key (`ORDERED_BY`)."""

EVERYTHING: Final = ""
"""The scope of the gate before every run."""


def webhook_scope(webhook_id: uuid.UUID | str) -> str:
    """Return the scope of the gate before the runs of one webhook's deliveries."""
    return f"webhook:{webhook_id}"


def receiver_scope(name: str) -> str:
    """Return the scope of the gate before the runs of one receiver."""
    return f"receiver:{name}"


def breaker_scope(webhook_id: uuid.UUID, receiver: str) -> str:
    """Return the scope of the gate before the runs of one receiver for one webhook, which the circuit breaker closes.

    Per webhook, so that what one sender's deliveries make fail pauses nobody else's.
    """
    return f"{webhook_scope(webhook_id)}{_AND_RECEIVER}{receiver}"


_AND_RECEIVER: Final = "/receiver:"


def scope_parts(scope: str) -> tuple[str, str]:
    """Return the webhook's key and the receiver's name that a scope names; an empty text where it names none."""
    kind, _colon, name = scope.partition(":")
    if kind != "webhook":
        return "", name
    webhook, _separator, receiver = name.partition(_AND_RECEIVER)
    return webhook, receiver


class Gate(models.Model):
    """Holds back every run, those of a webhook, of a receiver, or of both; what it holds is in a lane of its own.

    A run in another lane than the open one is not in the way of the claim's index. There are few gates: each
    process reads them all, once a second at most.
    """

    scope = ExactCharField(_("what it stands before"), max_length=255, unique=True)
    paused_at = models.DateTimeField(_("paused"), null=True)
    paused_by = SafeCharField(_("paused by"), max_length=150, default="")
    reason = SafeCharField(_("reason"), max_length=500, default="")
    is_automatic = models.BooleanField(_("paused by itself"), default=False)
    "Closed by the circuit breaker: it opens by itself when a probe succeeds."
    probe_at = models.DateTimeField(_("next probe"), null=True)
    "When the breaker lets one run through."
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    next_slot_at = models.DateTimeField(_("next slot"), null=True)
    "When the rate limit lets the next run start."
    is_cleared = models.BooleanField(default=True)
    "Whether its lane is known to be empty, or only a rate limit's to take from."

    class Meta:
        verbose_name = _("gate")
        verbose_name_plural = _("gates")
        ordering = ["scope"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.scope or str(_("everything"))


class Turn(models.Model):
    """An unfinished run whose deliveries are to run in the order they came (`ORDERED_BY`), and its place in line.

    At most one run of a key is up, which `up` being unique guarantees, whoever dies when.
    """

    run = models.OneToOneField(Run, on_delete=models.CASCADE, primary_key=True, related_name="turn")
    key = ExactCharField(max_length=64)
    "SHA-256 of the webhook, the receiver and the value that `ORDERED_BY` leads to."
    position = models.BigIntegerField()
    "The delivery's key: deliveries are numbered as they come."
    up = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001 - NULL may repeat, an empty text not
    "The key once more while the run is up, NULL while it waits."

    class Meta:
        verbose_name = _("turn")
        verbose_name_plural = _("turns")
        default_permissions = ()
        indexes = [
            # For the next one in line of a key.
            models.Index(fields=["key", "position"], name="nateq_turn_line"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} @ {self.position}"


class Heartbeat(models.Model):
    """A worker process, and when it was last seen at work."""

    name = ExactCharField(_("worker"), max_length=200, unique=True)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    seen_at = models.DateTimeField(_("last seen"), default=timezone.now)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ["name"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
