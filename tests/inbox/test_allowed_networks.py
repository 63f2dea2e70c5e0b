"""The allow-list of networks: a request from elsewhere is refused before anything of it is read."""

import json
import logging
from typing import Any
from unittest.mock import patch

import pytest
from django.test import Client
from pytest_django import Settings

from nateq_webhooks import inbox, signals
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.models import Delivery, Rejection, Webhook
from nateq_webhooks.testing import deliver
from tests.conftest import Sender, envelope

pytestmark = pytest.mark.django_db

NATEQS = "192.0.2.7"
UNKNOWN = "/nateq/00000000-0000-0000-0000-000000000000/"
MANGLED = "/nateq/0b1c2d3e-4f5a-6b7c-8d9e-0a1b2c/"


@pytest.fixture(autouse=True)
def allow_list(settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = {"ALLOWED_NETWORKS": ["192.0.2.0/24", "2001:db8::/32"]}


def trust_a_proxy(settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = settings.NATEQ_WEBHOOKS | {"TRUSTED_PROXIES": 1}


def hint() -> dict[str, Any]:
    """Return the only rejection's hint."""
    recorder.flush()
    [rejection] = Rejection.objects.all()
    assert rejection.reason == "address"
    found: dict[str, Any] = json.loads(rejection.hint)
    return found


@pytest.mark.parametrize("address", [NATEQS, f"::ffff:{NATEQS}", "2001:db8::1"])
def test_a_delivery_from_an_allowed_address_is_stored(sender: Sender, address: str) -> None:
    assert sender.post(envelope(), REMOTE_ADDR=address).status_code == 200
    assert Delivery.objects.get().remote_addr == address


@pytest.mark.parametrize("address", ["192.0.3.7", "::1", "::ffff:192.0.3.7"])
def test_a_signed_delivery_from_elsewhere_is_refused_with_its_address(sender: Sender, address: str) -> None:
    response = sender.post(envelope(), REMOTE_ADDR=address)

    assert (response.status_code, response.json()) == (403, {"error": "address not allowed"})
    assert not Delivery.objects.exists()
    assert hint() == {"code": "address", "details": {"address": address}}


def test_neither_the_body_is_read_nor_the_signature_verified(sender: Sender) -> None:
    with patch.object(inbox, "read_request") as read, patch.object(inbox, "verify") as verified:
        assert sender.post(envelope(), REMOTE_ADDR="::1").status_code == 403

    assert not read.called
    assert not verified.called


def test_it_is_logged_and_announced_like_other_refusals(sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    announced: list[dict[str, Any]] = []

    def note(**kwargs: Any) -> None:
        announced.append(kwargs)

    signals.delivery_rejected.connect(note)
    with caplog.at_level(logging.WARNING, "nateq_webhooks"):
        sender.post(envelope(), REMOTE_ADDR="::1")

    assert [(each["reason"], each["remote_addr"]) for each in announced] == [("address", "::1")]
    assert 'NATEQ_WEBHOOKS["ALLOWED_NETWORKS"]' in caplog.text


def test_the_address_is_the_one_that_the_trusted_proxy_saw(sender: Sender, settings: Settings) -> None:
    trust_a_proxy(settings)

    forged = sender.post(envelope(), REMOTE_ADDR=NATEQS, HTTP_X_FORWARDED_FOR=f"{NATEQS}, 198.51.100.9")
    genuine = sender.post(envelope(), REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=f"198.51.100.9, {NATEQS}")
    with_port = sender.post(envelope(), REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=f"{NATEQS}:51234")

    assert [forged.status_code, genuine.status_code, with_port.status_code] == [403, 200, 200]


@pytest.mark.parametrize("forwarded", ["unknown", "192.0.2", "_hidden", "192.0.2.7;192.0.2.7", "é", "-", "x" * 500])
def test_a_malformed_forwarded_address_is_refused_with_its_text(
    sender: Sender, settings: Settings, forwarded: str
) -> None:
    trust_a_proxy(settings)

    assert sender.post(envelope(), REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=forwarded).status_code == 403
    assert hint() == {"code": "unreadable_address", "details": {"address": forwarded[:64]}}


@pytest.mark.parametrize("forwarded", ["", ",", " "])
def test_an_empty_forwarded_address_means_the_proxys(sender: Sender, settings: Settings, forwarded: str) -> None:
    trust_a_proxy(settings)

    assert sender.post(envelope(), REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=forwarded).status_code == 403
    assert hint()["details"]["address"] == "10.0.0.1"


def test_a_unix_socket_has_no_address(sender: Sender, settings: Settings) -> None:
    assert sender.post(envelope(), REMOTE_ADDR="").status_code == 403
    assert hint() == {"code": "no_address", "details": {}}

    trust_a_proxy(settings)
    assert sender.post(envelope(), REMOTE_ADDR="", HTTP_X_FORWARDED_FOR=NATEQS).status_code == 200


def test_the_page_says_which_address_it_was_and_suspects_a_proxy(sender: Sender, boss: Client) -> None:
    sender.post(envelope(), REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=NATEQS)
    assert hint()["details"] == {"address": "10.0.0.1", "forwarded": 1, "proxies": 0}

    page = boss.get(f"/admin/nateq_webhooks/rejection/{Rejection.objects.get().pk}/change/").content.decode()

    assert "It came from" in page
    assert "10.0.0.1" in page
    assert "set TRUSTED_PROXIES to the number of proxies" in page


def test_other_methods_and_unknown_urls_say_nothing_to_other_addresses(webhook: Webhook, client: Client) -> None:
    inactive = Webhook.objects.create(name="off", is_active=False)

    answers = [
        client.get(f"/nateq/{webhook.pk}/"),
        client.post(f"/nateq/{inactive.pk}/"),
        client.get(UNKNOWN),
        client.post(UNKNOWN),
        client.get(MANGLED),
        client.post(MANGLED),
    ]

    recorder.flush()
    assert {(each.status_code, each.content) for each in answers} == {(403, b'{"error": "address not allowed"}')}
    assert sorted(Rejection.objects.values_list("webhook__name", "reason"), key=str) == sorted(
        [("shop", "address"), ("off", "address"), (None, "address"), (None, "address")], key=str
    )


def test_with_an_allowed_address_they_are_answered_as_ever(webhook: Webhook, client: Client) -> None:
    def status(path: str) -> int:
        return client.post(path, REMOTE_ADDR=NATEQS).status_code

    assert client.get(f"/nateq/{webhook.pk}/", REMOTE_ADDR=NATEQS).status_code == 405
    assert [
        status("/nateq/00000000-0000-0000-0000-000000000000/"),
        status("/nateq/0b1c2d3e-4f5a-6b7c-8d9e-0a1b2c/"),
    ] == [404, 404]


def test_the_dashboard_links_to_requests_of_no_webhook(client: Client, boss: Client) -> None:
    client.post(MANGLED)
    recorder.flush()

    assert "/admin/nateq_webhooks/rejection/?reason=address" in boss.get("/admin/nateq_webhooks/").content.decode()


def test_a_refusal_costs_no_statement(sender: Sender, django_assert_num_queries: Any) -> None:
    sender.post(envelope(), REMOTE_ADDR=NATEQS)

    with django_assert_num_queries(0):
        sender.post(envelope(), REMOTE_ADDR="::1")


def test_a_test_event_of_the_admin_comes_over_no_network(webhook: Webhook, boss: Client) -> None:
    url = f"/admin/nateq_webhooks/webhook/{webhook.pk}/test/"
    payload = boss.get(url).context["form"].initial["payload"]

    boss.post(url, {"payload": payload})

    assert Delivery.objects.exists()


@pytest.mark.parametrize("through_http", [False, True])
def test_deliver_sends_from_an_allowed_address(webhook: Webhook, *, through_http: bool) -> None:
    assert deliver("ticket.created", webhook=webhook, through_http=through_http).remote_addr == "192.0.2.0"


def test_without_a_list_every_address_is_allowed(settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = {}

    assert inbox.is_address_allowed({})
