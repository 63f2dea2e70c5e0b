"""The diary of refused requests: noted in memory by the request, looked into and written by a thread.

The request that refuses costs an entry in a small buffer and no SQL. One daemon thread per process, started with the
first refusal after a quiet time, writes once a second and ends when there is nothing to write; what does not fit into
the buffer is only counted. Whatever happens to the thread or the database, the door does not notice.
"""

import atexit
import logging
import os
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
from nateq_webhooks.inbox import diagnosis
from nateq_webhooks.inbox.arrival import declared_size, header_names
from nateq_webhooks.inbox.configuration import Configuration, cache
from nateq_webhooks.inbox.diagnosis import Specimen
from nateq_webhooks.inbox.findings import Finding, hint
from nateq_webhooks.inbox.reasons import Reason, Refusal
from nateq_webhooks.models import Rejection, Webhook
from nateq_webhooks.models.blocks import is_private
from nateq_webhooks.protocol.signatures import Reason as Bad

logger: Final = logging.getLogger("nateq_webhooks")

WRITE_SECONDS: Final = 1.0
"""How long the thread waits before it writes, each time."""

MAX_NOTED: Final = 20
"""Refusals of one webhook and reason kept from one write to the next; a flood is the same row many times over."""

MAX_NOTED_IN_ALL: Final = 200
"""Refusals of one reason, of all webhooks. Each reason has a share of its own, so that a flood of one (an uptime
monitor's GETs, say) leaves room for the others; some ten reasons of 200 entries of 10 KB at most are 20 MB."""

MAX_SPECIMENS: Final = 24
"""Bodies held from one write to the next, one per webhook and reason: with 64 KiB each 1.5 MiB at most."""

DIAGNOSIS_SECONDS: Final = 0.5
"""How long bodies are looked into before a write; the rest get the plain reason."""

EXIT_SECONDS: Final = 1.0
"""How long the end of the process waits for the last write."""

_LOOKED_INTO: Final = frozenset(Bad) | {Refusal.OTHER_ORGANIZATION}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One refusal. Its repr shows nothing that came with the request but sizes and names."""

    reason: Reason
    received_at: datetime
    remote_addr: str | None
    size: int | None
    header_names: list[str]
    specimen: Specimen | None = field(repr=False)


@dataclass(slots=True)
class Page:
    """What is noted of one webhook until the next write, and how many refusals of each reason are not."""

    entries: list[Entry] = field(default_factory=list)
    dropped: Counter[Reason] = field(default_factory=Counter)

    def count(self, reason: Reason) -> int:
        """Return how many refusals of this reason are noted."""
        return sum(entry.reason is reason for entry in self.entries)


Pages = dict[uuid.UUID, Page]
"""Of one tenant, by webhook."""

AllPages = dict[tuple[str, uuid.UUID], Page]
"""By tenant and webhook."""


class Diary:
    """The process's buffer and the thread that writes it. Safe to use from many threads."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew with nothing noted: after a fork, what was noted and the thread are the parent's."""
        self._lock = threading.Lock()
        self._pages: AllPages = {}
        self._noted: Counter[Reason] = Counter()
        self._specimens = 0
        self._thread: threading.Thread | None = None
        self._end = threading.Event()

    def note(
        self,
        webhook: Configuration,
        reason: Reason,
        *,
        meta: Mapping[str, Any],
        remote_addr: str | None,
        body: bytes | None,
    ) -> None:
        """Note a refusal to be written soon; count it only when the buffer is full. No SQL, no waiting, no error."""
        with self._lock:
            tenant = tenants.current(router.db_for_write(Rejection))
            page = self._pages.setdefault((tenant, webhook.id), Page())
            if page.count(reason) >= MAX_NOTED or self._noted[reason] >= MAX_NOTED_IN_ALL:
                page.dropped[reason] += 1
                return
            now = datetime.now(UTC)
            page.entries.append(
                Entry(
                    reason=reason,
                    received_at=now,
                    remote_addr=remote_addr,
                    size=declared_size(meta) if body is None else len(body),
                    header_names=header_names(meta),
                    specimen=self._specimen(page, webhook, reason, now, meta, body),
                )
            )
            self._noted[reason] += 1
            self._start()

    def flush(self) -> None:
        """Write what is noted now, on this thread's connection: for tests, whose transaction no thread can see."""
        _write(self._take())

    def finish(self) -> None:
        """Have the thread write at once, and wait for it a moment: the process is about to end."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            self._end.set()
            thread.join(EXIT_SECONDS)

    def _specimen(
        self,
        page: Page,
        webhook: Configuration,
        reason: Reason,
        now: datetime,
        meta: Mapping[str, Any],
        body: bytes | None,
    ) -> Specimen | None:
        """Hold the request to be looked into, if it is the first of its kind since the last write and not too large."""
        if body is None or len(body) > diagnosis.MAX_BODY_BYTES or reason not in _LOOKED_INTO:
            return None
        if self._specimens >= MAX_SPECIMENS or any(entry.specimen for entry in page.entries if entry.reason is reason):
            return None
        self._specimens += 1
        headers = diagnosis.specimen_headers(meta, webhook.signature_meta_key)
        return Specimen(webhook=webhook, reason=reason, received_at=now, body=body, headers=headers)

    def _start(self) -> None:
        """Start the thread unless it runs, or could not see what this one sees."""
        if self._thread is not None and self._thread.is_alive():
            return
        if is_private(router.db_for_write(Rejection)):
            return
        thread = threading.Thread(
            target=self._write_while_noted, args=(_database(),), name="nateq_webhooks diary", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            logger.warning("The diary of refused requests can't be written: %s", error)
        else:
            self._thread = thread

    def _write_while_noted(self, database: object) -> None:
        while True:
            self._end.wait(WRITE_SECONDS)
            with self._lock:
                if database != _database():  # a test's database is gone, and the site's own in its place
                    self._pages, self._noted, self._specimens = {}, Counter(), 0
                if not any(page.entries for page in self._pages.values()):
                    self._thread = None
                    return
            self._write_once()

    def _write_once(self) -> None:
        taken = self._take()
        for tenant in sorted({tenant for tenant, _webhook in taken}):
            self._write_of({key: page for key, page in taken.items() if key[0] == tenant})

    def _write_of(self, pages: AllPages) -> None:
        try:
            try:
                _write(pages)
            finally:
                connections.close_all()  # this thread's own
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live on and the door not notice
            lost = sum(len(page.entries) + page.dropped.total() for page in pages.values())
            logger.warning("%s refused requests could not be written to the diary: %s", lost, type(error).__name__)
            self._count(pages)

    def _take(self) -> AllPages:
        """Take what is to be written; what could only be counted of a reason waits for its next entry."""
        with self._lock:
            taken = {key: page for key, page in self._pages.items() if page.entries}
            self._pages = {key: page for key, page in self._pages.items() if not page.entries}
            for key, page in taken.items():
                written = {entry.reason for entry in page.entries}
                if left := Counter({reason: page.dropped[reason] for reason in page.dropped if reason not in written}):
                    self._pages[key] = Page(dropped=left)
                    page.dropped -= left
            self._noted, self._specimens = Counter(), 0
        return taken

    def _count(self, pages: AllPages) -> None:
        """Count what could not be written: the next row that can says how many."""
        with self._lock:
            for key, lost in pages.items():
                dropped = self._pages.setdefault(key, Page()).dropped
                dropped.update(lost.dropped)
                dropped.update(entry.reason for entry in lost.entries)


def _database() -> object:
    """Return the name of the database that the diary is in."""
    return connections[router.db_for_write(Rejection)].settings_dict["NAME"]


def _write(pages: AllPages) -> None:
    """Look into the bodies held and write everything. Raises `django.db.Error` when the database can't take it."""
    for tenant in sorted({tenant for tenant, _webhook in pages}):
        with tenants.activate(tenant):
            _write_of_tenant({webhook: page for (its, webhook), page in pages.items() if its == tenant})


def _write_of_tenant(pages: Pages) -> None:
    findings = _diagnosed(pages)
    alias = router.db_for_write(Rejection)
    known = set(Webhook.objects.using(alias).filter(pk__in=pages).values_list("pk", flat=True))
    rows = [row for webhook, page in pages.items() if webhook in known for row in _rows(webhook, page, findings)]
    if rows:
        Rejection.objects.using(alias).record(rows)
    if dropped := sum(page.dropped.total() for page in pages.values()):
        logger.warning("%s more refused requests are only counted: the diary keeps %s a second.", dropped, MAX_NOTED)


Findings = dict[tuple[uuid.UUID, Reason], Finding]


def _diagnosed(pages: Pages) -> Findings:
    """Return what was found in the one body held of each webhook and reason, of as many as there is time for."""
    found: Findings = {}
    webhooks = cache.known()
    deadline = time.monotonic() + DIAGNOSIS_SECONDS
    for webhook, page in pages.items():
        for specimen in filter(None, (entry.specimen for entry in page.entries)):
            if time.monotonic() < deadline:
                found[webhook, specimen.reason] = diagnosis.diagnose(specimen, webhooks, deadline=deadline)
    return found


def _rows(webhook: uuid.UUID, page: Page, findings: Findings) -> list[Rejection]:
    """Return the rows of one webhook; the newest of each reason says how many more there were."""
    newest = {entry.reason: entry for entry in page.entries}
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
                page.dropped[entry.reason] if entry is newest[entry.reason] else 0,
            ),
        )
        for entry in page.entries
    ]


def _finding(webhook: uuid.UUID, entry: Entry, findings: Findings) -> Finding | None:
    found = findings.get((webhook, entry.reason)) if entry.specimen else None
    return found or diagnosis.plain_finding(entry.reason)


book: Final = Diary()
"""The process's diary."""

atexit.register(book.finish)
if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=book.forget)
