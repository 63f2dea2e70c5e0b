"""The rejection recorder: a request adds its refusal to a buffer; a thread diagnoses and stores it.

Refusing a request costs an entry in a small buffer and no SQL. One daemon thread per process, started by the first
refusal after a pause, writes once a second and ends when the buffer is empty; refusals that do not fit into the buffer
are only counted. A failure of the thread or of the database never affects a request.
"""

import atexit
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connections, router

from nateq_webhooks import tenants
from nateq_webhooks.database.transactions import is_private
from nateq_webhooks.inbox import diagnosis
from nateq_webhooks.inbox.configuration import Configuration, cache
from nateq_webhooks.inbox.diagnosis import Finding, Sample, hint
from nateq_webhooks.inbox.request import Reason, Refusal, declared_size, header_names
from nateq_webhooks.models import Rejection, Webhook
from nateq_webhooks.protocol.signatures import Reason as SignatureReason
from nateq_webhooks.threads import DaemonThread

logger: Final = logging.getLogger("nateq_webhooks")

WRITE_SECONDS: Final = 1.0
"""How long the thread waits before each write."""

MAX_BUFFERED: Final = 20
"""Refusals of one webhook and reason buffered between two writes; in a flood all of them are alike."""

MAX_BUFFERED_IN_ALL: Final = 200
"""Refusals of one reason, of all webhooks. The limit is per reason, so that a flood of one (GETs of an uptime monitor,
for example) does not displace the others. Ten reasons of 200 entries of 10 KB are 20 MB at most."""

MAX_SAMPLES: Final = 24
"""Bodies held between two writes, one per webhook and reason: with 64 KiB each, 1.5 MiB at most."""

DIAGNOSIS_SECONDS: Final = 0.5
"""How long bodies are diagnosed before a write; the other refusals are stored with their reason alone."""

EXIT_SECONDS: Final = 1.0
"""How long the process waits for the last write when it ends."""

_DIAGNOSED: Final = frozenset(SignatureReason) | {Refusal.OTHER_ORGANIZATION}


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferedRejection:
    """One refusal. Its repr shows only sizes and names of the request."""

    reason: Reason
    received_at: datetime
    remote_addr: str | None
    size: int | None
    header_names: list[str]
    finding: Finding | None
    "The cause, if the request shows it without its body."
    sample: Sample | None = field(repr=False)


@dataclass(slots=True)
class WebhookBuffer:
    """The refusals of one webhook since the last write, and how many of each reason were only counted."""

    entries: list[BufferedRejection] = field(default_factory=list)
    only_counted: Counter[Reason] = field(default_factory=Counter)

    def count(self, reason: Reason) -> int:
        """Return how many refusals of this reason are buffered."""
        return sum(entry.reason is reason for entry in self.entries)


TenantBuffers = dict[uuid.UUID | None, WebhookBuffer]
"""The buffers of one tenant, by webhook; None: requests to an id that no webhook has."""

Buffers = dict[tuple[str, uuid.UUID | None], WebhookBuffer]
"""By tenant and webhook."""


class RejectionRecorder:
    """The process's buffer and the thread that stores it. Thread-safe."""

    def __init__(self) -> None:
        self._thread = DaemonThread(
            self._write_until_empty, name="nateq_webhooks rejection recorder", after_fork=self.forget
        )
        self.forget()

    def forget(self) -> None:
        """Start again with an empty buffer: after a fork, the buffered refusals are the parent's."""
        self._lock = threading.Lock()
        self._buffers: Buffers = {}
        self._buffered: Counter[Reason] = Counter()
        self._samples = 0
        self._database: object = None

    def record(
        self,
        webhook: Configuration | None,
        reason: Reason,
        *,
        meta: Mapping[str, Any],
        remote_addr: str | None,
        body: bytes | None,
        finding: Finding | None = None,
    ) -> None:
        """Buffer a refusal; only count it if the buffer is full. Neither queries nor waits nor raises.

        `webhook` is None if no webhook has the id in the URL. `finding` is the cause, if it is known already.
        """
        with self._lock:
            tenant = tenants.current(router.db_for_write(Rejection))
            buffer = self._buffers.setdefault((tenant, webhook.id if webhook else None), WebhookBuffer())
            if buffer.count(reason) >= MAX_BUFFERED or self._buffered[reason] >= MAX_BUFFERED_IN_ALL:
                buffer.only_counted[reason] += 1
                return
            now = datetime.now(UTC)
            buffer.entries.append(
                BufferedRejection(
                    reason=reason,
                    received_at=now,
                    remote_addr=remote_addr,
                    size=declared_size(meta) if body is None else len(body),
                    header_names=header_names(meta),
                    finding=finding,
                    sample=self._sample(buffer, webhook, reason, now, meta, body),
                )
            )
            self._buffered[reason] += 1
            self._start()

    def flush(self) -> None:
        """Store the buffer now, on this thread's connection: for tests, whose transaction no other thread sees."""
        _write(self._take())

    def finish(self) -> None:
        """Let the thread write now, and wait up to `EXIT_SECONDS` for it: the process is ending."""
        self._thread.stop(EXIT_SECONDS)

    def _sample(
        self,
        buffer: WebhookBuffer,
        webhook: Configuration | None,
        reason: Reason,
        now: datetime,
        meta: Mapping[str, Any],
        body: bytes | None,
    ) -> Sample | None:
        """Hold the request for diagnosis if it is the first of its kind since the last write and not too large."""
        if webhook is None or body is None or len(body) > diagnosis.MAX_BODY_BYTES or reason not in _DIAGNOSED:
            return None
        if self._samples >= MAX_SAMPLES or any(entry.sample for entry in buffer.entries if entry.reason is reason):
            return None
        self._samples += 1
        headers = diagnosis.sample_headers(meta, webhook.signature_meta_key)
        return Sample(webhook=webhook, reason=reason, received_at=now, body=body, headers=headers)

    def _start(self) -> None:
        """Start the thread unless it runs, or other threads would not see the same rows."""
        if self._thread.is_alive or is_private(router.db_for_write(Rejection)):
            return
        self._database = _database()
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            logger.warning("Refused requests could not be recorded: %s", error)

    def _write_until_empty(self, stop: threading.Event) -> None:
        while True:
            stop.wait(WRITE_SECONDS)
            with self._lock:
                if self._database != _database():  # a test's database was replaced by the site's own
                    self._buffers, self._buffered, self._samples = {}, Counter(), 0
                if not any(buffer.entries for buffer in self._buffers.values()):
                    self._thread.release()
                    return
            self._write_once()

    def _write_once(self) -> None:
        taken = self._take()
        for tenant in sorted({tenant for tenant, _webhook in taken}):
            self._write_of({key: buffer for key, buffer in taken.items() if key[0] == tenant})

    def _write_of(self, buffers: Buffers) -> None:
        try:
            try:
                _write(buffers)
            finally:
                connections.close_all()  # this thread's own
        except Exception as error:  # noqa: BLE001 - the thread must go on after any error
            lost = sum(len(buffer.entries) + buffer.only_counted.total() for buffer in buffers.values())
            logger.warning("%s refused requests could not be recorded: %s", lost, type(error).__name__)
            self._only_count(buffers)

    def _take(self) -> Buffers:
        """Take the entries to store; a count without an entry of its reason stays until there is one."""
        with self._lock:
            taken = {key: buffer for key, buffer in self._buffers.items() if buffer.entries}
            self._buffers = {key: buffer for key, buffer in self._buffers.items() if not buffer.entries}
            for key, buffer in taken.items():
                written = {entry.reason for entry in buffer.entries}
                left = Counter(
                    {reason: count for reason, count in buffer.only_counted.items() if reason not in written}
                )
                if left:
                    self._buffers[key] = WebhookBuffer(only_counted=left)
                    buffer.only_counted -= left
            self._buffered, self._samples = Counter(), 0
        return taken

    def _only_count(self, buffers: Buffers) -> None:
        """Count the refusals that could not be stored; the next stored row has their number."""
        with self._lock:
            for key, lost in buffers.items():
                counted = self._buffers.setdefault(key, WebhookBuffer()).only_counted
                counted.update(lost.only_counted)
                counted.update(entry.reason for entry in lost.entries)


def _database() -> object:
    """Return the name of the database that holds the rejections."""
    return connections[router.db_for_write(Rejection)].settings_dict["NAME"]


def _write(buffers: Buffers) -> None:
    """Diagnose the samples and store all entries. Raises `django.db.Error` if the database can't store them."""
    for tenant in sorted({tenant for tenant, _webhook in buffers}):
        with tenants.activate(tenant):
            _write_of_tenant({webhook: buffer for (its, webhook), buffer in buffers.items() if its == tenant})


def _write_of_tenant(buffers: TenantBuffers) -> None:
    findings = _diagnosed(buffers)
    alias = router.db_for_write(Rejection)
    ids = {webhook for webhook in buffers if webhook is not None}
    known = {None, *(Webhook.objects.using(alias).filter(pk__in=ids).values_list("pk", flat=True) if ids else ())}
    rows = [row for webhook, buffer in buffers.items() if webhook in known for row in _rows(webhook, buffer, findings)]
    if rows:
        Rejection.objects.using(alias).record(rows)
    if dropped := sum(buffer.only_counted.total() for buffer in buffers.values()):
        logger.warning(
            "%s more refused requests were only counted: at most %s per second, webhook and reason are recorded.",
            dropped,
            MAX_BUFFERED,
        )


Findings = dict[tuple[uuid.UUID | None, Reason], Finding]


def _diagnosed(buffers: TenantBuffers) -> Findings:
    """Diagnose the sample of each webhook and reason until the time is over."""
    found: Findings = {}
    webhooks = cache.known()
    deadline = time.monotonic() + DIAGNOSIS_SECONDS
    for webhook, buffer in buffers.items():
        for sample in filter(None, (entry.sample for entry in buffer.entries)):
            if time.monotonic() < deadline:
                found[webhook, sample.reason] = diagnosis.diagnose(sample, webhooks, deadline=deadline)
    return found


def _rows(webhook: uuid.UUID | None, buffer: WebhookBuffer, findings: Findings) -> list[Rejection]:
    """Return the rows of one webhook; the newest of each reason has the number of those only counted."""
    newest = {entry.reason: entry for entry in buffer.entries}
    return [
        Rejection(
            webhook_id=webhook,
            reason=entry.reason.value,
            received_at=entry.received_at,
            remote_addr=entry.remote_addr,
            size=entry.size,
            header_names=entry.header_names,
            hint=hint(
                _finding(webhook, entry, findings),
                buffer.only_counted[entry.reason] if entry is newest[entry.reason] else 0,
            ),
        )
        for entry in buffer.entries
    ]


def _finding(webhook: uuid.UUID | None, entry: BufferedRejection, findings: Findings) -> Finding | None:
    found = findings.get((webhook, entry.reason)) if entry.sample else None
    return found or entry.finding or diagnosis.plain_finding(entry.reason)


recorder: Final = RejectionRecorder()
"""The process's recorder."""

atexit.register(recorder.finish)
