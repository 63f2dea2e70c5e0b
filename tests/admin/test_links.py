"""A page links only to pages that the user may open."""

import re
from collections.abc import Callable, Iterator
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.models import AuditEntry, Delivery, Rejection, Replay, Run, Webhook
from tests.admin.pages import fail, raw, shown
from tests.builders import store_deliveries, store_rejection
from tests.conftest import Connect, Sender, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

HINT = '{"code": "altered_body", "details": {"how": ["line_ends"], "header": "X-Signature"}, "dropped": 2}'
ROOT = "/admin/nateq_webhooks/"
PERMISSIONS = [
    "view_delivery",
    "view_run",
    "view_webhook",
    "view_rejection",
    "view_replay",
    "view_auditentry",
    "change_webhook",
]


@pytest.fixture
def _rows(sender: Sender, connect: Connect) -> None:
    connect(signals.ticket_created, fail, "shop.fail")
    sender.post(envelope())
    sender.post(envelope("ticket.updated", delivery_id="dlv_2", timestamp="2026-07-01T00:00:00Z"))
    store_rejection(sender.webhook, header_names=["Host"], hint=HINT)
    store_rejection(None, "unknown_url")
    dispatch.pause(receiver="shop.fail")
    Replay.objects.create(finished_at=timezone.now())


def addresses() -> Iterator[str]:
    """The app's index, each list, and a row's page of each."""
    yield ROOT
    for model in (Delivery, Run, Rejection, Replay, AuditEntry):
        yield f"{ROOT}{model._meta.model_name}/"
        yield f"{ROOT}{model._meta.model_name}/{model.objects.order_by('pk')[0].pk}/change/"
    webhook = Delivery.objects.order_by("pk")[0].webhook_id
    yield from (f"{ROOT}webhook/", f"{ROOT}webhook/{webhook}/change/", f"{ROOT}webhook/{webhook}/pause/")
    yield from (f"{ROOT}run/receivers/", f"{ROOT}run/receiver/?name=shop.fail")


def links_of(address: str, page: str) -> set[str]:
    """Return the addresses that a page links to, those of its filters, too."""
    path = address.partition("?")[0]
    found = [unescape(link) for link in re.findall(r'href="([^"#]+)"', page)]
    return {f"{path}{link}" if link.startswith("?") else link for link in found if link.startswith(("?", ROOT))}


@pytest.mark.usefixtures("_rows")
@pytest.mark.parametrize("permission", PERMISSIONS)
def test_every_link_on_a_page_can_be_followed(staff: Callable[..., Client], permission: str) -> None:
    client = staff(permission)
    answers = {address: client.get(address) for address in addresses()}
    pages = {address: answer.content.decode() for address, answer in answers.items() if answer.status_code == 200}

    found = {link for address, page in pages.items() for link in links_of(address, page)}

    assert len(pages) >= 2
    followed = {link: client.get(link, follow=True).status_code for link in found}
    assert followed == dict.fromkeys(found, 200)


@pytest.mark.usefixtures("_rows")
def test_every_link_that_a_superuser_sees_can_be_followed(boss: Client) -> None:
    found = {link for address in addresses() for link in links_of(address, raw(boss, address))}

    followed = {link: boss.get(link, follow=True).status_code for link in found}

    assert len(found) > 50
    assert followed == dict.fromkeys(found, 200)


@pytest.mark.usefixtures("_rows")
def test_a_row_that_the_user_may_not_open_is_named_without_a_link(staff: Callable[..., Client]) -> None:
    runs = shown(staff("view_run"), f"{ROOT}run/")
    refused = shown(staff("view_rejection"), f"{ROOT}rejection/")

    assert '<bdi class="nateq-text">ticket.created dlv_1</bdi>' in runs
    assert '<bdi class="nateq-text">shop</bdi>' in refused


@pytest.mark.usefixtures("_rows")
def test_names_break_after_a_dot_and_an_underscore_without_a_further_character(boss: Client, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "shop.open_ticket")
    webhook = Webhook.objects.create(name="eu_west.shop")
    Run.objects.create(
        delivery=store_deliveries(webhook)[0], receiver="shop.open_ticket", status="dead", error="KeyError: 1"
    )
    broken = {"shop.<wbr>open_<wbr>ticket": ["", "run/", "run/receivers/"], "eu_<wbr>west.<wbr>shop": [""]}

    for name, pages in broken.items():
        for page in pages:
            assert f">{name}</bdi>" in raw(boss, f"{ROOT}{page}"), page


@pytest.mark.usefixtures("_rows")
def test_no_page_has_an_inline_script_or_style(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nateq_webhooks.admin.DeliveryAdmin.list_per_page", 1)
    payload = f"{ROOT}delivery/{Delivery.objects.order_by('pk')[0].pk}/payload/"
    lists = [f"{ROOT}delivery/?_facets=True&cursor=last", f"{ROOT}delivery/?q=data.id=1"]

    for address in [*addresses(), *lists, *(f"{payload}?{query}" for query in ("at=3", "find=1", "bytes=0"))]:
        page = shown(boss, address)
        assert not re.search(r"<[^>]*\s(style|on\w+)=", page), address
        assert "<style" not in page, address
        assert not re.search(r"<script(?![^>]*\b(src=|type=\"application/json\"))", page), address
    assert "nateq_webhooks/delivery.css" in page
    assert "nateq_webhooks/delivery.js" in page
