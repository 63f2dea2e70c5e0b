"""The sender: posts due deliveries, signed, several at a time for each webhook, and retries by its schedule."""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

import httpx
from django.db import Error, connection, transaction

from nateq_webhooks.protocol.api import LogStatus
from nateq_webhooks.protocol.signatures import DEFAULT_HEADER, sign
from nateq_webhooks.sandbox.faults import Fault, Faults
from nateq_webhooks.sandbox.log import Outcome
from nateq_webhooks.sandbox.moments import now
from nateq_webhooks.sandbox.options import Options
from nateq_webhooks.sandbox.schedule import Schedule
from nateq_webhooks.sandbox.site import deliveries
from nateq_webhooks.sandbox.site.models import Delivery, Webhook

MAX_RESPONSE_BYTES: Final = 4096
"""The part of a response that the log keeps."""

_MAX_WAIT: Final = 1.0  # a webhook may be activated, and the system's clock may be changed
_GRACE_SECONDS: Final = 1.0
_GATHER_SECONDS: Final = 0.005
"""How long to wait for further attempts that end, to record them together: a transaction costs more than an attempt."""

logger = logging.getLogger("nateq_webhooks.sandbox")


class Sender:
    """One thread claims due deliveries and records the results, many in one transaction; others make the attempts.

    A webhook has at most `options.senders` attempts at a time, and there are as many threads as that takes, so that a
    slow receiver does not delay others.
    """

    def __init__(self, options: Options, faults: Faults) -> None:
        self._faults = faults
        self._schedule = Schedule(base=options.retry_base, longest=options.retry_longest, attempts=options.attempts)
        self._timeout = options.timeout
        self._threads = options.senders
        self.restart(options.seed)
        self._client = httpx.Client(
            timeout=options.timeout,
            follow_redirects=False,
            trust_env=False,  # requests to this machine must not use a proxy
            verify=httpx.create_ssl_context(trust_env=False),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=options.senders),
            headers={"User-Agent": "nateq-sandbox", "Content-Type": "application/json"},
        )
        self._changed = threading.Condition()
        """Notified whenever an attempt has ended, or something was accepted."""
        self._active: Counter[str] = Counter()
        self._jobs: SimpleQueue[tuple[Webhook, Delivery]] = SimpleQueue()
        self._idle = 0
        self._finished: list[tuple[Delivery, Outcome]] = []
        self._has_changed = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="nateq-sandbox-sender", daemon=True)

    def restart(self, seed: int | None) -> None:
        """Begin the random numbers again."""
        self._jitter = random.Random(seed)  # noqa: S311 - spreading load, not a secret

    def start(self) -> None:
        """Start to send due deliveries."""
        self._thread.start()

    def stop(self) -> None:
        """Start no further attempts, and wait a moment for those being made, which are recorded."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def wake(self) -> None:
        """Look for due deliveries now."""
        with self._changed:
            self._has_changed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while not self._stopping:
            try:
                wait_seconds = self._take_turn()
            except Error as error:  # such as a full disk, which may be freed
                logger.error("The sandbox's database failed: %s. The sender tries again in %s s.", error, _MAX_WAIT)
                self._wait(lambda: False, _MAX_WAIT)
            else:
                self._wait(lambda: self._has_changed, wait_seconds)
        self._finish()

    def _finish(self) -> None:
        """Record what ends within a moment; the next process repeats the rest."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._finished) == self._active.total(), _GRACE_SECONDS)
        try:
            self._take_turn()
        except Error as error:
            logger.error("The last attempts could not be recorded: %s. They are repeated after the next start.", error)
        connection.close()

    def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._stopping, seconds)
            self._changed.wait_for(lambda: len(self._finished) == self._active.total(), _GATHER_SECONDS)
            self._has_changed = False

    def _take_turn(self) -> float:
        """Record the attempts that have ended and start as many due ones as may be made at a time.

        Returns the seconds until more are due. If the database fails, nothing is started, and what has ended is kept.
        """
        with self._changed:
            finished = list(self._finished)
            busy = self._active - Counter(delivery.webhook_id for delivery, _ in finished)
        wait_seconds = _MAX_WAIT
        started: list[tuple[Webhook, Delivery]] = []
        with transaction.atomic():
            deliveries.record(finished)
            for webhook in Webhook.objects.filter(is_active=True):
                free = self._threads - busy[webhook.public_id]
                if free <= 0 or self._stopping:
                    continue
                due, next_due_at = deliveries.claim(webhook, free)
                started += [(webhook, delivery) for delivery in due]
                if next_due_at is not None:
                    wait_seconds = min(wait_seconds, max(next_due_at - now(), 0.0))
        with self._changed:
            del self._finished[: len(finished)]
            self._active = busy + Counter(webhook.public_id for webhook, _ in started)
        for webhook, delivery in started:
            self._start(webhook, delivery)
        return wait_seconds

    def _start(self, webhook: Webhook, delivery: Delivery) -> None:
        self._jobs.put((webhook, delivery))
        with self._changed:
            self._idle -= 1
            if self._idle >= 0:
                return
            self._idle = 0
        threading.Thread(target=self._make_attempts, name="nateq-sandbox-attempts", daemon=True).start()

    def _make_attempts(self) -> None:
        while True:
            self._attempt(*self._jobs.get())

    def _attempt(self, webhook: Webhook, delivery: Delivery) -> None:
        outcome = self._post(webhook, delivery)
        logger.info(
            "Attempt %d at delivery %s (%s) to %s: %s (%s)",
            delivery.attempt,
            delivery.public_id,
            delivery.event,
            webhook.url,
            outcome.status,
            outcome.response_status or outcome.response_body,
        )
        with self._changed:
            self._finished.append((delivery, outcome))
            self._idle += 1
            self._has_changed = True
            self._changed.notify_all()

    def _post(self, webhook: Webhook, delivery: Delivery) -> Outcome:
        body = deliveries.body_of(delivery)
        signature = sign(body, webhook.secret)
        faults = tuple(map(Fault, delivery.faults))
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
