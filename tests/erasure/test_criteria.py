"""Whose data: values with odd characters, several paths, organizations, and what criteria can't be."""

import json
from datetime import date, datetime, timedelta
from datetime import timezone as zone
from typing import Any

import pytest
from django.utils import timezone

from nateq_webhooks import dispatch
from nateq_webhooks.errors import ErasureError
from nateq_webhooks.models import Delivery, Webhook
from tests.conftest import Sender, envelope
from tests.erasure.people import dump

MODES = pytest.mark.parametrize("blank", [False, True])

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _removals_are_known(webhook: Webhook) -> None:
    Webhook.objects.update(has_removed=True)


def post(sender: Sender, number: int, data: Any, **over: Any) -> None:
    assert sender.post(envelope(delivery_id=f"dlv_{number}", data=data, **over)).status_code == 200


ODD = {
    "quotes": "o'neil\"s <b>&",
    "Arabic": "سارة بنت علي",
    "emoji": "sara 👩‍👧‍👦 ali",
    "spaces at its ends": "  sara ali  ",
    "NUL": "sara\0ali",
    "lines": "sara\nali\r\nx",
    "a lone surrogate": "sara\ud800ali",
    "backslashes": "sara\\u0041\\ali",
    "percent": "sara%20ali%",
    "equals": "a=b=c=d",
    "long": "sara " * 20_000,
    "a number": 1234567,
    "a fraction": 12345.25,
    "a large number": 10**40,
    "an escape": "\x1b[31msara",
}


@MODES
@pytest.mark.parametrize("name", ODD)
def test_a_value_of_any_characters_is_found_and_goes(sender: Sender, name: str, *, blank: bool) -> None:
    value = ODD[name]
    post(sender, 1, {"id": "tkt_1", "who": {"user_id": value, "n": 1}})
    post(sender, 2, {"id": "tkt_2", "who": {"user_id": "usr_other", "n": 1}})

    report = dispatch.erase({"data.who.user_id": value}, blank=blank)

    assert report.deliveries == 1
    other = Delivery.objects.get(delivery_id="dlv_2")
    assert other.content_change is None
    if blank:
        who = json.loads(Delivery.objects.get(delivery_id="dlv_1").body)["data"]["who"]
        assert who == {"user_id": "[erased]" if isinstance(value, str) else None, "n": None}
    assert not [row for rows in dump().values() for row in rows if str(value).lower() in row]


def test_text_and_number_are_the_same_value(sender: Sender) -> None:
    post(sender, 1, {"id": 1234567})
    post(sender, 2, {"id": "1234567"})

    assert dispatch.erase({"data.id": "1234567"}).deliveries == 2


@pytest.mark.parametrize("value", [True, False, None, [], ["a"], {}, {"a": 1}, "", "   ", b"x"])
def test_what_identifies_nobody_is_refused(value: Any) -> None:
    with pytest.raises(ErasureError, match=r"The value of data\.id is empty, or neither text nor a number"):
        dispatch.erase({"data.id": value})


@pytest.mark.parametrize("value", ["true", "false", "null", "usr_9"])
def test_true_false_null_and_objects_are_nobodys_value(sender: Sender, value: str) -> None:
    for number, each in enumerate((True, False, None, {"id": "usr_9"}, {})):
        post(sender, number, {"vip": each, "is": "false or true"})

    report = dispatch.erase({"data.vip": value}, blank=True)

    assert (report.deliveries, report.found) == (0, 0)


def test_an_object_is_looked_into_by_a_longer_path_only(sender: Sender) -> None:
    post(sender, 1, {"who": {"id": "usr_9"}})
    post(sender, 2, {"who": [{"id": "usr_9"}, "usr_8"]})

    assert dispatch.erase({"data.who": "usr_9"}, dry_run=True).deliveries == 0
    assert dispatch.erase({"data.who": "usr_8"}, dry_run=True).deliveries == 1
    assert dispatch.erase({"data.who.id": "usr_9"}, dry_run=True).deliveries == 2


def test_a_path_that_no_delivery_has_finds_nothing(sender: Sender) -> None:
    post(sender, 1, {"who": {"id": "usr_9"}})

    report = dispatch.erase({"data.nobody.id": "someone", "meta.x": "someone"})

    assert (report.deliveries, report.found) == (0, 0)
    assert Delivery.objects.count() == 1


def test_one_of_several_paths_is_enough(sender: Sender) -> None:
    post(sender, 1, {"requester": {"id": "usr_9"}})
    post(sender, 2, {"sender": {"id": "usr_9"}})
    post(sender, 3, {"sender": {"email": "s@example.com"}})
    post(sender, 4, {"sender": {"id": "usr_8"}})

    dispatch.erase(
        [("data.requester.id", "usr_9"), ("data.sender.id", "usr_9"), ("data.sender.email", "s@example.com")]
    )

    assert list(Delivery.objects.values_list("delivery_id", flat=True)) == ["dlv_4"]


@MODES
def test_the_path_of_the_organization_is_the_organization(sender: Sender, *, blank: bool) -> None:
    post(sender, 1, {"id": "a"}, organization_id="org_one")
    post(sender, 2, {"id": "b"}, organization_id="org_two")

    report = dispatch.erase({"organization_id": "org_one"}, blank=blank)

    assert report.deliveries == 1
    assert not [row for rows in dump().values() for row in rows if "org_one" in row]
    assert Delivery.objects.get(delivery_id="dlv_2").organization_id == "org_two"


@pytest.mark.parametrize("organization", ["org'one\"", "منظمة", "org 🏢", " org ", "org\0one", "o" * 500])
def test_an_organization_of_any_characters(sender: Sender, organization: str) -> None:
    post(sender, 1, {"id": "a", "who": {"user_id": "usr_9"}}, organization_id=organization)
    post(sender, 2, {"id": "b", "who": {"user_id": "usr_9"}}, organization_id="org_two")

    narrow = dispatch.erase({"data.who.user_id": "usr_9"}, organization=organization, dry_run=True)
    whole = dispatch.erase(organization=organization)

    assert (narrow.deliveries, whole.deliveries) == (1, 1)
    assert Delivery.objects.get().organization_id == "org_two"


def test_the_person_in_one_organization_since_a_day(sender: Sender) -> None:
    for number, (organization, days) in enumerate([("org_1", 1), ("org_1", 5), ("org_2", 1)]):
        post(sender, number, {"who": {"user_id": "usr_9"}, "n": number}, organization_id=organization)
        received = timezone.now() - timedelta(days=days)
        Delivery.objects.filter(delivery_id=f"dlv_{number}").update(received_at=received)
    since = timezone.now() - timedelta(days=3)

    dispatch.erase({"data.who.user_id": "usr_9"}, organization="org_1", since=since)

    assert list(Delivery.objects.order_by("pk").values_list("delivery_id", flat=True)) == ["dlv_1", "dlv_2"]


BAD_CRITERIA: list[Any] = [
    "data.id=usr_9",
    b"data.id",
    5,
    ["data.id"],
    [("data.id",)],
    [("data.id", "usr_9", "more")],
    {1: "usr_9"},
    {"data.id": None},
    {"data.id": b"usr_9"},
]


@pytest.mark.parametrize("where", BAD_CRITERIA)
def test_what_is_no_path_with_a_value_is_refused(where: Any) -> None:
    with pytest.raises(ErasureError):
        dispatch.erase(where)


@pytest.mark.parametrize("since", ["2026-01-01", 5, True])
def test_what_is_no_time_is_refused(since: Any) -> None:
    with pytest.raises(ErasureError):
        dispatch.erase({"data.id": "usr_9"}, since=since)
    with pytest.raises(ErasureError):
        dispatch.erase(organization=since if isinstance(since, int) else 7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("since", "found"),
    [
        (datetime(2026, 1, 1), 1),  # noqa: DTZ001 - what a caller may give
        (date(2026, 1, 1), 1),
        (datetime.min, 1),  # noqa: DTZ901
        (datetime.max, 0),  # noqa: DTZ901
        (datetime.min.replace(tzinfo=zone(timedelta(hours=14))), 1),
        (datetime.max.replace(tzinfo=zone(timedelta(hours=-14))), 0),
    ],
)
def test_any_time_is_taken(sender: Sender, since: Any, found: int) -> None:
    post(sender, 1, {"who": {"user_id": "usr_9"}})

    assert dispatch.erase({"data.who.user_id": "usr_9"}, since=since, dry_run=True).deliveries == found
