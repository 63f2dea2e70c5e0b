"""Runs in the admin: read only, found by receiver, status and delivery."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from nateq_webhooks.admin import formatting
from nateq_webhooks.models import Delivery, Run
from tests.admin.pages import shown as page
from tests.conftest import Sender, envelope

pytestmark = pytest.mark.django_db

LIST = "/admin/nateq_webhooks/run/"


def run_url(run: Run) -> str:
    return reverse("admin:nateq_webhooks_run_change", args=[run.pk])


def receivers_listed(client: Client, query: str) -> list[str]:
    response = client.get(f"{LIST}?{query}")
    assert response.status_code == 200
    return sorted(run.receiver for run in response.context["cl"].result_list)


@pytest.mark.usefixtures("receivers")
def test_runs_are_found_by_status_receiver_delivery_and_its_id(boss: Client, sender: Sender) -> None:
    sender.post(envelope())
    sender.post(envelope("ticket.created", delivery_id=7))
    first = Delivery.objects.get(delivery_id="dlv_1")

    assert receivers_listed(boss, "status__exact=failed") == ["shop.fail"] * 2
    assert receivers_listed(boss, "receiver=shop.succeed") == ["shop.succeed"] * 2
    assert receivers_listed(boss, f"delivery__id__exact={first.pk}") == ["shop.fail", "shop.succeed"]
    assert receivers_listed(boss, "q=7") == ["shop.fail", "shop.succeed"]
    assert receivers_listed(boss, "q=dlv") == []
    assert len(receivers_listed(boss, "q=+")) == 4
    assert boss.get(f"{LIST}?error__contains=a").status_code == 400
    assert "?receiver=shop.fail" in page(boss, LIST)


@pytest.mark.usefixtures("receivers")
def test_the_page_shows_the_traceback_and_leads_to_the_delivery(boss: Client, sender: Sender) -> None:
    sender.post(envelope())
    failed, succeeded = Run.objects.get(receiver="shop.fail"), Run.objects.get(receiver="shop.succeed")

    with CaptureQueriesContext(connection) as queries:
        shown = page(boss, run_url(failed))

    assert "LookupError: no such &lt;customer&gt;" in shown
    assert "Traceback (most recent call last)" in shown
    assert reverse("admin:nateq_webhooks_delivery_change", args=[failed.delivery_id]) in shown
    assert not any('"body"' in query["sql"] for query in queries)
    assert "Traceback (most" not in page(boss, run_url(succeeded))


@pytest.mark.parametrize(
    ("took", "shown"),
    [
        (timedelta(microseconds=400), "< 1 ms"),
        (timedelta(0), "0 ms"),
        (timedelta(milliseconds=12), "12 ms"),
        (timedelta(seconds=2.345), "2.3 s"),
        (None, None),
    ],
)
def test_a_duration_is_shown_in_a_unit_that_fits(took: timedelta | None, shown: str | None) -> None:
    assert formatting.duration(took) == shown
