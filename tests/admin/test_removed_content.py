"""A delivery whose content was removed: its page says so everywhere, and offers nothing that needs the content."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery, OtherContent, Run, Webhook
from tests.builders import build_delivery, insert, store_run
from tests.conftest import Connect

pytestmark = pytest.mark.django_db

AT = datetime(2026, 6, 30, 12, tzinfo=UTC)


@pytest.fixture
def removed(webhook: Webhook, connect: Connect) -> Delivery:
    connect(signals.ticket_created, lambda **kwargs: None, "shop.open")
    (delivery,) = insert(
        [
            build_delivery(
                webhook, body=b"", content_change="retention", content_changed_at=AT, notes=["content_differs"]
            )
        ]
    )
    store_run(delivery, "shop.open", status="dead")
    OtherContent.objects.create(delivery=delivery, content_hash="h", received_at=AT, size=9, body=b"")
    return delivery


def page(boss: Client, delivery: Delivery, name: str = "change", **query: Any) -> Any:
    return boss.get(reverse(f"admin:nateq_webhooks_delivery_{name}", args=[delivery.pk]), query, follow=True)


def test_the_page_says_when_and_why(boss: Client, removed: Delivery) -> None:
    text = page(boss, removed).content.decode()

    assert text.count("Payload removed by retention on") == 4  # summary, payload, other content, headers
    assert text.partition("Payload removed by retention on ")[2].startswith("2026-")
    assert "its payload was removed by retention" in text  # the answer about the signature
    for offered in ("Raw body", "Download the raw body", "Copy as", "Run all again", "Run the failed ones again"):
        assert offered not in text


@pytest.mark.parametrize(
    ("change", "sentence", "signature"),
    [
        ("erasure", "Erased on", "it can&#x27;t be checked: erased."),
        ("redaction", "Values were masked before it was stored", "values were masked before it was stored"),
    ],
)
def test_content_that_was_changed_in_part_is_shown(
    boss: Client, webhook: Webhook, change: str, sentence: str, signature: str
) -> None:
    (delivery,) = insert([build_delivery(webhook, body=b'{"left": 1}', content_change=change, content_changed_at=AT)])

    text = page(boss, delivery).content.decode()

    assert sentence in text
    assert signature in text
    assert "Raw body" in text


@pytest.mark.parametrize(("change", "is_complete"), [(None, True), ("erasure", False), ("redaction", False)])
def test_only_of_unchanged_content_the_page_says_that_it_is_stored_complete(
    boss: Client, webhook: Webhook, settings: Any, change: str | None, *, is_complete: bool
) -> None:
    settings.NATEQ_WEBHOOKS = {"REDACT": ["data.email"]}
    (delivery,) = insert([build_delivery(webhook, content_change=change, content_changed_at=change and AT)])

    text = page(boss, delivery).content.decode()

    assert "Values are masked here, as the setting REDACT says." in text
    assert ("What is stored is complete." in text) is is_complete


@pytest.mark.parametrize(("name", "query"), [("body", {}), ("payload", {"bytes": "0"}), ("payload", {"find": "x"})])
def test_pages_of_the_content_lead_back_and_say_so(
    boss: Client, removed: Delivery, name: str, query: dict[str, str]
) -> None:
    response = page(boss, removed, name, **query)

    assert response.redirect_chain[-1][0] == reverse("admin:nateq_webhooks_delivery_change", args=[removed.pk])
    assert [str(message)[:28] for message in response.context["messages"]] == ["Payload removed by retention"]


def test_the_page_of_a_replay_refuses_it_by_name(boss: Client, removed: Delivery) -> None:
    address = reverse("admin:nateq_webhooks_delivery_replay", args=[removed.pk])
    message = f"The payload of delivery {removed.pk} was removed by retention on 2026-06-30"

    assert message in boss.get(address, {"which": "all"}).content.decode()
    assert message in boss.post(address, {"which": "all"}).content.decode()
    assert Run.objects.count() == 1


def test_the_export_says_that_the_content_is_gone(boss: Client, removed: Delivery) -> None:
    response: Any = boss.post(reverse("admin:nateq_webhooks_delivery_export"), {"format": "jsonl", "everything": "yes"})

    row = json.loads(b"".join(response.streaming_content))
    assert (row["content_change"], row["body"]) == ("retention", "")
