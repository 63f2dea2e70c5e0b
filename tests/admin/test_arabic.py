"""The admin in Arabic: every page runs from right to left, and no English is left on it."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from nateq_webhooks import dispatch
from nateq_webhooks.admin.diagnosis_text import FORMS
from nateq_webhooks.inbox.diagnosis import Cause
from nateq_webhooks.models import Delivery, Rejection, Run, Webhook
from nateq_webhooks.protocol.alterations import Alteration
from nateq_webhooks.protocol.envelope import Note
from tests import builders

VOID = {"br", "col", "hr", "img", "input", "link", "meta", "path", "rect", "source", "wbr"}

OWN_LANGUAGE = {"bdi", "code", "kbd", "pre", "script", "style", "textarea", "time"}
"What stands in these is code, or was chosen by a person or a program."

NAMES = {"Boss", "CSV", "GET", "JSON", "Nateq", "POST", "boss", "curl", "p50", "p95", "shop", "UTC", "ValueError"}

DJANGOS = {"- Select an option -", "Run"}
"What Django 6.1 itself says in English."

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


class Words(HTMLParser):
    """Collects what a page says in words of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if not self._is_skipped:
            self.said += [given[name] or "" for name in ("title", "aria-label", "placeholder") if name in given]
            self.said += [given["value"] or ""] if tag == "input" and given.get("type") == "submit" else []
        if tag not in VOID:
            self._open.append((tag, tag in OWN_LANGUAGE or (tag != "html" and given.get("dir") == "ltr")))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not self._is_skipped:
            self.said.append(data)

    @property
    def _is_skipped(self) -> bool:
        return any(skipped for _tag, skipped in self._open)


def english(page: str) -> Iterator[str]:
    """Yield what is English: a text without any Arabic that has a word in it, or two English words on end."""
    words = Words()
    words.feed(page)
    for text in words.said:
        tokens = text.split()
        foreign = [token.strip(".,:;()[]?!").isalpha() and token.isascii() for token in tokens]
        known = [token.strip(".,:;()[]?!") in NAMES for token in tokens]
        alone = text.isascii() and any(is_word and not name for is_word, name in zip(foreign, known, strict=True))
        pairs = zip(foreign, foreign[1:], known, known[1:], strict=False)
        if " ".join(tokens) in DJANGOS or re.match(r"\s*\d{4}-\d\d-\d\d ", text):  # a moment with its time zone
            continue
        if alone or any(a and b and not (c or d) for a, b, c, d in pairs):
            yield " ".join(tokens)


@pytest.fixture(autouse=True)
def arabic(settings: Any) -> None:
    settings.LANGUAGE_CODE = "ar"


@pytest.fixture
def troubled(webhook: Webhook) -> Webhook:
    """A webhook of which everything was seen: each status, note, refusal, a replay and a pause."""
    statuses = [*Delivery.Status]
    stored = builders.insert(
        builders.build_delivery(webhook, builders.ago(minutes=9), status, notes=[*Note]) for status in statuses
    )
    Run.objects.bulk_create(builders.build_run(stored[0], status, receiver=f"shop.{status}") for status in Run.Status)
    dispatch.replay([stored[0].pk], by="boss", reason="")
    dispatch.pause(webhook=webhook, by="boss", reason="")
    hints: list[dict[str, object]] = [{"code": cause} for cause in Cause]
    hints += [{"code": Cause.SECRET_FORM, "details": {"form": form}} for form in FORMS]
    hints += [{"code": Cause.ALTERED_BODY, "details": {"how": [*Alteration]}}]
    hints += [{"code": Cause.UNKNOWN_SECRET, "details": {"similar": ["X-Other"]}, "dropped": 3}]
    Rejection.objects.bulk_create(
        Rejection(webhook=webhook, reason="no_match", received_at=timezone.now(), hint=json.dumps(hint))
        for hint in hints
    )
    return webhook


def test_the_pages_of_deliveries_and_runs(boss: Client, troubled: Webhook) -> None:
    delivery = Delivery.objects.order_by("pk")[0]
    replay = delivery.runs.exclude(round=0).values_list("round", flat=True)[:1]
    assert_arabic(
        boss,
        "delivery/",
        "delivery/?q=dlv_1",
        *(f"delivery/{pk}/change/" for pk in Delivery.objects.values_list("pk", flat=True)),
        f"delivery/{delivery.pk}/history/",
        f"delivery/{delivery.pk}/payload/?q=nothing",
        f"delivery/{delivery.pk}/replay/?which=all",
        "delivery/replay-many/?status=dead",
        "delivery/export/?status=dead",
        "run/",
        *(f"run/{pk}/change/" for pk in delivery.runs.values_list("pk", flat=True)),
        "replay/",
        *(f"replay/{pk}/change/" for pk in replay),
    )


def test_the_pages_of_webhooks(boss: Client, troubled: Webhook) -> None:
    pages = ("change", "history", "test", "secret", "pause")
    assert_arabic(boss, "", "webhook/", "webhook/add/", *(f"webhook/{troubled.pk}/{page}/" for page in pages))


def test_the_pages_of_rejections(boss: Client, troubled: Webhook) -> None:
    refused = Rejection.objects.values_list("pk", flat=True)
    assert_arabic(boss, "rejection/", *(f"rejection/{pk}/change/" for pk in refused))


def test_english_is_found(boss: Client, troubled: Webhook, settings: Any) -> None:
    settings.LANGUAGE_CODE = "en"

    assert len(list(english(boss.get("/admin/nateq_webhooks/delivery/").content.decode()))) > 20


def assert_arabic(client: Client, *paths: str) -> None:
    for path in paths:
        answer = client.get(f"/admin/nateq_webhooks/{path}")
        page = answer.content.decode()
        assert answer.status_code == 200, path
        assert 'dir="rtl"' in page, path
        assert list(english(page)) == [], path
