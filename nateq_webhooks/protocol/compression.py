"""Bodies that something on the way compressed or decompressed, turned back."""

import zlib
from collections.abc import Iterator
from typing import Final

MAX_INFLATED_BYTES: Final = 1024 * 1024
"""Nothing is inflated to more than this: 64 KiB can hold 64 MiB of zeros."""

CLOCK_SECONDS: Final = 10
"""How old the time in a gzip header may be: the sender wrote it shortly before it sent."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


def inflated(body: bytes) -> Iterator[bytes]:
    """Yield what a gzip, zlib or raw deflate body holds, if that is whole and not too large."""
    for window in (_GZIP, _ZLIB, _RAW):
        machine = zlib.decompressobj(window)
        try:
            plain = machine.decompress(body, MAX_INFLATED_BYTES)
        except zlib.error:
            continue
        if machine.eof and not machine.unused_data:
            yield plain


def deflated(body: bytes, seconds: int) -> Iterator[bytes]:
    """Yield the body as a sender may have compressed it about `seconds` (Unix time), with the usual levels."""
    for level in (6, 9, 1):
        yield zlib.compress(body, level)
        packed = zlib.compress(body, level, wbits=_GZIP)
        for moment in (0, *range(max(seconds - CLOCK_SECONDS, 0), seconds + 2)):
            yield from _with_header(packed, moment)


def _with_header(packed: bytes, moment: int) -> Iterator[bytes]:
    """Yield the gzip file with each usual header: the level's flag and the operating system differ by library."""
    time_field = (moment % 2**32).to_bytes(4, "little")
    for flags in (0, 2, 4):
        for system in (255, 3):
            yield packed[:4] + time_field + bytes([flags, system]) + packed[10:]
