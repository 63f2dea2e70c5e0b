"""A received signature is shown whole only to those who may see signing secrets, wherever headers leave the site."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.test import Client, override_settings
from pytest_django import Settings

from nateq_webhooks.inbox.shown_headers import shown_headers
from nateq_webhooks.models import ApiKey, Delivery
from nateq_webhooks.protocol.signatures import sign
from tests.admin.pages import detail_url
from tests.admin.test_fuzz import routes
from tests.conftest import SECRET, Sender, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

MANY = (
    "view_delivery",
    "view_payload",
    "view_webhook",
    "view_run",
    "export_delivery",
    "replay_delivery",
    "erase_delivery",
)


@pytest.fixture
def delivery(sender: Sender) -> Delivery:
    sender.post(envelope())
    return Delivery.objects.get()


def staff(*codenames: str) -> Client:
    user = User.objects.create_user(" ".join(codenames)[:150], is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def signature_of(delivery: Delivery) -> str:
    signature = sign(bytes(delivery.body), SECRET)
    assert signature in delivery.headers["X-Nateq-Signature"]
    return signature


@pytest.mark.parametrize("is_whole", [False, True])
def test_the_page_of_a_delivery_shows_its_beginning(delivery: Delivery, *, is_whole: bool) -> None:
    signature = signature_of(delivery)
    client = staff("view_delivery", "view_payload", *(["reveal_secret"] if is_whole else []))

    page = client.get(detail_url(delivery)).content.decode()

    assert (signature in page) is is_whole
    assert signature[:6] in page
    assert ("…</bdi>" in page.partition('id="nateq-headers"')[2].partition("</table>")[0]) is not is_whole


def test_no_page_download_or_export_has_the_whole_one(delivery: Delivery) -> None:
    signature = signature_of(delivery)
    client = staff(*MANY)
    seen = 0

    for route in sorted(set(routes())):
        address = route.replace("<path:object_id>", str(delivery.pk)).replace("<int:pk>", str(delivery.pk))
        for answer in (client.get(address), client.post(address, {"deliveries": str(delivery.pk), "format": "jsonl"})):
            body = b"".join(answer) if answer.streaming else answer.content
            assert signature.encode() not in body, route
            seen += answer.status_code == 200
    assert seen > 10


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (["deliveries:read"], None),
        (["deliveries:read", "payloads:read"], False),
        (["deliveries:read", "payloads:read", "webhooks:manage"], True),
    ],
)
def test_the_api_shows_its_beginning(delivery: Delivery, key: list[str], shown: bool | None) -> None:
    signature = signature_of(delivery)
    cache.clear()
    row = ApiKey(name="support", scopes=key)
    secret = row.issue()
    row.save()

    with override_settings(ROOT_URLCONF="tests.api.urls"):
        answer = Client(headers={"Authorization": f"Bearer {secret}"}).get(f"/api/v1/deliveries/{delivery.pk}").json()

    value = answer["data"]["headers"]["X-Nateq-Signature"]
    assert (value is None) is (shown is None)
    if shown is not None:
        assert (value == signature) is shown
        assert value.startswith(signature[:12])


def test_a_staff_user_of_the_api_needs_the_permission(delivery: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.contrib.admin.sites.all_sites", {admin.site})
    signature = signature_of(delivery)

    with override_settings(ROOT_URLCONF="tests.api.urls"):
        for more, is_whole in ([], False), (["reveal_secret"], True):
            answer = staff("view_delivery", "view_payload", *more).get(f"/api/v1/deliveries/{delivery.pk}")
            assert (signature in answer.content.decode()) is is_whole


def test_a_header_that_was_renamed_or_is_named_twice_is_cut_too(settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = {"READABLE_HEADERS": ["X-Former", "X-Trace"]}
    signature = sign(b"{}", SECRET)
    stored = {
        "X-Shop-Signature": f"sha256={signature}",
        "X-Former": f"{'0' * 64}, {signature}",
        "X-Nateq-Signature": signature,
        "X-Trace": "abc",
        "X-Request-Id": "00-4bf92f35",
        "Authorization": "Bearer x",
    }

    def found(**may: bool) -> dict[str, Any]:
        return {each.name: each.value for each in shown_headers(stored, "X-Shop-Signature", **({"values": True} | may))}

    cut = found(signatures=False)
    assert not any(signature in str(value) for value in cut.values())
    assert cut["X-Shop-Signature"] == f"sha256={signature[:5]}…"
    assert (cut["X-Trace"], cut["X-Request-Id"], cut["Authorization"]) == ("abc", "00-4bf92f35", "[redacted]")
    whole = found(signatures=True)
    assert whole["X-Shop-Signature"] == stored["X-Shop-Signature"]
    assert whole["X-Nateq-Signature"] == "[redacted]"
    assert set(found(values=False, signatures=True).values()) == {None}


@pytest.mark.parametrize("value", ["", "a", "abcd", "é" * 40])
def test_at_most_half_of_a_value_is_shown(value: str) -> None:
    [header] = shown_headers({"X-Nateq-Signature": value}, "X-Nateq-Signature", values=True, signatures=False)

    assert header.value is not None
    assert len(header.value) <= max(1, len(value) // 2 + 1)
