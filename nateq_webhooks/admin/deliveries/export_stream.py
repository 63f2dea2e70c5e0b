"""The bytes of an export: read in batches while the client takes them, for no longer than a request may last."""

import json
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.utils.translation import gettext as _

from nateq_webhooks.admin.deliveries.csv_cells import csv_lines
from nateq_webhooks.admin.deliveries.selection import SelectedDeliveries
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.database.keyset.time_limit import TookTooLongError, limited
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.redaction import shown_body

BATCH_SIZE: Final = 100
"""Deliveries that are read at a time; each body may have a MiB."""

SPAN: Final = 50_000
"""Keys of deliveries that are looked through at a time, so that a filter that finds few reads no more at once."""

MAX_SECONDS: Final = 25.0
"""How long one export lasts at most: servers give a request about thirty seconds."""

GRACE: Final = 10.0
"""Seconds that a client then has left to take the rest of a row; after that the connection is cut."""

PIECE: Final = 64 * 1024
"""Bytes that are handed to the server at a time: a client that takes so many within a send's time limit is served."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """What is exported, and how."""

    selected: SelectedDeliveries
    columns: Sequence[str]
    first: int
    last: int
    "The range of keys, both ends included."
    is_csv: bool
    permitted: PermittedRows
    continue_url: Callable[[int], str]
    "The page that continues after a key; empty if no address can name what is left."


class Stream:
    """An iterator over the export's bytes, which ends after `MAX_SECONDS`. `ended` is called once, in any case."""

    def __init__(self, export: Export, ended: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._export = export
        self._clock = clock
        self._until = clock() + MAX_SECONDS
        self._pieces = self._read()
        # Also for a response that is dropped before its first byte.
        self._finalizer = weakref.finalize(self, ended)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._clock() > self._until + GRACE:
                raise TimeoutError("The client of an export takes too little, so the export was cut off.")
            return next(self._pieces)
        except BaseException:
            self._finalizer()
            raise

    def close(self) -> None:
        """End it: the client went away, or has everything."""
        self._finalizer()

    def _read(self) -> Iterator[bytes]:
        export = self._export
        if export.is_csv:
            yield csv_lines([export.columns])
        last_key = export.first - 1
        try:
            for rows, following in _batches(export):
                for row in rows:
                    if self._clock() >= self._until:
                        yield _ending(export, last_key)
                        return
                    yield from _cut(_written(row, export))
                    last_key = row["id"]
                last_key = following
                if self._clock() >= self._until and last_key < export.last:
                    yield _ending(export, last_key)
                    return
        except TookTooLongError:
            yield _ending(export, last_key)


class AsyncStream:
    """The same for ASGI: each piece is read in a thread, so that the event loop is free."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        def next_piece() -> bytes | None:
            return next(self._stream, None)

        try:
            while (piece := await sync_to_async(next_piece)()) is not None:
                yield piece
        finally:
            self._stream.close()

    def close(self) -> None:
        """End it."""
        self._stream.close()


def _batches(export: Export) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Yield rows in the order of their keys, each time with the last key that was looked at."""
    among = export.selected.among
    after, newest = export.first - 1, export.last
    while after < newest:
        with limited(among.rows.db):
            rows, after = _read_batch(export, after)
        yield rows, after


def _read_batch(export: Export, after: int) -> tuple[list[dict[str, Any]], int]:
    """Return the next rows after a key, and the last key that was looked at."""
    among, newest = export.selected.among, export.last
    following = Delivery.objects.using(among.rows.db).filter(pk__gt=after, pk__lte=newest).order_by("pk")
    first = following.values_list("pk", flat=True).first()  # skips keys without a delivery
    if first is None:
        return [], newest
    end = min(first - 1 + SPAN, newest)
    span = export.selected.selection.of(among.rows.filter(pk__gte=first, pk__lte=end))
    keys = list(span.order_by("pk").values_list("pk", flat=True)[:BATCH_SIZE])
    permitted = among.permitted(keys)
    return _rows(export, permitted) if permitted else [], keys[-1] if len(keys) == BATCH_SIZE else end


def _rows(export: Export, keys: Sequence[int]) -> list[dict[str, Any]]:
    """Read rows with their columns in order. A webhook that the project hides from the user is not named."""
    rows = export.selected.among.rows.filter(pk__in=keys).order_by("pk")
    needed = ["webhook__name" if column == "webhook" else column for column in export.columns]
    found = list(rows.values("webhook_id", *needed))
    shown = export.permitted.shown(Webhook, {values["webhook_id"] for values in found})
    return [_row(values, export.columns, is_named=values["webhook_id"] in shown) for values in found]


def _row(values: dict[str, Any], columns: Sequence[str], *, is_named: bool) -> dict[str, Any]:
    """Return a row as it is written: times in ISO 8601, the body as text with escapes for bytes that are not UTF-8."""
    known: dict[str, Any] = values | {"webhook": values["webhook__name"] if is_named else ""}
    row = {column: known[column] for column in columns}
    for name in ("timestamp", "received_at", "last_received_at"):
        if row[name] is not None:
            row[name] = row[name].isoformat()
    if "body" in row:
        row["body"] = shown_body(bytes(row["body"])).decode("utf-8", "backslashreplace")
    return row


def _written(row: dict[str, Any], export: Export) -> bytes:
    return csv_lines([[row[column] for column in export.columns]]) if export.is_csv else _json_line(row)


def _json_line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _cut(line: bytes) -> Iterator[bytes]:
    """Yield a line in pieces of at most `PIECE` bytes."""
    for start in range(0, len(line), PIECE):
        yield line[start : start + PIECE]


def _ending(export: Export, last: int) -> bytes:
    """Return the last line of an export that ran out of time, with the address that continues it."""
    url = export.continue_url(last)
    text = _("Not complete: the time of one download was over after delivery %(number)d.") % {"number": last}
    if export.is_csv:
        return csv_lines([[text, _("Continue: %(url)s") % {"url": url}] if url else [text]])
    return _json_line({"not_complete": text, "last_id": last, "continue": url})
