"""A delivery to take away: as a curl command, and as a test that feeds it to the receivers."""

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
from nateq_webhooks.protocol.signatures import SigningKey

MAX_INLINE_BYTES: Final = 16 * 1024
"""A larger body is not written into what is copied, but read from the downloaded file."""

PIECE_CHARS: Final = 90
"""Characters of the body in a line of the test."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """Text to copy, and what is to be known before it is used."""

    text: str
    notes: Sequence[str]


def file_name(delivery: Delivery) -> str:
    """Return the name under which the bytes are downloaded."""
    return f"delivery-{delivery.pk}.txt"


@sensitive_variables()
def as_curl(delivery: Delivery, site: str, *, is_signed: bool) -> Copy | None:
    """Return the command that sends the stored bytes once more; None when no URL leads to the webhook.

    `site` is the address of this site as the reader sees it, used where `PUBLIC_URL` is not set. The signature is
    made anew with the webhook's current secret, and only for those who may have it: `is_signed`.
    """
    webhook = Webhook.objects.get(pk=delivery.webhook_id)
    try:
        url = webhook.public_url or site + webhook.get_absolute_url()
    except NoReverseMatch:
        return None
    notes = [_("The door knows this delivery's id: it counts one more attempt and runs nothing. To run it, replay it.")]
    signature = _signature(delivery, webhook) if is_signed else None
    if signature is None:
        notes.append(_unsigned(is_signed=is_signed))
    body = f"--data-raw {shlex.quote(delivery.body.decode())}" if _is_plain(delivery.body) else _file(delivery, notes)
    headers = ["Content-Type: application/json"]
    if signature is not None:
        headers.append(f"{signature_header(webhook.signature_header)}: {signature}")
    parts = [f"curl {shlex.quote(url)}", *(f"--header {shlex.quote(header)}" for header in headers), body]
    return Copy(text=" \\\n  ".join(parts), notes=notes)


def as_test(delivery: Delivery, receivers: Sequence[str]) -> Copy:
    """Return a pytest function that stores the delivery like the door does and runs its receivers.

    `receivers` are the names that must have succeeded in the end; every other one must not have failed.
    """
    notes = [_("Needs pytest-django. It runs in your own test database, whatever the setting DISPATCH says.")]
    is_small = len(delivery.body) <= MAX_INLINE_BYTES
    if not is_small:
        notes.append(_beside(delivery))
    body = _literal(delivery.body) if is_small else f"Path(__file__).with_name({file_name(delivery)!r}).read_bytes()"
    is_readable = delivery.status != Delivery.Status.INVALID
    code = _TEST.format(
        path="" if is_small else "from pathlib import Path\n\n",
        body=body,
        name=re.sub(r"\W+", "_", delivery.event, flags=re.ASCII).strip("_")[:60].lower() or "delivery",
        pk=delivery.pk,
        checks=_CHECKS.format(receivers=_names(receivers)) if is_readable else _UNREADABLE,
        run=", Run" if is_readable else "",
        dispatch="dispatch, " if is_readable else "",
    )
    return Copy(text=code, notes=notes)


_TEST: Final = """\
{path}import pytest

from nateq_webhooks import {dispatch}inbox
from nateq_webhooks.conf import meta_key, settings
from nateq_webhooks.models import Webhook{run}
from nateq_webhooks.protocol.signatures import sign

BODY = {body}


@pytest.mark.django_db
def test_{name}_of_delivery_{pk}():
    webhook = Webhook.objects.create(name="a copied delivery")
    signature = sign(BODY, webhook.secret, encoding=settings().secret_encoding)
    meta = {{meta_key(settings().signature_header): signature}}
    configuration = inbox.find(webhook.pk)

    verified = inbox.verify(configuration, inbox.Arrival(body=BODY, meta=meta, remote_addr=None))
    receipt = inbox.store(verified)
{checks}"""

_CHECKS: Final = """\
    dispatch.run_delivery(receipt.pk)

    runs = {{run.receiver: run for run in Run.objects.filter(delivery_id=receipt.pk)}}
    assert not [run.traceback or run.error for run in runs.values() if run.status != Run.Status.SUCCEEDED]
    assert set(runs) >= {receivers}
"""

_UNREADABLE: Final = """
    assert not receipt.is_readable
"""


def _names(receivers: Sequence[str]) -> str:
    names = sorted(set(receivers))
    return f"{{{', '.join(map(repr, names))}}}" if names else "set()"


def _literal(body: bytes) -> str:
    """Return Python's own writing of the bytes: as readable text where they are UTF-8, in lines that fit a screen."""
    whole: str | bytes = body
    with contextlib.suppress(UnicodeDecodeError):
        whole = body.decode()
    ending = ".encode()" if isinstance(whole, str) else ""
    pieces = [whole[start : start + PIECE_CHARS] for start in range(0, len(whole), PIECE_CHARS)] or [whole]
    return "(\n" + "".join(f"    {piece!r}\n" for piece in pieces) + f"){ending}"


def _signature(delivery: Delivery, webhook: Webhook) -> str | None:
    try:
        return SigningKey.of(webhook.secret, settings().secret_encoding).sign(delivery.body)
    except SecretError:
        return None


def _unsigned(*, is_signed: bool) -> str:
    if is_signed:
        return _("It is not signed, as the webhook has no usable secret, so the door refuses it.")
    return _("It is not signed, so the door refuses it. Signing needs the permission to see signing secrets.")


def _is_plain(body: bytes) -> bool:
    """Say whether a shell takes the bytes as they are, and a person can see what is pasted."""
    if len(body) > MAX_INLINE_BYTES:
        return False
    try:
        return all(line.isprintable() for line in body.decode().split("\n"))
    except UnicodeDecodeError:
        return False


def _file(delivery: Delivery, notes: list[str]) -> str:
    notes.append(_beside(delivery))
    return f"--data-binary @{file_name(delivery)}"


def _beside(delivery: Delivery) -> str:
    return _("Download the bytes first, as %(name)s, into the same folder.") % {"name": file_name(delivery)}
