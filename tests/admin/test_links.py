"""A page links only to pages that the user may open."""

import re
from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery, Rejection, Replay, Run
from tests.admin.pages import fail, shown
from tests.builders import store_rejection
from tests.conftest import Connect, Sender, envelope

pytestmark = pytest.mark.django_db

HINT = '{"code": "altered_body", "details": {"how": ["line_ends"], "header": "X-Signature"}, "dropped": 2}'
ROOT = "/admin/nateq_webhooks/"
PERMISSIONS = ["view_delivery", "view_run", "view_webhook", "view_rejection", "view_replay", "change_webhook"]


@pytest.fixture
def _rows(sender: Sender, connect: Connect) -> None:
    connect(signals.ticket_created, fail, "shop.fail")
    sender.post(envelope())
    sender.post(envelope("ticket.updated", delivery_id="dlv_2", timestamp="2026-07-01T00:00:00Z"))
    store_rejection(sender.webhook, header_names=["Host"], hint=HINT)
    Replay.objects.create(finished_at=timezone.now())


def addresses() -> Iterator[str]:
    """The app's index, each list, and a row's page of each."""
    yield ROOT
    for model in (Delivery, Run, Rejection, Replay):
        yield f"{ROOT}{model._meta.model_name}/"
        yield f"{ROOT}{model._meta.model_name}/{model.objects.order_by('pk')[0].pk}/change/"
    webhook = Delivery.objects.order_by("pk")[0].webhook_id
    yield from (f"{ROOT}webhook/", f"{ROOT}webhook/{webhook}/change/", f"{ROOT}webhook/{webhook}/pause/")


@pytest.mark.usefixtures("_rows")
@pytest.mark.parametrize("permission", PERMISSIONS)
def test_every_link_on_a_page_can_be_followed(staff: Callable[..., Client], permission: str) -> None:
    client = staff(permission)
    pages = [response for address in addresses() if (response := client.get(address)).status_code == 200]

    found = {link for page in pages for link in re.findall(rf'href="({ROOT}[^"]*)"', page.content.decode())}

    assert len(pages) >= 2
    assert {link: client.get(link.replace("&amp;", "&")).status_code for link in found} == dict.fromkeys(found, 200)


@pytest.mark.usefixtures("_rows")
def test_a_row_that_the_user_may_not_open_is_named_without_a_link(staff: Callable[..., Client]) -> None:
    runs = staff("view_run").get(f"{ROOT}run/").content.decode()
    refused = staff("view_rejection").get(f"{ROOT}rejection/").content.decode()

    assert '<bdi class="nateq-text">ticket.created dlv_1</bdi>' in runs
    assert '<bdi class="nateq-text">shop</bdi>' in refused


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
