"""The sender: posts due deliveries, signed, several at a time for each webhook, and retries by its schedule."""

import functools
import logging
import random
import sqlite3
import ssl
import threading
import time
from collections import Counter
from typing import Final

import httpx

from nateq_webhooks.protocol.api import LogStatus
from nateq_webhooks.protocol.signatures import DEFAULT_HEADER, sign
from nateq_webhooks.sandbox.clock import now
from nateq_webhooks.sandbox.deliveries import Deliveries, Delivery
from nateq_webhooks.sandbox.faults import Fault, Faults
from nateq_webhooks.sandbox.log import Log, Outcome
from nateq_webhooks.sandbox.sandbox_errors import StoreClosedError
from nateq_webhooks.sandbox.schedule import Schedule
from nateq_webhooks.sandbox.webhooks import SandboxWebhook, Webhooks

MAX_RESPONSE_BYTES: Final = 4096
"""The part of a response that the log keeps."""

_MAX_WAIT: Final = 1.0  # a webhook may be activated, and the system clock may be changed
_GRACE_SECONDS: Final = 1.0

logger = logging.getLogger("nateq_webhooks.sandbox")


@functools.cache
def _tls() -> ssl.SSLContext:
    """Load the certificates once: that takes longer than the rest of a sandbox's start."""
    return httpx.create_ssl_context(trust_env=False)


class Sender:
    """One thread looks for due deliveries; each attempt is made in its own thread.

    A webhook has at most `threads` of them at a time, so that a slow receiver does not delay others.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        deliveries: Deliveries,
        log: Log,
        faults: Faults,
        schedule: Schedule,
        *,
        timeout: float,
        threads: int,
        seed: int | None,
    ) -> None:
        self._webhooks = webhooks
        self._deliveries = deliveries
        self._log = log
        self._faults = faults
        self._schedule = schedule
        self._timeout = timeout
        self._threads = threads
        self._jitter = random.Random(seed)  # noqa: S311 - spreading load, not a secret
        self._client = httpx.Client(
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,  # requests to this machine must not use a proxy
            verify=_tls(),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=threads),
            headers={"User-Agent": "nateq-sandbox", "Content-Type": "application/json"},
        )
        self.changed = threading.Condition()
        """Notified whenever an attempt was logged, or something was accepted."""
        self._active: Counter[str] = Counter()
        self._has_changed = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="nateq-sandbox-clock", daemon=True)

    def start(self) -> None:
        """Start to send due deliveries."""
        self._thread.start()

    def stop(self) -> None:
        """Start no further attempts, and wait a moment for those being made."""
        with self.changed:
            self._stopping = True
            self.changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        with self.changed:
            if self.changed.wait_for(lambda: not self._active.total(), _GRACE_SECONDS):
                self._client.close()

    def wake(self) -> None:
        """Look for due deliveries now."""
        with self.changed:
            self._has_changed = True
            self.changed.notify_all()

    def _run(self) -> None:
        while not self._stopping:
            try:
                wait_seconds = self._send_due()
            except sqlite3.Error as error:  # such as a full disk, which may be freed
                logger.error("The sender could not read what is due: %s. It tries again in %s s.", error, _MAX_WAIT)
                wait_seconds = _MAX_WAIT
            with self.changed:
                self.changed.wait_for(lambda: self._has_changed or self._stopping, wait_seconds)
                self._has_changed = False

    def _send_due(self) -> float:
        """Start as many due attempts as there are free threads; return the seconds until more are due."""
        wait_seconds = _MAX_WAIT
        for webhook in self._webhooks.all():
            with self.changed:
                free = self._threads - self._active[webhook.id]
            if not webhook.is_active or free <= 0:
                continue
            due, next_due_at = self._deliveries.claim(webhook.id, free)
            for delivery in due:
                self._start(webhook, delivery)
            if next_due_at is not None:
                wait_seconds = min(wait_seconds, max(next_due_at - now(), 0.0))
        return wait_seconds

    def _start(self, webhook: SandboxWebhook, delivery: Delivery) -> None:
        with self.changed:
            self._active[webhook.id] += 1
        thread = threading.Thread(
            target=self._attempt, args=(webhook, delivery), name=f"nateq-sandbox-{delivery.seq}", daemon=True
        )
        thread.start()

    def _attempt(self, webhook: SandboxWebhook, delivery: Delivery) -> None:
        try:
            outcome = self._post(webhook, delivery)
            self._record(delivery, outcome)
            logger.info(
                "Attempt %d at delivery %s (%s) to %s: %s (%s)",
                delivery.attempt,
                delivery.delivery_id,
                delivery.event,
                webhook.url,
                outcome.status,
                outcome.response_status or outcome.response_body,
            )
        except StoreClosedError:
            logger.info("The attempt at delivery %s was interrupted: the sandbox has stopped.", delivery.delivery_id)
        finally:
            with self.changed:
                self._active[webhook.id] -= 1
                self._has_changed = True
                self.changed.notify_all()
                if self._stopping and not self._active.total():
                    self._client.close()  # by the last thread: closing breaks a client that another thread uses

    def _record(self, delivery: Delivery, outcome: Outcome) -> None:
        """Log the result of an attempt. If that fails, it is tried again, or the next process repeats the attempt."""
        while True:
            try:
                self._log.record(delivery, outcome)
            except sqlite3.Error as error:
                logger.error(
                    "The attempt at delivery %s could not be recorded: %s. The sender tries again in %s s.",
                    delivery.delivery_id,
                    error,
                    _MAX_WAIT,
                )
            else:
                return
            with self.changed:
                if self.changed.wait_for(lambda: self._stopping, _MAX_WAIT):
                    return

    def _post(self, webhook: SandboxWebhook, delivery: Delivery) -> Outcome:
        body = delivery.body()
        signature = sign(body, webhook.secret)
        faults = delivery.faults
        if self._faults.happens(Fault.CORRUPT_SIGNATURE):
            signature = ("1" if signature[0] == "0" else "0") + signature[1:]
            faults += (Fault.CORRUPT_SIGNATURE,)
        attempted_at, started = now(), time.monotonic()
        status, text = self._exchange(webhook.url, body, signature)
        is_delivered = status is not None and 200 <= status < 300
        wait = None if is_delivered else self._schedule.wait(delivery.attempt, self._jitter)
        return Outcome(
            status=LogStatus.DELIVERED if is_delivered else LogStatus.FAILED,
            response_status=status,
            response_body=text,
            duration_ms=round((time.monotonic() - started) * 1000),
            attempted_at=attempted_at,
            next_attempt_at=None if wait is None else now() + wait,
            faults=faults,
        )

    def _exchange(self, url: str, body: bytes, signature: str) -> tuple[int | None, str]:
        """Post once; return the status and the beginning of the response, or None and why there is none."""
        deadline = time.monotonic() + self._timeout
        received = b""
        try:
            with self._client.stream("POST", url, content=body, headers={DEFAULT_HEADER: signature}) as response:
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) >= MAX_RESPONSE_BYTES:
                        break
                    if time.monotonic() > deadline:  # httpx's timeout restarts with every byte
                        return None, f"No complete answer within {self._timeout:g} s"
                return response.status_code, received[:MAX_RESPONSE_BYTES].decode("utf-8", "replace")
        except httpx.TimeoutException:
            return None, f"No answer within {self._timeout:g} s"
        except Exception as error:  # noqa: BLE001 - any error: the attempt has failed, and is logged
            return None, f"{type(error).__name__}: {error}"
