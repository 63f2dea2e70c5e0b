"""The list of the audit log: read-only, filtered, searched, with links to what still exists."""

import re
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from nateq_webhooks.audit import Action, Source, acting, record
from nateq_webhooks.models import AuditEntry, Webhook
from tests.builders import store_deliveries

pytestmark = pytest.mark.django_db

LIST = reverse("admin:nateq_webhooks_auditentry_changelist")


def listed(client: Client, query: str = "") -> str:
    response = client.get(LIST + query)
    assert response.status_code == 200, response
    return response.content.decode().replace("<wbr>", "")


@pytest.fixture
def recorded(webhook: Webhook) -> None:
    with acting(Source.ADMIN, "mona"):
        record(Action.PAUSED, target="receiver:shop.crm")
        record(Action.SECRET_CHANGED, target=webhook.name, details={"added": 1, "deleted": 0})
    with acting(Source.API, "API key <ci>"):
        record(Action.REPLAYED, target="replay 9", details={"runs": 500, "receivers": ["shop.crm"], "cancelled": True})


def test_the_list_says_who_did_what(boss: Client, recorded: None) -> None:
    page = listed(boss)

    for text in ("mona", "Paused", "receiver:shop.crm", "API key &lt;ci&gt;", "runs=500", "Secret changed"):
        assert text in page


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?action__exact=paused", {"paused"}),
        ("?source=api", {"replayed"}),
        ("?at__gte=-1h", {"paused", "secret_changed", "replayed"}),
        ("?q=MONA", {"paused", "secret_changed"}),
        ("?q=replay+9", {"replayed"}),
        ("?q=nobody", set()),
        ("?q=mona&action__exact=paused", {"paused"}),
    ],
)
def test_filters_and_the_search(boss: Client, recorded: None, query: str, shown: set[str]) -> None:
    response = boss.get(LIST + query)

    assert response.status_code == 200
    assert {entry.action for entry in response.context["cl"].result_list} == shown


def test_a_search_without_a_hit_says_so(boss: Client, recorded: None) -> None:
    assert "Nothing contains this text." in listed(boss, "?q=nobody")


def test_what_still_exists_is_a_link(boss: Client, webhook: Webhook, recorded: None) -> None:
    [delivery] = store_deliveries(webhook)
    record(Action.PAYLOAD_DOWNLOADED, target=f"delivery {delivery.pk}")

    page = listed(boss)

    assert reverse("admin:nateq_webhooks_webhook_change", args=[webhook.pk]) in page
    assert reverse("admin:nateq_webhooks_delivery_change", args=[delivery.pk]) in page
    assert "/replay/9/" not in page


def test_a_user_without_other_permissions_gets_no_links(
    staff: Callable[..., Client], webhook: Webhook, recorded: None
) -> None:
    page = listed(staff("view_auditentry"))

    assert "receiver:shop.crm" in page
    assert f"/webhook/{webhook.pk}/" not in page


def test_nothing_can_be_changed_added_or_deleted(boss: Client, staff: Callable[..., Client], recorded: None) -> None:
    entry = AuditEntry.objects.latest("pk")
    change = reverse("admin:nateq_webhooks_auditentry_change", args=[entry.pk])
    page = boss.get(change).content.decode()
    assert "shop.crm" in page
    assert "cancelled: yes" in page

    assert boss.post(change, {"actor": "nobody"}).status_code == 403
    assert (
        boss.post(reverse("admin:nateq_webhooks_auditentry_delete", args=[entry.pk]), {"post": "yes"}).status_code
        == 403
    )
    assert boss.get(reverse("admin:nateq_webhooks_auditentry_add")).status_code == 403
    assert staff("view_webhook", "view_delivery", "view_run").get(LIST).status_code == 403
    assert AuditEntry.objects.count() == 3


def test_a_long_list_takes_as_many_statements_as_a_short_one(boss: Client, webhook: Webhook, recorded: None) -> None:
    listed(boss)
    with CaptureQueriesContext(connection) as few:
        listed(boss)
    for number in range(120):
        record(Action.REPLAYED, target=f"replay {number}")
    with CaptureQueriesContext(connection) as many:
        listed(boss)

    assert len(many) <= len(few) + 2


def test_a_second_page_has_the_older_entries(boss: Client) -> None:
    for number in range(60):
        record(Action.REPLAYED, target=f"replay {number}")

    page = listed(boss)
    assert "60 entries" in page
    [following] = set(re.findall(r'href="(\?cursor=[^"]+)" rel="next"', page))
    assert "replay 3<" in listed(boss, following)
