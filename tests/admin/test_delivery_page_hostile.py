"""Hostile deliveries: all of their content is shown as text, and the page stays small and quick."""

import json
import time
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Run, Webhook
from tests.admin.pages import HOSTILE, body_url, detail_url, payload_url, shown
from tests.conftest import Connect, Sender, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

MEBIBYTE = 1024 * 1024

STATEMENTS = 19
SIZE = 500_000
"""Characters of a page, whatever the delivery."""

SECONDS = 3.0
"""Far above what a page takes, and far below what one takes that grows with the payload."""


def at_most(body: bytes) -> bytes:
    """The body, which must be as large as is accepted."""
    assert MEBIBYTE // 2 < len(body) <= MEBIBYTE
    return body


def dumped(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def in_envelope(data: bytes) -> bytes:
    start, _, end = dumped(envelope(data="HERE")).partition(b'"HERE"')
    return start + data + end


LARGE: dict[str, bytes] = {
    "nesting that can be read": in_envelope(b"[" * 400 + b"1" * 600_000 + b"]" * 400),
    "nesting beyond reading": in_envelope(b"[" * 520_000 + b"]" * 520_000),
    "nesting of objects": b'{"a":' * 200_000,
    "nesting that never ends": b"[" * (MEBIBYTE - 1),
    "an array": in_envelope(b"[" + b"1," * 520_000 + b"1]"),
    "empty objects": in_envelope(b"[" + b"{}," * 340_000 + b"{}]"),
    "70,000 keys": dumped(envelope(data={f"{n:x}": n for n in range(70_000)})),
    "one key doubled 70,000 times": in_envelope(b"{" + b'"key":[[1]],' * 70_000 + b'"key":1}'),
    "names of 300 characters": dumped(envelope(data={f"{n}{'n' * 300}": "v" * 300 for n in range(1_600)})),
    "names in names": in_envelope(b'{"%s":' % (b"n" * 3000) * 300 + b"1" + b"}" * 300),
    "one name": dumped(envelope(data={"<n>" * 300_000: 1})),
    "one text of quotes and tags": dumped(envelope(data={"id": "tkt_1", "text": '"<&' * 250_000})),
    "quotes everywhere": dumped(envelope(data=[{'"' * 500 + str(n): '"' * 700 for n in range(100)} for _ in range(4)])),
    "one number": in_envelope(b"9" * (MEBIBYTE - 1000)),
    "texts of control characters": in_envelope(b"[" + b",".join([b'"' + b"\\u202e" * 170 + b'"'] * 1_000) + b"]"),
    "markup": dumped(envelope(data=[HOSTILE] * 11_000)),
    "no JSON": b"<b>" * 340_000,
    "no UTF-8": b"\xff" * MEBIBYTE,
    "control characters": "\u202e".encode() * 340_000,
}


@pytest.mark.parametrize("body", LARGE.values(), ids=LARGE)
def test_the_page_of_a_mebibyte_is_small_and_quick(boss: Client, sender: Sender, body: bytes) -> None:
    sender.post(at_most(body))
    delivery = Delivery.objects.get()
    shown(boss, detail_url(delivery))

    started = time.process_time()
    with CaptureQueriesContext(connection) as queries:
        page = shown(boss, detail_url(delivery))
    took = time.process_time() - started

    assert len(queries) <= STATEMENTS
    assert len(page) < SIZE
    assert took < SECONDS
    assert "<b>" not in page
    assert "\u202e" not in page
    assert "<script>alert" not in page
    assert boss.get(body_url(delivery)).content == body


@pytest.mark.parametrize("name", ["an array", "70,000 keys", "empty objects", "names in names", "markup"])
def test_each_further_page_of_a_mebibyte_is_small_and_quick(boss: Client, sender: Sender, name: str) -> None:
    sender.post(LARGE[name])
    url = payload_url(Delivery.objects.get())

    for query in ({"at": "3", "from": "0"}, {"find": "e"}, {"find": "not there"}, {"bytes": "500000"}):
        started = time.process_time()
        page = shown(boss, url, query)
        assert len(page) < SIZE, query
        assert time.process_time() - started < SECONDS, query


@pytest.mark.parametrize(
    "text", [HOSTILE, "javascript:alert(1)", '" onmouseover="alert(1)', "\ud800\x00\u2028", "'\"&<>"]
)
def test_hostile_text_is_escaped_everywhere(boss: Client, sender: Sender, connect: Connect, text: str) -> None:
    def fail_with_its_words(event: Any, **kwargs: Any) -> None:
        raise LookupError(event.data["id"])

    connect(signals.event_received, fail_with_its_words, "shop.hostile")
    data = {"id": text, text: [text, {text: text}], "conversation_id": text, "url": text}
    sender.post(envelope(text, delivery_id=text, organization_id=text, data=data))
    sender.post(
        envelope(text, delivery_id=f"{text}2", organization_id=text, data=data, timestamp="2027-01-01T00:00:00Z")
    )
    delivery = Delivery.objects.order_by("pk")[0]
    Run.objects.update(error=delivery.event, traceback=f"{delivery.event}\u202e")

    pages = [
        shown(boss, detail_url(delivery)),
        shown(boss, payload_url(delivery)),
        shown(boss, payload_url(delivery), {"at": "3.1"}),
        shown(boss, payload_url(delivery), {"find": text[:12].encode(errors="ignore")}),
        shown(boss, f"/admin/nateq_webhooks/run/{Run.objects.order_by('pk')[0].pk}/change/"),
        shown(boss, f"/admin/nateq_webhooks/delivery/{delivery.pk}/history/"),
        shown(boss, "/admin/nateq_webhooks/delivery/"),
        shown(boss, "/admin/nateq_webhooks/run/"),
    ]

    for page in pages:
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert ' onmouseover="alert' not in page
        assert 'href="javascript:' not in page
        assert not any(character in page for character in "\u202e\x00")


def test_the_names_that_people_choose_turn_no_text_around(boss: Client, sender: Sender, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "shop.hostile")
    webhook = sender.webhook
    sender.post(envelope())
    name = "nm\u202egpj\u2066"
    Webhook.objects.update(name=name)
    Run.objects.update(receiver=name)
    dispatch.pause(webhook=webhook, by=name, reason=name)
    run = Run.objects.get()
    of_webhook = [f"webhook/{webhook.pk}/{page}/" for page in ("history", "pause", "secret", "test")]
    of_run = [f"run/{run.pk}/{page}/" for page in ("change", "history")]

    for page in ("", "webhook/", "run/", "run/receivers/", *of_webhook, *of_run):
        text = shown(boss, f"/admin/nateq_webhooks/{page}")
        assert not any(character in text for character in "\u202e\u2066"), page

    boss.post("/admin/nateq_webhooks/run/resume/", {"hold": api.paused()[0].pk})
    assert LogEntry.objects.latest("pk").object_repr == "webhook:nm\\u202egpj\\u2066"
