"""The sandbox's tables: webhooks, deliveries, and the log with an entry for each attempt.

Moments are seconds since 1970. Events and faults are names separated by spaces.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from django.db import models

from nateq_webhooks.protocol.api import LogStatus
from nateq_webhooks.protocol.signatures import SECRET_PREFIX
from nateq_webhooks.sandbox import log
from nateq_webhooks.sandbox.faults import Fault
from nateq_webhooks.sandbox.moments import now
from nateq_webhooks.sandbox.webhooks import ORGANIZATION_ID, SandboxWebhook


class Names(models.TextField):  # type: ignore[type-arg]  # as Django's fields, its types are below
    """A tuple of names, kept as one text."""

    _pyi_private_set_type: Sequence[str]  # type: ignore[assignment]
    _pyi_private_get_type: tuple[str, ...]  # type: ignore[assignment]

    def from_db_value(self, value: str, *_: Any) -> tuple[str, ...]:
        """Return the names."""
        return tuple(value.split())

    def get_prep_value(self, value: Any) -> str:
        """Return the text that is kept."""
        return " ".join(value)


def new_webhook_id() -> str:
    """Return an id for a webhook."""
    return f"wh_{secrets.token_hex(12)}"


def new_delivery_id() -> str:
    """Return an id for a delivery."""
    return f"dlv_{secrets.token_hex(12)}"


def new_secret() -> str:
    """Return a signing secret."""
    return SECRET_PREFIX + secrets.token_hex(32)


class Webhook(models.Model):
    """A webhook."""

    seq = models.AutoField(primary_key=True)
    public_id = models.TextField(db_column="id", unique=True, default=new_webhook_id)
    url = models.TextField()
    events = Names()
    secret = models.TextField(default=new_secret)
    is_active = models.BooleanField(default=True)
    created_at = models.FloatField(default=now)
    organization = models.TextField(default=ORGANIZATION_ID)

    class Meta:
        app_label = "nateq_sandbox"
        db_table = "webhook"
        ordering = ["-seq"]

    def __str__(self) -> str:
        return self.url

    def value(self) -> SandboxWebhook:
        """Return the webhook as it is shown outside this process."""
        return SandboxWebhook(
            id=self.public_id,
            url=self.url,
            events=self.events,
            secret=self.secret,
            is_active=self.is_active,
            created_at=self.created_at,
            organization=self.organization,
        )


class Delivery(models.Model):
    """An event for a webhook. `seq` numbers the deliveries in the order of acceptance."""

    class State(models.TextChoices):
        PENDING = "pending"
        "Waits for its first attempt or the next one."
        HELD = "held"
        "Waits for a later delivery to be sent first (`Fault.REORDER`), or for its time."
        SENDING = "sending"
        "An attempt is being made."
        DELIVERED = "delivered"
        "The receiver answered 2xx."
        FAILED = "failed"
        "All attempts are used up."
        DROPPED = "dropped"
        "Never sent (`Fault.DROP`)."

    seq = models.AutoField(primary_key=True)
    webhook = models.ForeignKey(
        Webhook, on_delete=models.CASCADE, to_field="public_id", db_index=False, related_name="+"
    )
    public_id = models.TextField(db_column="delivery_id", default=new_delivery_id)
    event = models.TextField()
    envelope = models.TextField()
    faults = Names(default=())
    state = models.TextField(choices=State, default=State.PENDING)
    attempt = models.IntegerField(default=0)
    due_at = models.FloatField()

    class Meta:
        app_label = "nateq_sandbox"
        db_table = "delivery"
        indexes = [models.Index(fields=["state", "webhook", "due_at", "seq"], name="delivery_due")]

    def __str__(self) -> str:
        return self.public_id

    @property
    def has_new_ids(self) -> bool:
        """Whether each retry has another id."""
        return Fault.NEW_ID in self.faults


class Attempt(models.Model):
    """An entry of the log. It is added when its attempt has ended, so that entries are only added at the front."""

    seq = models.AutoField(primary_key=True)
    delivery = models.ForeignKey(
        Delivery, on_delete=models.CASCADE, db_column="delivery_seq", db_index=False, related_name="+"
    )
    webhook = models.ForeignKey(
        Webhook,
        on_delete=models.CASCADE,
        to_field="public_id",
        db_index=False,
        db_constraint=False,
        related_name="+",
    )
    public_id = models.TextField(db_column="delivery_id")
    number = models.IntegerField()
    status = models.TextField()
    response_status = models.IntegerField(null=True)
    response_body = models.TextField(default="")
    duration_ms = models.IntegerField(default=0)
    attempted_at = models.FloatField(default=now)
    next_attempt_at = models.FloatField(null=True)
    faults = Names(default=())

    class Meta:
        app_label = "nateq_sandbox"
        db_table = "attempt"
        ordering = ["-seq"]
        indexes = [
            models.Index(fields=["webhook", "seq"], name="attempt_of_webhook"),
            models.Index(fields=["delivery", "seq"], name="attempt_of_delivery"),
        ]

    def __str__(self) -> str:
        return f"{self.public_id}, attempt {self.number}"

    def value(self) -> log.Attempt:
        """Return the entry as it is shown outside this process; its delivery must be loaded."""
        return log.Attempt(
            webhook_id=self.webhook_id,
            delivery_seq=self.delivery_id,
            delivery_id=self.public_id,
            event=self.delivery.event,
            number=self.number,
            envelope=self.delivery.envelope,
            status=LogStatus(self.status),
            response_status=self.response_status,
            response_body=self.response_body,
            duration_ms=self.duration_ms,
            attempted_at=self.attempted_at,
            next_attempt_at=self.next_attempt_at,
            faults=tuple(map(Fault, self.faults)),
        )
