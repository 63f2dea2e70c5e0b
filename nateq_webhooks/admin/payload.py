"""A delivery's content as a person reads it: pretty JSON, or the body's text when there is none, up to a limit."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nateq_webhooks.admin import cells
from nateq_webhooks.models import Delivery

MAX_SHOWN_CHARS: Final = 100 * 1024
"""Characters shown of a payload; the rest is in the download. More makes a phone's browser stutter."""

_ENCODER: Final = json.JSONEncoder(indent=2, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Payload:
    """Text to show, and whether it was cut."""

    text: str
    is_cut: bool


def readable(delivery: Delivery) -> Payload:
    """Return what the delivery brought, for the eye. Never more work than the limit asks for, however large it is."""
    shown, size = [], 0
    for part in _parts(delivery):
        shown.append(part)
        size += len(part)
        if size > MAX_SHOWN_CHARS:
            break
    return Payload(text=cells.visible("".join(shown)[:MAX_SHOWN_CHARS]), is_cut=size > MAX_SHOWN_CHARS)


def _parts(delivery: Delivery) -> Iterator[str]:
    """Yield the payload's JSON bit by bit; the body's own text when no JSON column could hold it, or it is none."""
    if delivery.payload is not None:
        yield from _ENCODER.iterencode(delivery.payload)
        return
    # One character takes at most four bytes; one more byte says whether something is left.
    yield delivery.body[: 4 * MAX_SHOWN_CHARS + 1].decode(errors="replace")
