"""The settings: every key, its type, its legal values, and what is said about anything else."""

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from nateq_webhooks import conf
from nateq_webhooks.conf import Problem, Settings, meta_key, problems, settings

LEGAL: Mapping[str, list[Any]] = {
    "PUBLIC_URL": [
        "",
        "https://shop.example",
        "https://shop.example/",
        "https://shop.example:8443",
        "http://localhost:8000",
        "http://127.0.0.1:8000",
        "https://[::1]:8000",
        "https://shop.example/app/",
        "https://متجر.example",
    ],
    "SIGNATURE_HEADER": ["X-Nateq-Signature", "x-hub-signature-256", "Signature"],
    "READABLE_HEADERS": [[], ["X-Shop-Region"], ["x-shop-region", "Content-Type"]],
    "SECRET_ENCODING": ["utf-8", "base64"],
    "MAX_BODY_BYTES": [1, 1024 * 1024, 64 * 1024 * 1024],
    "TRUSTED_PROXIES": [0, 1, 10],
    "ALLOWED_NETWORKS": [[], ["192.0.2.7"], ["192.0.2.0/24", "2001:db8::/32", "::1", "::ffff:192.0.2.0/120"]],
    "REDACT": [
        [],
        ["data.requester.email", "data.messages.*.author.email", "data", "data.*", "later.key"],
        [{"path": "data.a"}, {"path": "data.b", "store": True}, {"path": "data.id.x", "store": False}],
    ],
    "REPLAY_WINDOW": [timedelta(), timedelta(seconds=1), timedelta(days=3), timedelta(days=365)],
    "TASK_BACKEND": ["default", "webhooks"],
    "TASK_QUEUE": ["", "default", "web hooks"],
    "DISPATCH": ["inline", "worker", "tasks", "celery", "nateq_webhooks.runners.inline.InlineRunner"],
    "RUN_LEASE": [timedelta(milliseconds=1), timedelta(minutes=5), timedelta(hours=1)],
    "RUN_TIMEOUT": [timedelta(milliseconds=1), timedelta(minutes=15), timedelta(hours=1)],
    "RETRY_BASE": [timedelta(), timedelta(milliseconds=1), timedelta(seconds=30), timedelta(hours=1)],
    "RETRY_MAX_AGE": [timedelta(milliseconds=1), timedelta(days=3), timedelta(days=365)],
    "MAX_TRIES": [1, 10, 1000],
    "API_KEY": ["", "tg_live_0123456789abcdef", "tg_test_local"],
    "API_KEYS": [{}, {"org_2": "tg_live_0123456789abcdef", "shop": "tg_test_local"}],
    "BASE_URL": ["", "https://api.nateq.io/api/v1", "http://127.0.0.1:8765/api/v1/"],
    "ROTATION_OVERLAP": [timedelta(), timedelta(hours=48), timedelta(days=365)],
    "RETENTION": [{}, {"payload": 90}, {"payload": 30, "delivery": {"*": 365, "dead": None}}],
    "REMOVED_KEPT_FOR": [timedelta(days=1), timedelta(days=365)],
    "AUDIT_RETENTION": [timedelta(), timedelta(days=1), timedelta(days=3650)],
    "SECRET_KEYS": [
        [],
        ["kL8vVhZ1fQ2sXw9yR4tN6mB3cD5gH7jP"],
        ["0f1e2d3c4b5a69788796a5b4c3d2e1f0", "k" * 40 + "0123456789"],
    ],
    "ACK": ["stored", "processed"],
    "ACK_TIMEOUT": [timedelta(seconds=1), timedelta(seconds=20)],
    "ORDERED_BY": ["", "organization_id", "data.conversation_id"],
    "ORDER_ON_DEAD": ["skip", "block"],
    "RATE_LIMITS": [{}, {"shop.receivers.crm": 5.0}, {"shop.receivers.crm": 1, "shop.receivers.erp": 0.1}],
    "BREAKER_AFTER": [0, 1, 100],
    "BREAKER_PAUSE": [timedelta(seconds=1), timedelta(hours=1)],
    "IDENTITY": ["delivery_id", "content"],
    "TENANTS": ["", "nateq_webhooks.tenants.DjangoTenants", "tests.tenancy.Schemas"],
}

ILLEGAL: Mapping[str, list[Any]] = {
    "PUBLIC_URL": [
        "shop.example",
        "//shop.example",
        "ftp://shop.example",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://shop.example:port",
        "https://shop.example:99999",
        "https://shop.example:0",
        "https://[::1",
        "https://shop.example?a=b",
        "https://shop.example#a",
        "https://shop.example ",
        " https://shop.example",
        "https://shop.example\n",
        "https://shop .example",
    ],
    "SIGNATURE_HEADER": ["", " ", "-", "X Nateq", "X_Nateq_Signature", "X-Nateq-Signature:", "X-é", "X-Nateq\r\nA"],
    "READABLE_HEADERS": [[""], ["X Shop"], [7], ["X-Shop", None], ["X-é"]],
    "SECRET_ENCODING": ["", "UTF-8", "utf8", "hex", "Base64"],
    "MAX_BODY_BYTES": [-1, 0, 64 * 1024 * 1024 + 1],
    "TRUSTED_PROXIES": [-1, 11],
    "REDACT": [
        *([""], ["data."], [".data"], ["data..a"], [7], [None], [{}], [{"path": ""}], [{"path": 7}], [["data"]]),
        *([{"path": "data.a", "store": "yes"}], [{"path": "data.a", "keep": True}], [{"store": True}]),
        *(["data.a "], [" data.a"], ["data. a"], ["data.a\n"]),
        *(["event"], ["*"], ["timestamp"], ["metadata.delivery_id"], ["organization_id"], ["data.id"]),
    ],
    "ALLOWED_NETWORKS": [[""], [7], [None], ["192.0.2"], ["192.0.2.7/24"], ["shop.example"], ["192.0.2.0-192.0.2.9"]],
    "TASK_BACKEND": [""],
    "TASK_QUEUE": [" ", " webhooks", "webhooks\n", "a\x1bb"],
    "DISPATCH": ["", "Inline", "inlne", "no.such.Runner", "nateq_webhooks.runners.inline.NoRunner"],
    **{
        key: [timedelta(), -timedelta(minutes=5), timedelta(days=366)]
        for key in ("RUN_LEASE", "RUN_TIMEOUT", "RETRY_MAX_AGE", "ACK_TIMEOUT", "BREAKER_PAUSE")
    },
    **{
        key: [-timedelta(seconds=1), timedelta(days=366)] for key in ("RETRY_BASE", "ROTATION_OVERLAP", "REPLAY_WINDOW")
    },
    "RETENTION": [{"payloads": 90}, {"payload": -1}, {"payload": "90"}, {"delivery": {"received": 1}}],
    "REMOVED_KEPT_FOR": [timedelta(), timedelta(days=366)],
    "AUDIT_RETENTION": [timedelta(hours=1), -timedelta(days=1), timedelta(days=36_501)],
    "ACK": ["", "done", "Stored"],
    "ORDERED_BY": [".", "data.", ".data", "data..id", "data.id ", "data. id"],
    "ORDER_ON_DEAD": ["", "stop"],
    "RATE_LIMITS": [{"": 1.0}, {7: 1.0}, {"crm": 0}, {"crm": -1.0}, {"crm": True}, {"crm": "5"}, {"crm": 10_001}],
    "BREAKER_AFTER": [-1, 1_000_001],
    "IDENTITY": ["", "id"],
    "TENANTS": ["tenants", "no.such.Tenants", "nateq_webhooks.tenants.named", "nateq_webhooks.tenants.NO_TENANT"],
    "MAX_TRIES": [-1, 0, 1001],
    "API_KEY": [
        "tg_live_",
        "tg_test_",
        "sk_live_0123",
        "tg_live_01 23",
        " tg_live_0123",
        "tg_live_0123\n",
        "tg_live_a,b",
    ],
    "API_KEYS": [{"": "tg_live_01"}, {7: "tg_live_01"}, {"org_2": ""}, {"org_2": "sk_live"}, {"tg_live_01": "org_2"}],
    "BASE_URL": ["api.nateq.io", "ftp://api.nateq.io", "https://tg_live_0123@api.nateq.io", "https://a.b?k=tg_live_0"],
    "SECRET_KEYS": [
        *([""], [7], ["too short: 7f3a9c1e"], ["a" * 44], ["kL8vVhZ1fQ2sXw9yR4tN6mB3cD5gH7jP"] * 2),
        *(["kL8vVhZ1fQ2sXw9yR4tN6mB3cD5gH7jP\n"], [" kL8vVhZ1fQ2sXw9yR4tN6mB3cD5gH7jP"]),
    ],
}

WRONG_TYPES: Mapping[type, list[Any]] = {
    str: [None, 7, b"https://shop.example", ["inline"], True],
    int: [None, "7", 7.0, True, False, [7]],
    timedelta: [None, 300, 300.0, "300", "0:05:00"],
    dict: [None, 5.0, "crm", ["crm"]],
    list: [None, 5.0, "X-Shop-Region", {"X-Shop-Region": True}],
}

CONFIDENTIAL = ("API_KEY", "API_KEYS", "BASE_URL", "SECRET_KEYS")

KEYS = [field.name.upper() for field in fields(Settings)]


def cases(table: Mapping[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(key, value) for key, values in table.items() for value in values]


def test_every_setting_has_its_legal_and_illegal_values_here() -> None:
    assert set(LEGAL) == set(ILLEGAL) == set(KEYS)
    assert all(LEGAL.values())
    assert all(ILLEGAL.values())


def test_every_type_of_a_setting_has_its_wrong_values_here() -> None:
    assert {type(getattr(Settings(), key.lower())) for key in KEYS} == set(WRONG_TYPES)


# Values


@pytest.mark.parametrize("key", KEYS)
def test_each_default_is_legal(key: str) -> None:
    assert list(problems({key: getattr(Settings(), key.lower())})) == []


@pytest.mark.parametrize(("key", "value"), cases(LEGAL), ids=repr)
def test_a_legal_value_is_unchanged(key: str, value: Any) -> None:
    with override_settings(NATEQ_WEBHOOKS={key: value}):
        assert list(problems()) == []
        assert getattr(settings(), key.lower()) == value


@pytest.mark.parametrize(("key", "value"), cases(ILLEGAL), ids=repr)
def test_an_illegal_value_is_reported_with_its_setting(key: str, value: Any) -> None:
    (problem,) = problems({key: value})

    assert problem.id == "E004"
    if key in CONFIDENTIAL:
        unit = "characters" if isinstance(value, str) else "entries"
        assert f"NATEQ_WEBHOOKS['{key}'] is not shown here ({len(value)} {unit}):" in problem.message
        for text in (value,) if isinstance(value, str) else value.values() if isinstance(value, dict) else value:
            assert not text or str(text) not in problem.message.replace("(1 entries)", "") or text == "org_2"
    else:
        assert f"NATEQ_WEBHOOKS['{key}'] is {value!r}:" in problem.message
    assert problem.hint.endswith(".")


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in KEYS for value in WRONG_TYPES[type(getattr(Settings(), key.lower()))]],
    ids=repr,
)
def test_a_value_of_another_type_is_reported_with_both_types(key: str, value: Any) -> None:
    default = getattr(Settings(), key.lower())

    (problem,) = problems({key: value})

    assert problem.id == "E003"
    assert (
        problem.message == f"NATEQ_WEBHOOKS['{key}'] is of type {type(value).__name__}, not {type(default).__name__}."
    )
    assert repr(default) in problem.hint


@pytest.mark.parametrize("lease", [timedelta.max, timedelta(days=10_000_000)])
def test_a_time_that_would_overflow_is_illegal(lease: timedelta) -> None:
    """Added to the time of a delivery it would overflow in the receiver view."""
    assert [problem.id for problem in problems({"RUN_LEASE": lease})] == ["E004"]


def test_the_settings_never_show_the_api_key() -> None:
    with override_settings(
        NATEQ_WEBHOOKS={"API_KEY": "tg_live_0123456789", "BASE_URL": "https://x.example/tg_live_0123456789"}
    ):
        assert "0123456789" not in repr(settings()) + str(settings())


# Keys


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("DISPACH", "DISPATCH"),
        ("dispatch", "DISPATCH"),
        ("PUBLIC_URI", "PUBLIC_URL"),
        ("PUBLICURL", "PUBLIC_URL"),
        ("BODY_MAX_BYTES", "MAX_BODY_BYTES"),
        ("MAX_RETRIES", "MAX_TRIES"),
        ("SIGNATURE_HEADERS", "SIGNATURE_HEADER"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
    ],
)
def test_a_misspelled_name_is_reported_with_the_right_one(typo: str, meant: str) -> None:
    (problem,) = problems({typo: "whatever"})

    assert problem == Problem("E002", f"NATEQ_WEBHOOKS has no setting '{typo}'.", f"Did you mean '{meant}'?")


@pytest.mark.parametrize("key", ["ZZZ", "", 7, None, ("PUBLIC_URL",)])
def test_an_unknown_name_is_reported_with_all_settings(key: Any) -> None:
    (problem,) = problems({key: 1})

    assert problem.id == "E002"
    assert repr(key) in problem.message
    assert all(known in problem.hint for known in KEYS) or "Did you mean" in problem.hint


@pytest.mark.parametrize("raw", [[], [("DISPATCH", "inline")], "inline", 7, {"DISPATCH"}, True])
def test_settings_that_are_no_dict_have_one_problem(raw: object) -> None:
    (problem,) = problems(raw)

    assert problem.id == "E001"
    assert type(raw).__name__ in problem.message


def test_any_mapping_is_a_dict() -> None:
    with override_settings(NATEQ_WEBHOOKS=MappingProxyType({"MAX_TRIES": 3})):
        assert settings().max_tries == 3


def test_all_problems_are_reported_at_once() -> None:
    found = [problem.id for problem in problems({"DISPACH": 1, "MAX_TRIES": 0, "PUBLIC_URL": 7, "RUN_LEASE": 300})]

    assert found == ["E002", "E004", "E003", "E003"]


# In force


def test_without_the_dict_every_setting_has_its_default() -> None:
    with override_settings(NATEQ_WEBHOOKS={"MAX_TRIES": 3}):
        del django_settings.NATEQ_WEBHOOKS
        conf.settings.cache_clear()
        assert settings() == Settings()


def test_the_defaults_are_those_that_the_contract_names() -> None:
    default = Settings()

    assert default.signature_header == "X-Nateq-Signature"
    assert default.secret_encoding == "utf-8"
    assert default.max_body_bytes == 1024 * 1024
    assert default.trusted_proxies == 0
    assert default.public_url == ""
    assert default.dispatch == "inline"


def test_an_overridden_setting_is_in_force_at_once_and_gone_afterwards() -> None:
    before = settings()
    with override_settings(NATEQ_WEBHOOKS={"MAX_TRIES": 3}):
        assert settings() == Settings(max_tries=3)
        with override_settings(NATEQ_WEBHOOKS={"MAX_TRIES": 4}):
            assert settings().max_tries == 4
        assert settings().max_tries == 3
    assert settings() == before


def test_another_setting_that_changes_rebuilds_nothing() -> None:
    before = settings()
    with override_settings(DEBUG=True):
        assert settings() is before


def test_the_settings_are_built_once_and_frozen() -> None:
    assert settings() is settings()
    with pytest.raises(FrozenInstanceError):
        settings().max_tries = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"DISPACH": "inline"}, r"^NATEQ_WEBHOOKS has no setting 'DISPACH'\. Did you mean 'DISPATCH'\?$"),
        ({"MAX_TRIES": "3"}, r"^NATEQ_WEBHOOKS\['MAX_TRIES'\] is of type str, not int\. The default is 10\.$"),
        (
            {"REPLAY_WINDOW": 3600},
            r"not timedelta\. Write timedelta\(seconds=3600\) or timedelta\(days=3600\)\. The def",
        ),
        ({"RETRY_BASE": timedelta(hours=7)}, r"out of range\. Use a timedelta of at most 6 hours: no wait"),
        (
            {"DISPATCH": "celry"},
            r"^NATEQ_WEBHOOKS\['DISPATCH'\] is 'celry': unknown\. Legal values: 'inline', 'worker'",
        ),
        ({"REDACT": [{"path": "data.x", "stored": True}]}, r"the entry of 'data\.x' has the unknown key 'stored'\."),
        ({"REPLAY_WINDOW": True}, r"is of type bool, not timedelta\. The default"),
        (
            {"REDACT": "data.email"},
            r"is of type str, not list\. Write a list: \['data\.email'\]\. The default is \[\]\.$",
        ),
        (
            {"ALLOWED_NETWORKS": ("192.0.2.7",)},
            r"is of type tuple, not list\. Write a list: \[\.\.\.\]\. The default",
        ),
        ({"SECRET_KEYS": "kL8vVhZ1fQ2sXw9yR4tN6mB3cD5gH7jP"}, r"not list\. Write a list, also of one\. The default"),
        (
            {"RETENTION": 30},
            r"is of type int, not dict\. Write days, such as \{.payload.: 90, .delivery.: 365\}\. The default",
        ),
        ({"MAX_TRIES": 0}, r"^NATEQ_WEBHOOKS\['MAX_TRIES'\] is 0: out of range\. Legal values: 1 to 1000\.$"),
        ([], r"^NATEQ_WEBHOOKS is of type list, not dict\. Write NATEQ_WEBHOOKS = \{\.\.\.\}\.$"),
        (None, r"^NATEQ_WEBHOOKS is of type NoneType, not dict\. Write NATEQ_WEBHOOKS = \{\.\.\.\}\.$"),
    ],
)
def test_wrong_settings_raise_an_error_with_the_text_of_the_check(raw: Any, message: str) -> None:
    with override_settings(NATEQ_WEBHOOKS=raw), pytest.raises(ImproperlyConfigured, match=message):
        settings()


def test_wrong_settings_are_not_cached() -> None:
    with override_settings(NATEQ_WEBHOOKS={"MAX_TRIES": 0}), pytest.raises(ImproperlyConfigured):
        settings()
    with override_settings(NATEQ_WEBHOOKS={"MAX_TRIES": 2}):
        assert settings().max_tries == 2


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("X-Nateq-Signature", "HTTP_X_NATEQ_SIGNATURE"),
        ("x-hub-signature-256", "HTTP_X_HUB_SIGNATURE_256"),
        ("Signature", "HTTP_SIGNATURE"),
    ],
)
def test_a_header_is_looked_up_under_djangos_name_for_it(header: str, key: str) -> None:
    assert meta_key(header) == key


@pytest.mark.parametrize(
    ("path", "redact", "found"),
    [
        ("data.customer", [{"path": "data.customer", "store": True}], ["E009"]),
        ("data.customer.id", [{"path": "data.*", "store": True}], ["E009"]),
        ("data.customer", ["data.customer", {"path": "data.other", "store": True}], []),
        ("data.customer", [{"path": "data.customer", "store": False}], []),
        ("data.customer", [{"path": "event", "store": True}], ["E004"]),
        ("", [{"path": "data.customer", "store": True}], []),
    ],
)
def test_deliveries_are_not_ordered_by_what_is_masked_before_it_is_stored(
    path: str, redact: list[Any], found: list[str]
) -> None:
    assert [problem.id for problem in problems({"ORDERED_BY": path, "REDACT": redact})] == found
