"""What is kept of a request beside its body: headers, bounded and without secrets, and the sender's address."""

import json
from typing import Any

import pytest
from django.test import override_settings

from nateq_webhooks.inbox.request import (
    MAX_ADDRESS_CHARS,
    MAX_HEADERS,
    MAX_NAME_CHARS,
    MAX_TOTAL_BYTES,
    MAX_VALUE_CHARS,
    REDACTED,
    kept_headers,
    remote_address,
)
from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol.signatures import MAX_HEADER_CHARS, sign, verify
from tests.conftest import SECRET, Sender, envelope

SIGNATURE_KEY = "HTTP_X_NATEQ_SIGNATURE"
SIGNATURE = "sha256=" + "0" * 64


def kept(**meta: Any) -> dict[str, str]:
    return kept_headers({SIGNATURE_KEY: SIGNATURE} | meta, SIGNATURE_KEY)


def kept_readable(**meta: Any) -> dict[str, str]:
    """What is kept when all of these headers are known to be harmless."""
    names = [name.removeprefix("HTTP_").replace("_", "-") for name in meta]
    with override_settings(NATEQ_WEBHOOKS={"READABLE_HEADERS": names}):
        return kept(**meta)


def size(headers: dict[str, str]) -> int:
    return sum(len(name.encode()) + len(value.encode()) for name, value in headers.items())


# Headers


def test_headers_are_kept_by_their_usual_names() -> None:
    assert kept(CONTENT_TYPE="application/json", CONTENT_LENGTH="17", HTTP_USER_AGENT="Nateq/1.0") == {
        "X-Nateq-Signature": SIGNATURE,
        "Content-Type": "application/json",
        "Content-Length": "17",
        "User-Agent": "Nateq/1.0",
    }


def test_only_headers_are_kept() -> None:
    meta = {
        "REMOTE_ADDR": "192.0.2.1",
        "PATH_INFO": "/nateq/",
        "SERVER_NAME": "shop",
        "DATABASE_PASSWORD": "private",
        "wsgi.input": object(),
        "wsgi.errors": object(),
        "SECRET_KEY": "private",
        "HTTPS": "on",
    }

    assert list(kept(**meta)) == ["X-Nateq-Signature"]


@pytest.mark.parametrize(
    "name",
    [
        *("AUTHORIZATION", "PROXY_AUTHORIZATION", "X_AUTHORIZATION", "COOKIE", "COOKIE2", "SET_COOKIE", "X_TOKEN"),
        *("X_AUTH_TOKEN", "X_CSRFTOKEN", "X_API_KEY", "APIKEY", "X_NATEQ_SECRET", "X_SECRET", "X_AMZ_SECURITY_TOKEN"),
        *("X_AUTH", "X_SESSION_ID", "X_PASSWD", "X_BEARER", "X_SID", "X_FORWARDED_CLIENT_CERT", "X_SOMETHING_NEW"),
        *("REFERER", "HOST_"),
        "X_" + "A" * 200 + "_TOKEN",
        "X_" + "A" * (MAX_NAME_CHARS - 6) + "_SECRET",
    ],
)
def test_the_value_of_a_header_that_is_not_known_to_be_harmless_is_replaced(name: str) -> None:
    headers = kept(**{f"HTTP_{name}": "Bearer private"})

    assert list(headers.values()) == [SIGNATURE, REDACTED]
    assert "private" not in json.dumps(headers)


@pytest.mark.parametrize("name", ["USER_AGENT", "X_REQUEST_ID", "X_NATEQ_EVENT", "ACCEPT", "HOST", "X_FORWARDED_FOR"])
def test_the_value_of_a_harmless_header_is_kept(name: str) -> None:
    assert "plain" in kept(**{f"HTTP_{name}": "plain"}).values()


@pytest.mark.parametrize(
    "value", ["Bearer private", "x basic dXNlcg==", "whsec_private", "tg_live_private", "a=eyJhbGciOiJI.eyJz"]
)
def test_a_credential_in_a_harmless_header_is_replaced(value: str) -> None:
    assert kept(HTTP_USER_AGENT=value)["User-Agent"] == REDACTED


def test_a_setting_names_more_headers_to_keep() -> None:
    with override_settings(NATEQ_WEBHOOKS={"READABLE_HEADERS": ["X-Shop-Region", "x-odd"]}):
        headers = kept(HTTP_X_SHOP_REGION="eu", HTTP_X_ODD="plain", HTTP_X_SHOP_REGIONS="private")

    assert headers == {
        "X-Nateq-Signature": SIGNATURE,
        "X-Shop-Region": "eu",
        "X-Odd": "plain",
        "X-Shop-Regions": REDACTED,
    }


@pytest.mark.parametrize("key", ["HTTP_X_SECRET_SIGNATURE", "HTTP_AUTHORIZATION", "HTTP_X_API_KEY"])
def test_the_signature_is_kept_whatever_its_header_is_called(key: str) -> None:
    headers = kept_headers({key: SIGNATURE}, key)

    assert list(headers.values()) == [SIGNATURE]


def test_the_signature_comes_first_and_no_flood_of_others_drops_it() -> None:
    flood = {f"HTTP_X_{number}": "x" * 5_000 for number in range(500)}

    headers = kept_headers(flood | {SIGNATURE_KEY: SIGNATURE}, SIGNATURE_KEY)

    assert next(iter(headers)) == "X-Nateq-Signature"
    assert headers["X-Nateq-Signature"] == SIGNATURE


def test_the_longest_accepted_signature_is_kept_whole_for_another_verification() -> None:
    body = b"{}"
    header = "0" * 64 + "," + " " * (MAX_HEADER_CHARS - 129) + sign(body, SECRET)
    assert verify(body, header, SECRET)

    headers = kept_headers({SIGNATURE_KEY: header}, SIGNATURE_KEY)

    assert verify(body, headers["X-Nateq-Signature"], SECRET)


def test_headers_are_bounded_in_count() -> None:
    headers = kept(**{f"HTTP_X_{number}": "x" for number in range(1_000)})

    assert len(headers) == MAX_HEADERS


@pytest.mark.parametrize("character", ["x", "é"])
def test_headers_are_bounded_in_bytes_all_together(character: str) -> None:
    headers = kept_readable(**{f"HTTP_X_{number}": character * 450 for number in range(50)})

    assert MAX_TOTAL_BYTES - 1_000 < size(headers) <= MAX_TOTAL_BYTES


def test_long_values_and_names_are_cut() -> None:
    assert kept_readable(HTTP_X_LONG="x" * 100_000)["X-Long"] == "x" * MAX_VALUE_CHARS
    assert max(map(len, kept(**{"HTTP_X_" + "A" * 10_000: "x"}))) == MAX_NAME_CHARS


@pytest.mark.parametrize("value", ["é", "\xff", "\ud800", "\x00", "😀", "مرحبا", "\r\n"])
def test_any_header_value_can_be_stored_as_json_on_every_database(value: str) -> None:
    headers = kept_readable(HTTP_X_ODD=value)

    stored = json.dumps(headers)
    assert "\\u0000" not in stored
    assert not any("\ud800" <= character <= "\udfff" for character in headers["X-Odd"])
    assert json.loads(stored) == headers


@pytest.mark.parametrize("value", [17, None, 1.5, b"bytes"])
def test_a_value_of_another_type_is_kept_as_text(value: object) -> None:
    assert kept_readable(HTTP_X_ODD=value)["X-Odd"] == str(value)


# The address


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"])
def test_without_proxies_the_forwarded_address_is_ignored(address: str) -> None:
    assert remote_address({"REMOTE_ADDR": address, "HTTP_X_FORWARDED_FOR": "198.51.100.7"}, 0) == address


@pytest.mark.parametrize("meta", [{}, {"REMOTE_ADDR": ""}, {"REMOTE_ADDR": None}])
def test_on_a_unix_socket_there_is_only_the_address_that_a_trusted_proxy_forwards(meta: dict[str, Any]) -> None:
    forwarded = meta | {"HTTP_X_FORWARDED_FOR": "198.51.100.7"}

    assert remote_address(meta, 0) is remote_address(forwarded, 0) is remote_address(meta, 1) is None
    assert remote_address(forwarded, 1) == "198.51.100.7"


@pytest.mark.parametrize(
    ("forwarded", "proxies", "expected"),
    [
        pytest.param("198.51.100.7", 1, "198.51.100.7", id="one proxy, one entry"),
        pytest.param("10.0.0.1, 198.51.100.7", 1, "198.51.100.7", id="one proxy, an entry made up by the sender"),
        pytest.param("198.51.100.7, 10.0.0.2", 2, "198.51.100.7", id="two proxies, two entries"),
        pytest.param("1.1.1.1, 198.51.100.7, 10.0.0.2", 2, "198.51.100.7", id="two proxies, one made up"),
        pytest.param("198.51.100.7,10.0.0.2", 2, "198.51.100.7", id="no white space"),
        pytest.param("2001:db8::1", 1, "2001:db8::1", id="IPv6"),
        pytest.param("198.51.100.7", 2, "192.0.2.1", id="fewer entries than proxies: the peer"),
        pytest.param("", 1, "192.0.2.1", id="empty: the peer"),
        pytest.param(None, 1, "192.0.2.1", id="nothing forwarded: the peer"),
        pytest.param("198.51.100.7, ", 1, "192.0.2.1", id="an empty entry: the peer"),
        pytest.param(" , 10.0.0.2", 2, "192.0.2.1", id="the right one is empty: the peer"),
    ],
)
def test_behind_proxies_the_address_is_the_one_that_the_outermost_trusted_proxy_saw(
    forwarded: str | None, proxies: int, expected: str
) -> None:
    meta = {"REMOTE_ADDR": "192.0.2.1"} | ({} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded})

    assert remote_address(meta, proxies) == expected


@pytest.mark.parametrize("address", ["x" * 10_000, "a\x00b", "\ud800", "é"])
def test_an_address_made_up_by_a_sender_fits_its_column(address: str) -> None:
    found = remote_address({"HTTP_X_FORWARDED_FOR": address}, 1)

    assert found is not None
    assert len(found) <= MAX_ADDRESS_CHARS
    assert "\x00" not in found
    assert found.encode()


# Through the receiver view


@pytest.mark.django_db
def test_the_row_keeps_the_headers_without_secrets_and_enough_to_verify_again(sender: Sender) -> None:
    sender.post(
        envelope(),
        headers={
            "Authorization": "Bearer private",
            "Cookie": "session=private",
            "X-Request-Id": "é",
            "X-Trace": "private",
        },
    )

    delivery = Delivery.objects.get()
    assert delivery.headers["Authorization"] == REDACTED
    assert delivery.headers["Cookie"] == REDACTED
    assert delivery.headers["X-Request-Id"] == "é"
    assert delivery.headers["X-Trace"] == REDACTED
    assert "private" not in json.dumps(delivery.headers)
    assert delivery.headers["Content-Type"] == "application/json"
    assert verify(delivery.body, delivery.headers["X-Nateq-Signature"], SECRET)


@pytest.mark.django_db
def test_the_row_keeps_the_address_and_null_on_a_unix_socket(sender: Sender) -> None:
    sender.post(envelope(delivery_id="tcp"), REMOTE_ADDR="192.0.2.1", headers={"X-Forwarded-For": "198.51.100.7"})
    sender.post(envelope(delivery_id="unix"), REMOTE_ADDR="")
    with override_settings(NATEQ_WEBHOOKS={"TRUSTED_PROXIES": 1}):
        sender.post(envelope(delivery_id="proxy"), headers={"X-Forwarded-For": "10.1.1.1, 198.51.100.7"})

    assert dict(Delivery.objects.values_list("delivery_id", "remote_addr")) == {
        "tcp": "192.0.2.1",
        "unix": None,
        "proxy": "198.51.100.7",
    }
