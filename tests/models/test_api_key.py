"""API keys: hashed at rest, what they grant, and when their use is written."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from nateq_webhooks.models import ApiKey
from nateq_webhooks.models.api_key import grantable, hash_of
from nateq_webhooks.protocol.api import Scope, is_api_key
from tests.builders import ago

pytestmark = pytest.mark.django_db


def build(**over: Any) -> ApiKey:
    return ApiKey(**({"name": "support", "scopes": [Scope.DELIVERIES_READ]} | over))


def test_only_the_hash_of_a_key_is_stored_and_it_finds_the_row() -> None:
    row = build()
    key = row.issue()
    row.save()

    stored = ApiKey.objects.values().get()
    assert is_api_key(key)
    assert key not in str(stored)
    assert key.startswith(stored["hint"].rstrip("…"))
    assert len(stored["hint"]) < 20
    assert ApiKey.objects.with_key(key) == row
    assert ApiKey.objects.with_key(f"{key}0") is None
    assert ApiKey.objects.with_key("tg_live_\ud800\0") is None


def test_no_repr_shows_the_key() -> None:
    assert repr([build().issue()]) == "[<API key>]"


def test_two_keys_are_never_the_same() -> None:
    assert build().issue() != build().issue()


def test_a_revoked_key_is_found_and_says_so() -> None:
    tomorrow = timezone.now() + timedelta(days=1)
    row = build(expires_at=tomorrow)
    key = row.issue()
    row.save()

    assert row.state(timezone.now()) == ApiKey.State.ACTIVE
    assert row.state(tomorrow) == ApiKey.State.EXPIRED
    assert ApiKey.objects.revoke() == 1
    assert ApiKey.objects.revoke() == 0
    found = ApiKey.objects.with_key(key)
    assert found is not None
    assert found.state(timezone.now()) == ApiKey.State.REVOKED


def test_managing_webhooks_includes_seeing_them_and_no_other_scope_includes_another() -> None:
    assert build(scopes=["webhooks:manage"]).granted == {"webhooks:manage", "webhooks:read"}
    for scope in set(Scope) - {Scope.WEBHOOKS_MANAGE}:
        assert build(scopes=[scope]).granted == {scope}
    assert build(scopes=["something:else"]).granted == set()


@pytest.mark.parametrize("seconds", [None, 59, 61])
def test_its_use_is_written_at_most_once_a_minute(seconds: int | None, django_assert_num_queries: Any) -> None:
    row = build(last_used_at=None if seconds is None else ago(seconds=seconds))
    row.issue()
    row.save()
    now = timezone.now()

    with django_assert_num_queries(0 if seconds == 59 else 1):
        ApiKey.objects.note_use(row, now)

    row.refresh_from_db()
    assert (row.last_used_at == now) == (seconds != 59)


def test_a_process_that_read_the_row_earlier_does_not_write_again() -> None:
    row = build()
    row.issue()
    row.save()
    now = timezone.now()
    ApiKey.objects.note_use(row, now)  # `row` does not know of it

    ApiKey.objects.note_use(row, now + timedelta(seconds=30))

    row.refresh_from_db()
    assert row.last_used_at == now


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("192.0.2.8", False),
        ("198.51.100.9", True),
        ("2001:db8::1%eth0", True),
    ]
    + [(odd, False) for odd in ("192.0.2.8", "", None, "unix:", "192.0.2.7, 192.0.2.7", "x" * 1000)],
)
def test_an_allow_list_has_addresses_and_networks(address: str | None, is_allowed: bool) -> None:
    row = build(allowed_addresses=["192.0.2.7", "198.51.100.0/24", "2001:db8::/32"])

    assert row.allows_address(address) == is_allowed
    assert build().allows_address(address)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scopes", []),
        ("scopes", "webhooks:read"),
        ("scopes", ["webhooks:read", "everything"]),
        ("scopes", [["webhooks:read"]]),
        ("allowed_addresses", ["192.0.2"]),
        ("allowed_addresses", {"a": 1}),
        ("allowed_addresses", ["198.51.100.9/24"]),
        ("name", "a\0b"),
        ("organization_id", "\ud800"),
    ],
)
def test_invalid_values_are_refused_with_the_field(field: str, value: Any) -> None:
    row = build(**{field: value})
    row.issue()

    with pytest.raises(ValidationError) as caught:
        row.full_clean()

    assert set(caught.value.message_dict) == {field}


def test_a_broken_entry_of_an_allow_list_allows_nothing() -> None:
    assert not build(allowed_addresses=["nonsense"]).allows_address("192.0.2.7")


def test_a_stored_network_with_bits_after_its_prefix_still_allows_its_addresses() -> None:
    assert build(allowed_addresses=["198.51.100.9/24"]).allows_address("198.51.100.7")


def test_a_person_gives_a_key_only_what_the_person_may_do() -> None:
    assert grantable([]) == []
    assert grantable(["view_webhook", "view_payload"]) == [Scope.WEBHOOKS_READ, Scope.PAYLOADS_READ]


def test_the_hash_is_sha_256() -> None:
    assert hash_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
