"""Nateq as the demo needs it, by the sandbox: registers the webhook, sends events, reads the log."""

from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Event as Pause
from time import monotonic

from django.utils import timezone

from nateq_webhooks.models import Webhook
from nateq_webhooks.protocol import EVENTS
from nateq_webhooks.sandbox import Fault, LogStatus, NotDeliveredError, Sandbox, SandboxError, example_data

from .audit import Attempt
from .traffic import Sending

ANY_FREE_PORT = 0
RETRY_BASE = 0.5
"""Seconds before the first retry; Nateq itself waits longer, which would make the demo last minutes."""

ATTEMPTS = 5
SECONDS_TO_ANSWER = 30.0
SECONDS_TO_DELIVER = 30.0
SECONDS_BETWEEN_LOOKS = 0.05
OLDER_SECRET_LIVES = timedelta(hours=1)


def local_nateq(port: int) -> Sandbox:
    """Create a sandbox on `port` or, if it is taken, on a free one. Raises `MissingExtraError` without httpx."""
    try:
        return _sandbox(port)
    except SandboxError:
        return _sandbox(ANY_FREE_PORT)


class Nateq:
    """The sandbox, with the demo's webhook on it."""

    def __init__(self, sandbox: Sandbox, webhook: Webhook) -> None:
        self._sandbox = sandbox
        self._webhook = webhook

    @property
    def webhook_page(self) -> str:
        """The URL of the webhook and its delivery history on the sandbox's settings screen."""
        return f"{self._sandbox.url}/webhooks/{self._webhook.nateq_id}"

    def register(self, early: Collection[Sending]) -> list[str]:
        """Register the webhook on both sides; return the ids of the events that were sent meanwhile.

        Until the secret is known here, the site responds with 503 to every delivery, and Nateq retries.
        """
        self._keep_older_secret()
        self._webhook.registration = Webhook.Registration.PENDING
        self._webhook.events = list(EVENTS)
        self._webhook.save()
        created = self._sandbox.webhooks.create(self._webhook.public_url, list(EVENTS))
        ids = [delivery_id for sending in early for delivery_id in self.send(sending)]
        self._wait_for_first_attempts(ids)
        self._webhook.nateq_id = created.id
        self._webhook.secret = created.secret
        self._webhook.registration = Webhook.Registration.REGISTERED
        self._webhook.save()
        return ids

    def send(self, sending: Sending) -> list[str]:
        """Send an event; return the delivery ids, none if the webhook was deactivated on the screen."""
        if sending.fault:
            self._add_fault(sending.fault)
        return self._sandbox.send(sending.event, example_data(sending.event, number=sending.number))

    def attempts(self, delivery_ids: Collection[str]) -> list[Attempt]:
        """Return the attempts at these deliveries from the log, oldest first."""
        return [
            Attempt(
                event=entry.event,
                delivery_id=entry.delivery_id,
                number=entry.number,
                status=entry.response_status,
                is_genuine=Fault.CORRUPT_SIGNATURE not in entry.faults,
                ended_at=datetime.fromtimestamp(entry.attempted_at + entry.duration_ms / 1000, UTC),
            )
            for entry in reversed(self._sandbox.log)
            if entry.delivery_id in delivery_ids and entry.status != LogStatus.DROPPED
        ]

    def wait_until_finished(self, delivery_ids: Collection[str]) -> None:
        """Wait until each of these deliveries was delivered or given up, at most `SECONDS_TO_DELIVER`."""
        deadline = monotonic() + SECONDS_TO_DELIVER
        with suppress(NotDeliveredError):
            self._sandbox.wait_until_delivered(SECONDS_TO_DELIVER)
        # That returns when the first delivery is given up, even if others are still being sent.
        while not self._are_finished(delivery_ids) and monotonic() < deadline:
            Pause().wait(SECONDS_BETWEEN_LOOKS)

    def _are_finished(self, delivery_ids: Collection[str]) -> bool:
        newest = {entry.delivery_seq: entry for entry in reversed(self._sandbox.log)}
        finished = {entry.delivery_id for entry in newest.values() if entry.next_attempt_at is None}
        return finished.issuperset(delivery_ids)

    def _wait_for_first_attempts(self, delivery_ids: Collection[str]) -> None:
        deadline = monotonic() + SECONDS_TO_DELIVER
        while {attempt.delivery_id for attempt in self.attempts(delivery_ids)} < set(delivery_ids):
            if monotonic() > deadline:
                return
            Pause().wait(SECONDS_BETWEEN_LOOKS)

    def _keep_older_secret(self) -> None:
        """Keep accepting what another demo that still runs on this database signs, for a while."""
        now = timezone.now()
        self._webhook.older_secrets.filter(expires_at__lt=now).delete()
        self._webhook.older_secrets.create(secret=self._webhook.secret, expires_at=now + OLDER_SECRET_LIVES)

    def _add_fault(self, fault: Fault) -> None:
        """Have a fault happen once more than is set on the screen."""
        switch = self._sandbox.faults.current()[fault]
        self._sandbox.faults.set(fault, rate=switch.rate, count=switch.count + 1)


def _sandbox(port: int) -> Sandbox:
    return Sandbox(port=port, retry_base=RETRY_BASE, attempts=ATTEMPTS, timeout=SECONDS_TO_ANSWER)
