"""Staff without `view_payload` see that a delivery was received and what ran, but no text of a customer."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery, Run
from tests.admin.pages import body_url, detail_url, payload_url, shown
from tests.conftest import Connect, Sender, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

WRITTEN = ("sara@example.com", "my broken phone", "from the header", "cnv_private")
"""What the customer wrote, and what else only the payload or a header tells."""


@pytest.fixture
def delivery(sender: Sender, connect: Connect) -> Delivery:
    """A delivery whose content is in its payload, a header, an error, a traceback and a neighbour."""

    def fail(event: Any, **kwargs: Any) -> None:
        raise LookupError(f"{event.data['subject']} of {event.data['email']}")

    connect(signals.ticket_created, fail, "shop.fail")
    data = {"id": "tkt_1", "subject": "my broken phone", "email": "sara@example.com", "conversation_id": "cnv_private"}
    sender.post(envelope(data=data), headers={"X-Request-Id": "from the header"})
    sender.post(envelope("ticket.updated", delivery_id="dlv_2", data=data, timestamp="2026-07-01T00:00:00Z"))
    sender.post(envelope("conversation.started", delivery_id="dlv_3", data={"id": "cnv_private"}))
    return Delivery.objects.get(delivery_id="dlv_1")


def run_url(run: Run) -> str:
    return reverse("admin:nateq_webhooks_run_change", args=[run.pk])


def test_a_user_with_view_payload_sees_the_texts_of_customers(staff: Callable[..., Client], delivery: Delivery) -> None:
    page = shown(staff("view_delivery", "view_payload"), detail_url(delivery))

    for written in (*WRITTEN, "Traceback (most recent call last)"):
        assert written in page


def test_the_page_hides_the_texts_of_customers(staff: Callable[..., Client], delivery: Delivery) -> None:
    viewer = staff("view_delivery", "view_run", "view_webhook", "replay_delivery", "export_delivery")

    with CaptureQueriesContext(connection) as queries:
        page = shown(viewer, detail_url(delivery))

    for written in (*WRITTEN, "Traceback", "LookupError"):
        assert written not in page
    assert not any(f'"{column}"' in query["sql"] for query in queries for column in ("traceback", "error", "payload"))
    assert "What customers wrote is hidden here" in page


def test_the_page_shows_what_was_received_and_what_ran(staff: Callable[..., Client], delivery: Delivery) -> None:
    page = shown(staff("view_delivery"), detail_url(delivery))

    received = ("ticket.created", "dlv_1", "tkt_1", "org_1", "X-Request-Id", "ticket.updated dlv_2")
    for text in (
        *received,
        "shop.fail",
        "1 try",
        "Yes: the stored bytes verify again.",
        "Superseded by this newer event",
    ):
        assert text in page


def test_every_address_of_the_payload_is_refused(staff: Callable[..., Client], delivery: Delivery) -> None:
    viewer = staff("view_delivery", "view_run", "reveal_secret")

    assert viewer.get(body_url(delivery)).status_code == 403
    for query in ({}, {"find": "sara"}, {"bytes": "0"}, {"at": "3"}, {"at": "3", "part": ""}):
        assert viewer.get(payload_url(delivery), query).status_code == 403
    assert staff("view_payload").get(body_url(delivery)).status_code == 403
    assert Client().get(body_url(delivery)).status_code == 302


def test_the_page_of_a_run_hides_its_error_and_traceback(staff: Callable[..., Client], delivery: Delivery) -> None:
    run = Run.objects.get(delivery=delivery)

    hidden = shown(staff("view_run"), run_url(run))
    seen = shown(staff("view_run", "view_payload"), run_url(run))

    for written in (*WRITTEN, "Traceback (most", "LookupError"):
        assert written not in hidden
    assert "Hidden, because they may contain what customers wrote." in hidden
    assert "LookupError: my broken phone of sara@example.com" in seen
    assert "Traceback (most" in seen


def test_a_user_with_view_delivery_only_gets_no_links_to_other_pages(
    staff: Callable[..., Client], delivery: Delivery
) -> None:
    page = shown(staff("view_delivery"), detail_url(delivery))

    assert "/admin/nateq_webhooks/webhook/" not in page
    assert "/admin/nateq_webhooks/run/" not in page
    assert f"{delivery.pk}/body/" not in page
    assert f"{delivery.pk}/payload/" not in page
