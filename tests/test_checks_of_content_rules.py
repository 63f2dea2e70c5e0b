"""Checks of `RETENTION`, `REDACT` and `ORDERED_BY`: what is legal there and probably does not mean what it says."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from nateq_webhooks.checks.content_rules import check_path_of_the_order, check_redacted_paths, check_retention_rules


def found_in_retention(value: Any) -> list[tuple[str, str]]:
    with override_settings(NATEQ_WEBHOOKS={"RETENTION": value}):
        return [(each.id or "", f"{each.msg} {each.hint}") for each in check_retention_rules()]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("Ticket.*", "ticket.*"),
        ("tickets.*", "ticket.*"),
        ("ticket.creatd", "ticket.created"),
        ("LEAD.CREATED", "lead"),
    ],
)
def test_a_key_that_is_nearly_an_event(key: str, meant: str) -> None:
    [(id_, text)] = found_in_retention({"delivery": {"*": 30, key: None}})

    assert id_ == "nateq_webhooks.W079"
    assert repr(key) in text
    assert meant in text


@pytest.mark.parametrize("key", ["ticket.*", "ticket.created", "*.created", "invoice.*", "invoice.paid", "dead", "*"])
def test_keys_that_are_not_reported(key: str) -> None:
    assert found_in_retention({"delivery": {key: 30}}) == []


@pytest.mark.parametrize(
    ("value", "is_reported"),
    [
        ({"payload": 90, "delivery": 30}, True),
        ({"payload": 30, "delivery": 30}, True),
        ({"payload": {"dead": 90}, "delivery": {"dead": 30}}, True),
        ({"payload": {"dead": 90}, "delivery": 30}, True),
        ({"ticket.*": {"payload": 3, "delivery": 2.5}}, True),
        ({"payload": 30, "delivery": 90}, False),
        ({"payload": 90, "delivery": {"*": 30, "dead": None}}, False),
        ({"payload": 90, "delivery": {"*": 30, "dead": 365}}, False),
        ({"payload": 90, "delivery": {"dead": 30}}, False),
        ({"payload": 90}, False),
        ({"payload": None, "delivery": 30}, False),
    ],
)
def test_a_payload_that_is_kept_longer_than_its_delivery(value: Any, *, is_reported: bool) -> None:
    assert [id_ for id_, _text in found_in_retention(value)] == (["nateq_webhooks.W080"] if is_reported else [])


@pytest.mark.parametrize(
    ("periods", "reported"),
    [
        ({"ticket.*": 365, "ticket.created": 30}, ["'ticket.created' is 30 days", "for 365 days"]),
        ({"ticket.*": None, "ticket.created": 30}, ["'ticket.created' is 30 days", "for ever"]),
        ({"*.*": 365, "ticket.*": 30}, ["'ticket.*' is 30 days", "'*.*'"]),
        ({"ticket.*": 30, "ticket.created": 365}, []),
        ({"ticket.*": 30, "ticket.created": None}, []),
        ({"ticket.*": 30, "ticket.created": 30}, []),
        ({"lead.*": 365, "ticket.created": 30}, []),
        ({"*": 365, "ticket.created": 30}, []),
        ({"dead": 365, "ticket.created": 30}, []),
    ],
)
@pytest.mark.parametrize("tier", ["payload", "delivery"])
def test_an_event_whose_pattern_has_a_longer_period(tier: str, periods: Any, reported: list[str]) -> None:
    found = found_in_retention({tier: periods})

    assert [id_ for id_, _text in found] == (["nateq_webhooks.W087"] if reported else [])
    assert all(text in found[0][1] for text in reported)


@pytest.mark.parametrize("zero", [0, 0.0, timedelta()])
def test_a_zero_is_not_taken_for_never(zero: Any) -> None:
    assert [id_ for id_, _text in found_in_retention({"delivery": {"*": 30, "dead": zero}})] == ["nateq_webhooks.W083"]
    [(id_, text)] = found_in_retention({"payload": zero})
    assert id_ == "nateq_webhooks.W083"
    assert "None" in text


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("email", "data.email"),
        ("requester.email", "data.requester.email"),
        ("DATA.email", "data.email"),
        ("$.data.email", "dots"),
        ("/data/email", "dots"),
        ("data[0].email", "dots"),
        ("data.messages[].email", "dots"),
        ("data.**.email", "dots"),
    ],
)
def test_a_path_that_probably_leads_nowhere(path: str, meant: str) -> None:
    with override_settings(NATEQ_WEBHOOKS={"REDACT": ["data.subject", {"path": path, "store": True}]}):
        [found] = check_redacted_paths()

    assert found.id == "nateq_webhooks.W081"
    assert repr(path) in found.msg
    assert meant in (found.hint or "")


@pytest.mark.parametrize(
    "path", ["data", "data.*", "data.*.email", "data.اسم", "data.0", "data.first name", "data.a-b"]
)
def test_paths_that_are_not_reported(path: str) -> None:
    with override_settings(NATEQ_WEBHOOKS={"REDACT": [path]}):
        assert check_redacted_paths() == []


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("conversation_id", "'data.conversation_id'"),
        ("Data.conversation_id", "'data.conversation_id'"),
        ("$.data.conversation_id", "dots"),
        ("data/conversation_id", "dots"),
        ("data.messages[0].id", "inside a list"),
        ("data.messages.0.id", "inside a list"),
        ("data.*.id", "inside a list"),
    ],
)
def test_an_order_that_probably_orders_nothing(path: str, meant: str) -> None:
    with override_settings(NATEQ_WEBHOOKS={"ORDERED_BY": path}):
        [found] = check_path_of_the_order()

    assert found.id == "nateq_webhooks.W084"
    assert repr(path) in found.msg
    assert meant in (found.hint or "")


@pytest.mark.parametrize("path", ["", "data.conversation_id", "data.id", "organization_id", "data.معرف"])
def test_orders_that_are_not_reported(path: str) -> None:
    with override_settings(NATEQ_WEBHOOKS={"ORDERED_BY": path}):
        assert check_path_of_the_order() == []


@pytest.mark.parametrize("check", [check_redacted_paths, check_retention_rules, check_path_of_the_order])
def test_wrong_settings_are_reported_once_by_their_own_check(check: Any) -> None:
    with override_settings(NATEQ_WEBHOOKS={"REDACT": "data", "RETENTION": "30", "ORDERED_BY": "conversation_id"}):
        assert check() == []
