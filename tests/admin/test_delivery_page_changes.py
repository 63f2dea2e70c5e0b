"""What changed since the previous delivery of the same resource."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from nateq_webhooks.admin.deliveries import changes as module
from nateq_webhooks.admin.deliveries.changes import Change, compare
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol.verbatim import load_verbatim
from tests.admin.listing import LIST
from tests.builders import store_deliveries

pytestmark = [pytest.mark.django_db, pytest.mark.pages]


def store_version(webhook: Webhook, data: Any, *, minutes: int, **over: Any) -> Delivery:
    body = json.dumps({"event": "ticket.updated", "data": data, "metadata": {"delivery_id": str(minutes)}}).encode()
    moment = timezone.now() + timedelta(minutes=minutes)
    return store_deliveries(webhook, body=body, timestamp=moment, **over)[0]


def changes_of(client: Client, delivery: Delivery) -> Any:
    return client.get(f"{LIST}{delivery.pk}/change/").context["page"].content.changes


def compared(former: Any, latter: Any) -> list[Change]:
    return list(compare(*(load_verbatim(json.dumps(each).encode()) for each in (former, latter))))


def test_the_page_shows_what_changed_since_the_delivery_before_it(boss: Client, webhook: Webhook) -> None:
    first = store_version(webhook, {"status": "open", "owner": {"name": "Sara"}, "old": 1}, minutes=-9)
    second = store_version(webhook, {"status": "closed", "owner": {"name": "Sara", "id": 7}}, minutes=-5)
    store_version(webhook, {"status": "later"}, minutes=-1)

    found = changes_of(boss, second)
    page = boss.get(f"{LIST}{second.pk}/change/").content.decode()

    assert found.previous == first
    assert found.changes == [
        Change("changed", "data.status", '"open"', '"closed"'),
        Change("added", "data.owner.id", "", "7"),
        Change("removed", "data.old", "1", ""),
    ]
    assert f'<a href="{LIST}{first.pk}/change/"' in page
    assert 'aria-label="removed"' in page
    assert "metadata" not in page.split('id="nateq-changes"')[1].split("</section>")[0]
    assert changes_of(boss, first) is None


@pytest.mark.parametrize(
    ("former", "latter", "changes"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"timestamp": 1, "metadata": {}}, {"timestamp": 2, "metadata": {"x": 1}}, []),
        ({"a": 1}, {"a": 1.0}, [("changed", "a", "1", "1.0")]),
        ({"a": "1"}, {"a": 1}, [("changed", "a", '"1"', "1")]),
        ({"a": None}, {"a": False}, [("changed", "a", "null", "false")]),
        ({"a": True}, {"a": 1}, [("changed", "a", "true", "1")]),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, [("changed", "a[1]", "2", "3"), ("added", "a[2]", "", "4")]),
        ({"a": [1]}, {"a": {"b": 1}}, [("removed", "a[0]", "1", ""), ("added", "a.b", "", "1")]),
        ({"a": []}, {"a": {}}, [("changed", "a", "[]", "{}")]),
        ({"a": {}}, {}, [("removed", "a", "{}", "")]),
        ({"a": {"b": [{"c": 1}]}}, {}, [("removed", "a.b[0].c", "1", "")]),
        ({"a": 1}, {"a": {"b": 1}}, [("removed", "a", "1", ""), ("added", "a.b", "", "1")]),
        ({"a": {}}, {"a": {"b": 1}}, [("added", "a.b", "", "1")]),
        ([1], [2], [("changed", "[0]", "1", "2")]),
    ],
)
def test_values_are_compared_as_they_were_written(former: Any, latter: Any, changes: list[Any]) -> None:
    assert compared(former, latter) == [Change(*each) for each in changes]


def test_only_the_same_webhook_family_and_organization_count(boss: Client, webhook: Webhook) -> None:
    desk = Webhook.objects.create(name="desk")
    store_version(desk, {"a": 1}, minutes=-9)
    store_version(webhook, {"a": 1}, minutes=-8, organization_id="org_2")
    store_version(webhook, {"a": 1}, minutes=-7, resource="user")
    store_version(webhook, {"a": 1}, minutes=-6, resource_id="other")
    alone = store_version(webhook, {"a": 2}, minutes=-5)

    assert changes_of(boss, alone) is None
    assert "What changed" not in boss.get(f"{LIST}{alone.pk}/change/").content.decode()


def test_equal_payloads_and_equal_times(boss: Client, webhook: Webhook) -> None:
    first = store_version(webhook, {"a": 1}, minutes=-5)
    (second,) = store_deliveries(webhook, body=first.body, timestamp=first.timestamp)

    assert changes_of(boss, second).previous == first
    assert changes_of(boss, second).changes == []
    assert changes_of(boss, first) is None
    assert "nothing changed." in boss.get(f"{LIST}{second.pk}/change/").content.decode()


def test_changes_are_bounded_and_escaped(boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    store_version(webhook, {"text": "<b>old</b>"}, minutes=-9)
    long = store_version(
        webhook, {"text": "<script>\u202e" + "x" * 5_000, **{str(n): n for n in range(200)}}, minutes=-5
    )

    found = changes_of(boss, long)
    page = boss.get(f"{LIST}{long.pk}/change/").content.decode().split('id="nateq-changes"')[1].split("</section>")[0]

    assert (len(found.changes), found.has_more) == (module.MAX_CHANGES, True)
    assert "There are more changes" in page
    assert "<script>" not in page
    assert "&lt;b&gt;old" in page
    assert "\u202e" not in page
    assert len(found.changes[0].after) < module.MAX_TEXT + 20
    monkeypatch.setattr(module, "MAX_BYTES", 1_000)
    assert changes_of(boss, long) is None


def test_bodies_that_are_no_json_are_not_compared(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, body=b"{", timestamp=timezone.now() - timedelta(minutes=9))
    second = store_version(webhook, {"a": 1}, minutes=-5)

    assert changes_of(boss, second) is None


def test_who_may_not_see_payloads_sees_no_changes(staff: Callable[..., Client], webhook: Webhook) -> None:
    store_version(webhook, {"a": "sara"}, minutes=-9)
    second = store_version(webhook, {"a": "omar"}, minutes=-5)

    page = staff("view_delivery").get(f"{LIST}{second.pk}/change/").content.decode()

    assert "What changed" not in page
    assert "sara" not in page
