"""What holds runs back: a pause, a rate limit, a circuit breaker; and the locks of runs whose order matters."""

import uuid
from datetime import datetime, timedelta
from typing import Final

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.models.fields import ExactCharField, SafeCharField
from nateq_webhooks.models.run import HELD_BY_ORDER, NOT_HELD, Run

__all__ = [
    "EVERYTHING",
    "HELD_BY_ORDER",
    "NOT_HELD",
    "Heartbeat",
    "Hold",
    "OrderLock",
    "breaker_scope",
    "receiver_scope",
    "scope_parts",
    "webhook_scope",
]

EVERYTHING: Final = ""
"""The scope of the hold of all runs."""

WORKER_TIMEOUT: Final = timedelta(seconds=60)
"""A worker whose last heartbeat is older does not count as running."""


def webhook_scope(webhook_id: uuid.UUID | str) -> str:
    """Return the scope of the hold of one webhook's runs."""
    return f"webhook:{webhook_id}"


def receiver_scope(name: str) -> str:
    """Return the scope of the hold of one receiver's runs."""
    return f"receiver:{name}"


def breaker_scope(webhook_id: uuid.UUID, receiver: str) -> str:
    """Return the scope of the hold of one receiver's runs for one webhook, which the circuit breaker sets.

    Per webhook, so that one sender's deliveries that fail pause no other sender's.
    """
    return f"{webhook_scope(webhook_id)}{_AND_RECEIVER}{receiver}"


_AND_RECEIVER: Final = "/receiver:"


def scope_parts(scope: str) -> tuple[str, str]:
    """Return the webhook's key and the receiver's name in a scope; an empty text for one that it does not name."""
    kind, _colon, name = scope.partition(":")
    if kind != "webhook":
        return "", name
    webhook, _separator, receiver = name.partition(_AND_RECEIVER)
    return webhook, receiver


class Hold(models.Model):
    """Holds back all runs, or those of a webhook, of a receiver, or of both; `Run.held_by` of these runs is its key.

    The claim's index begins with that column, so the claim never reads past held runs. There are few holds: each
    process reads all of them, at most about once a second.
    """

    scope = ExactCharField(_("scope"), max_length=255, unique=True)
    paused_at = models.DateTimeField(_("paused"), null=True)
    paused_by = SafeCharField(_("paused by"), max_length=150, default="")
    reason = SafeCharField(_("reason"), max_length=500, default="")
    is_automatic = models.BooleanField(_("paused by itself"), default=False)
    "Paused by the circuit breaker: a probe that succeeds resumes it."
    probe_at = models.DateTimeField(_("next probe"), null=True)
    "When the breaker lets one run start."
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    next_slot_at = models.DateTimeField(_("next slot"), null=True)
    "When the rate limit lets the next run start."
    is_empty = models.BooleanField(default=True)
    "Whether it is known to hold no run, or only those that a rate limit lets start."

    class Meta:
        verbose_name = _("hold")
        verbose_name_plural = _("holds")
        ordering = ["scope"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.scope or str(_("everything"))

    @property
    def is_paused(self) -> bool:
        """Whether a person or the circuit breaker has paused it."""
        return self.paused_at is not None


class OrderLock(models.Model):
    """An unfinished run whose webhook's deliveries run in order (`ORDERED_BY`), and its position in the queue.

    Only the head of a queue may start. `head_key` is unique, so there is at most one, whichever process dies when.
    """

    run = models.OneToOneField(Run, on_delete=models.CASCADE, primary_key=True, related_name="order_lock")
    key = ExactCharField(max_length=64)
    "SHA-256 of the webhook, the receiver and the value at the path `ORDERED_BY`: the queue."
    position = models.BigIntegerField()
    "The delivery's key: deliveries are numbered as they come."
    head_key = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001 - NULL may repeat, an empty text not
    "`key` of the head of the queue, NULL for those that wait."

    class Meta:
        verbose_name = _("order lock")
        verbose_name_plural = _("order locks")
        default_permissions = ()
        indexes = [
            # For the next one in the queue of a key.
            models.Index(fields=["key", "position"], name="nateq_order_queue"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} @ {self.position}"

    @property
    def is_head(self) -> bool:
        """Whether it is the first of its queue, whose run may start."""
        return self.head_key is not None


class HeartbeatQuerySet(models.QuerySet["Heartbeat"]):
    """Heartbeats by what they say of the workers."""

    def running(self, now: datetime) -> "HeartbeatQuerySet":
        """Return those of workers that run: the last one is at most a minute old."""
        return self.filter(seen_at__gte=now - WORKER_TIMEOUT)


class Heartbeat(models.Model):
    """A worker process, and when it was last seen at work."""

    name = ExactCharField(_("worker"), max_length=200, unique=True)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    seen_at = models.DateTimeField(_("last seen"), default=timezone.now)

    objects = HeartbeatQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ["name"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
