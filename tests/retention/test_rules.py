"""The setting `RETENTION`: what a delivery's period is, and what is said about a wrong value."""

from datetime import timedelta
from typing import Any

import pytest

from nateq_webhooks.conf import problems
from nateq_webhooks.conf.retention import STATUSES, UNFINISHED, Tier, parse
from nateq_webhooks.models import Delivery


def days(value: Any, tier: Tier, status: str = "processed", event: str = "ticket.created") -> float | None:
    period = parse(value).period(tier, status, event)
    return None if period is None else period / timedelta(days=1)


def test_without_rules_nothing_is_ever_removed() -> None:
    assert not parse({})
    assert days({}, Tier.PAYLOAD) is None
    assert days({}, Tier.DELIVERY) is None


@pytest.mark.parametrize(
    "value",
    [
        {"payload": 30, "delivery": 365},
        {"payload": {"*": 30}, "delivery": {"*": 365}},
        {"*": {"payload": 30, "delivery": 365}},
        {"processed": {"payload": 30, "delivery": 365}},
        {"ticket.created": {"payload": 30, "delivery": 365}},
        {"ticket.*": {"payload": timedelta(days=30)}, "delivery": 365},
        {"payload": {"processed": 30}, "ticket.*": 365},
    ],
)
def test_the_same_periods_in_each_form(value: Any) -> None:
    assert days(value, Tier.PAYLOAD) == 30
    assert days(value, Tier.DELIVERY) == 365


def test_of_several_keys_the_longest_period_applies_and_the_default_only_without_one() -> None:
    value = {"delivery": {"*": 90, "dead": 365, "ticket.*": 10}}

    assert days(value, Tier.DELIVERY, "processed", "ticket.created") == 10
    assert days(value, Tier.DELIVERY, "dead", "ticket.created") == 365
    assert days(value, Tier.DELIVERY, "dead", "message.sent") == 365
    assert days(value, Tier.DELIVERY, "ignored", "message.sent") == 90


def test_none_keeps_for_ever() -> None:
    value = {"delivery": {"*": 90, "dead": None}}

    assert days(value, Tier.DELIVERY, "dead") is None
    assert parse(value).ages(Tier.DELIVERY) == [timedelta(days=90)]


def test_a_change_of_the_rules_changes_their_fingerprint() -> None:
    one, two = parse({"delivery": {"dead": 10}}), parse({"delivery": {"processed": 10}})

    assert one.fingerprint(Tier.DELIVERY) != two.fingerprint(Tier.DELIVERY)
    assert one.fingerprint(Tier.PAYLOAD) == two.fingerprint(Tier.PAYLOAD)


def test_each_status_of_a_delivery_is_a_key_or_unfinished() -> None:
    assert {*STATUSES, *UNFINISHED} == {str(status) for status in Delivery.Status.values}


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ({"failed": 30}, "'failed' is the status of deliveries that are not finished", "leave it out"),
        ({"paylod": 30}, "'paylod' is neither a status nor an event", "Did you mean 'payload'?"),
        ({"procesed": 30}, "'procesed' is neither a status nor an event", "'processed'"),
        ({"processed": {"content": 30}}, "'content' under 'processed' is no tier", "'payload', 'delivery'"),
        ({"payload": {"*": "30"}}, "the period of '*' is '30'", "number of days"),
        ({"payload": True}, "the period of '*' is True", "number of days"),
        ({"payload": -1}, "the period of '*' is out of range", "36500"),
        ({"payload": 1e300}, "the period of '*' is out of range", "36500"),
        ({"payload": 10**400}, "the period of '*' is out of range", "36500"),
        ({"payload": float("inf")}, "the period of '*' is out of range", "36500"),
        ({"ticket.created ": 30}, "'ticket.created ' is neither a status nor an event", "'ticket.*'"),
        ({"payload": float("nan")}, "the period of '*' is nan", "number of days"),
        ({"payload": 30, "*": {"payload": 60}}, "'*' has two periods for the tier 'payload'", "one of them"),
        ({5: 30}, "5 is neither a status nor an event", "'ticket.*'"),
    ],
)
def test_a_wrong_value_is_explained(value: Any, message: str, hint: str) -> None:
    (problem,) = problems({"RETENTION": value})

    assert problem.id == "E004"
    assert message in problem.message
    assert hint in problem.hint
