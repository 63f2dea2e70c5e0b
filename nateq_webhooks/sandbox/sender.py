"""The sender: posts what is due, signed, several at a time for each webhook, and tries again by its schedule."""

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
from nateq_webhooks.sandbox.errors import StoreClosedError
from nateq_webhooks.sandbox.faults import Fault, Faults
from nateq_webhooks.sandbox.log import Log, Outcome
from nateq_webhooks.sandbox.schedule import Schedule
from nateq_webhooks.sandbox.webhooks import Webhook, Webhooks

MAX_RESPONSE_BYTES: Final = 4096
"""What the log keeps of a response."""

_LONGEST_NAP: Final = 1.0  # a webhook may be switched on again, and the clock on the wall be set
_GRACE_SECONDS: Final = 1.0

logger = logging.getLogger("nateq_webhooks.sandbox")


@functools.cache
def _tls() -> ssl.SSLContext:
    """Load the certificates once: it takes longer than everything else that a sandbox does to start."""
    return httpx.create_ssl_context(trust_env=False)


class Sender:
    """One thread looks for what is due; each attempt is made by a thread of its own.

    A webhook has at most `threads` of them at a time, so a receiver that is slow or down holds up no other.
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
            trust_env=False,  # what is posted to this machine goes through no proxy
            verify=_tls(),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=threads),
            headers={"User-Agent": "nateq-sandbox", "Content-Type": "application/json"},
        )
        self.changed = threading.Condition()
        """Notified whenever an attempt was logged, or something was accepted."""
        self._under_way: Counter[str] = Counter()
        self._news = False
        self._stopping = False
        self._clock = threading.Thread(target=self._run, name="nateq-sandbox-clock", daemon=True)

    def start(self) -> None:
        """Begin to send what is due."""
        self._clock.start()

    def stop(self) -> None:
        """Start no further attempt, and give those under way a moment to end."""
        with self.changed:
            self._stopping = True
            self.changed.notify_all()
        if self._clock.ident is not None:
            self._clock.join()
        with self.changed:
            if self.changed.wait_for(lambda: not self._under_way.total(), _GRACE_SECONDS):
                self._client.close()

    def wake(self) -> None:
        """Look for what is due now."""
        with self.changed:
            self._news = True
            self.changed.notify_all()

    def _run(self) -> None:
        while not self._stopping:
            try:
                nap = self._send_due()
            except sqlite3.Error as error:  # a full disk, perhaps: it may be emptied
                logger.error("Nothing can be sent now: %s", error)
                nap = _LONGEST_NAP
            with self.changed:
                self.changed.wait_for(lambda: self._news or self._stopping, nap)
                self._news = False

    def _send_due(self) -> float:
        """Start an attempt at everything due that there is room for; return the seconds until more is due."""
        nap = _LONGEST_NAP
        for webhook in self._webhooks.all():
            with self.changed:
                room = self._threads - self._under_way[webhook.id]
            if not webhook.is_active or room <= 0:
                continue
            due, next_due_at = self._deliveries.claim(webhook.id, room)
            for delivery in due:
                self._start(webhook, delivery)
            if next_due_at is not None:
                nap = min(nap, max(next_due_at - now(), 0.0))
        return nap

    def _start(self, webhook: Webhook, delivery: Delivery) -> None:
        with self.changed:
            self._under_way[webhook.id] += 1
        thread = threading.Thread(
            target=self._attempt, args=(webhook, delivery), name=f"nateq-sandbox-{delivery.seq}", daemon=True
        )
        thread.start()

    def _attempt(self, webhook: Webhook, delivery: Delivery) -> None:
        try:
            outcome = self._post(webhook, delivery)
            self._record(delivery, outcome)
            logger.info(
                "%s %s attempt %d to %s: %s %s",
                delivery.event,
                delivery.delivery_id,
                delivery.attempt,
                webhook.url,
                outcome.status,
                outcome.response_status or outcome.response_body,
            )
        except StoreClosedError:
            logger.info("%s was cut short: the sandbox has stopped", delivery.delivery_id)
        finally:
            with self.changed:
                self._under_way[webhook.id] -= 1
                self._news = True
                self.changed.notify_all()
                if self._stopping and not self._under_way.total():
                    self._client.close()  # the last one out; closed under another thread, a client breaks

    def _record(self, delivery: Delivery, outcome: Outcome) -> None:
        """Log what came of an attempt. What can't be written now is written later, or by the next process."""
        while True:
            try:
                self._log.record(delivery, outcome)
            except sqlite3.Error as error:
                logger.error("The attempt at %s can't be logged now: %s", delivery.delivery_id, error)
            else:
                return
            with self.changed:
                if self.changed.wait_for(lambda: self._stopping, _LONGEST_NAP):
                    return

    def _post(self, webhook: Webhook, delivery: Delivery) -> Outcome:
        body = delivery.body()
        signature = sign(body, webhook.secret)
        faults = delivery.faults
        if self._faults.strikes(Fault.CORRUPT_SIGNATURE):
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
        """Post once; return the status and the beginning of the answer, or None and why there is none."""
        deadline = time.monotonic() + self._timeout
        received = b""
        try:
            with self._client.stream("POST", url, content=body, headers={DEFAULT_HEADER: signature}) as response:
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) >= MAX_RESPONSE_BYTES:
                        break
                    if time.monotonic() > deadline:  # httpx's time-out begins anew with every byte
                        return None, f"No whole answer within {self._timeout:g} s"
                return response.status_code, received[:MAX_RESPONSE_BYTES].decode("utf-8", "replace")
        except httpx.TimeoutException:
            return None, f"No answer within {self._timeout:g} s"
        except Exception as error:  # noqa: BLE001 - whatever an address brings about: the attempt has failed, and is logged
            return None, f"{type(error).__name__}: {error}"
