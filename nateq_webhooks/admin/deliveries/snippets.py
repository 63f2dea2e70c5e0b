"""A delivery to copy: as a curl command, and as a test that delivers it to the receivers."""

import contextlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.urls import NoReverseMatch
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from nateq_webhooks.admin.deliveries.signature_check import signature_header
from nateq_webhooks.conf import settings
from nateq_webhooks.errors import SecretError
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.signing_keys import signing_key

MAX_INLINE_BYTES: Final = 16 * 1024
"""A larger body is not written into what is copied, but read from the downloaded file."""

PIECE_CHARS: Final = 90
"""Characters of the body in a line of the test."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snippet:
    """Text to copy, and what its reader must know before using it."""

    text: str
    notes: Sequence[str]
    is_signed: bool = False


def file_name(delivery: Delivery) -> str:
    """Return the name under which the bytes are downloaded."""
    return f"delivery-{delivery.pk}.txt"


@sensitive_variables()
def as_curl(delivery: Delivery, site: str, *, is_signed: bool) -> Snippet | None:
    """Return the command that sends the stored bytes again; None if no URL leads to the webhook.

    `site` is the address of this site as the reader sees it, used if `PUBLIC_URL` is not set. With `is_signed` it has a
    signature, made with the webhook's current secret, if that is usable: record it before it is shown.
    """
    webhook = Webhook.objects.get(pk=delivery.webhook_id)
    try:
        url = webhook.public_url or site + webhook.get_absolute_url()
    except NoReverseMatch:
        return None
    notes = [
        _("This delivery is stored already: sending it counts one more attempt and runs nothing. To run it, replay it.")
    ]
    notes += _masked_note()
    signature = _signature(delivery, webhook) if is_signed else None
    if signature is None:
        notes.append(_("It is not signed, so it is refused. Signing needs the permission to see signing secrets."))
    body = (
        f"--data-raw {shlex.quote(delivery.body.decode())}"
        if _is_inlinable(delivery.body)
        else _data_from_file(delivery, notes)
    )
    headers = ["Content-Type: application/json"]
    if signature is not None:
        headers.append(f"{signature_header(webhook.signature_header)}: {signature}")
    parts = [f"curl {shlex.quote(url)}", *(f"--header {shlex.quote(header)}" for header in headers), body]
    return Snippet(text=" \\\n  ".join(parts), notes=notes, is_signed=signature is not None)


def as_test(delivery: Delivery, receivers: Sequence[str]) -> Snippet:
    """Return a pytest function that delivers the stored bytes to the receivers of the reader's own project.

    `receivers` are the names of those that must have succeeded. Any other receiver must not have failed.
    """
    notes = [_("Needs pytest-django. It runs in your own test database, whatever the setting DISPATCH says.")]
    notes += _masked_note()
    is_small = len(delivery.body) <= MAX_INLINE_BYTES
    if not is_small:
        notes.append(_download_note(delivery))
    code = _TEST.format(
        path="" if is_small else "from pathlib import Path\n\n",
        body=_python_literal(delivery.body)
        if is_small
        else f"Path(__file__).with_name({file_name(delivery)!r}).read_bytes()",
        name=re.sub(r"\W+", "_", delivery.event, flags=re.ASCII).strip("_")[:60].lower() or "delivery",
        pk=delivery.pk,
        checks=_INVALID if delivery.status == Delivery.Status.INVALID else _RUNS.format(receivers=_names(receivers)),
    )
    return Snippet(text=code, notes=notes)


_TEST: Final = """\
{path}import pytest

from nateq_webhooks.testing import deliver

BODY = {body}


@pytest.mark.django_db
def test_{name}_of_delivery_{pk}():
    delivery = deliver(BODY)
{checks}"""

_RUNS: Final = """
    runs = {{run.receiver: run for run in delivery.runs.all()}}
    assert not [run.traceback or run.error for run in runs.values() if run.status != "succeeded"]
    assert set(runs) >= {receivers}
"""

_INVALID: Final = """
    assert delivery.status == "invalid"
"""


def _names(receivers: Sequence[str]) -> str:
    names = sorted(set(receivers))
    return f"{{{', '.join(map(repr, names))}}}" if names else "set()"


def _python_literal(body: bytes) -> str:
    """Return a Python expression for the bytes: readable text if they are UTF-8, in lines that fit a screen."""
    whole: str | bytes = body
    with contextlib.suppress(UnicodeDecodeError):
        whole = body.decode()
    ending = ".encode()" if isinstance(whole, str) else ""
    pieces = [whole[start : start + PIECE_CHARS] for start in range(0, len(whole), PIECE_CHARS)] or [whole]
    return "(\n" + "".join(f"    {piece!r}\n" for piece in pieces) + f"){ending}"


def _signature(delivery: Delivery, webhook: Webhook) -> str | None:
    try:
        return signing_key(webhook.secret).sign(delivery.body)
    except SecretError:
        return None


def _masked_note() -> list[str]:
    if not settings().redaction:
        return []
    return [_("Values are masked in it, as the setting REDACT says: receivers would get the masked ones.")]


def _is_inlinable(body: bytes) -> bool:
    """Return whether the bytes fit a command line and a person can read all of them."""
    if len(body) > MAX_INLINE_BYTES:
        return False
    try:
        return all(line.isprintable() for line in body.decode().split("\n"))
    except UnicodeDecodeError:
        return False


def _data_from_file(delivery: Delivery, notes: list[str]) -> str:
    notes.append(_download_note(delivery))
    return f"--data-binary @{file_name(delivery)}"


def _download_note(delivery: Delivery) -> str:
    return _("Download the bytes first, as %(name)s, into the same folder.") % {"name": file_name(delivery)}
