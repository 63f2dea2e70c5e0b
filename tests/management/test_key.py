"""`manage.py nateq_key`."""

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from nateq_webhooks.models import ApiKey
from nateq_webhooks.protocol.api import Scope
from tests.builders import ago
from tests.commands import output

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_created_key_is_the_only_output_and_works(capsys: pytest.CaptureFixture[str]) -> None:
    written = output("nateq_key", "create", "support", "--scopes", "deliveries:read", "payloads:read")

    key = ApiKey.objects.with_key(written.strip())
    assert key is not None
    assert (key.name, key.scopes) == ("support", ["deliveries:read", "payloads:read"])
    assert (key.organization_id, key.expires_at, key.requests_per_minute) == ("", None, 1000)
    assert "shown only now" in capsys.readouterr().err


def test_every_limit_can_be_given() -> None:
    call_command(
        "nateq_key", "create", "crm", "--scopes", "webhooks:read,deliveries:read", "--expires", "2099-01-02T03:04",
        "--organization", "org_1", "--address", "192.0.2.0/24", "--address", "2001:db8::1", "--rate-limit", "60",
    )  # fmt: skip

    key = ApiKey.objects.get()
    assert key.scopes == ["deliveries:read", "webhooks:read"]
    assert key.expires_at is not None
    assert key.expires_at.isoformat() == "2099-01-02T03:04:00+00:00"
    assert (key.organization_id, key.requests_per_minute) == ("org_1", 60)
    assert key.allowed_addresses == ["192.0.2.0/24", "2001:db8::1"]


def test_it_can_end_after_some_days() -> None:
    call_command("nateq_key", "create", "crm", "--scopes", "webhooks:read", "--expires", "90d")

    expires = ApiKey.objects.get().expires_at
    assert expires is not None
    assert timedelta(days=89, hours=23) < expires - timezone.now() <= timedelta(days=90)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scopes", "webhook:read"], "There is no scope 'webhook:read'.*Did you mean 'webhooks:read'"),
        (["--scopes", ","], "at least one scope"),
        (["--scopes", "webhooks:read", "--expires", "soon"], "--expires is 'soon', which is not a time"),
        (["--scopes", "webhooks:read", "--expires", "2020-01-01"], "'2020-01-01', which has passed"),
        (["--scopes", "webhooks:read", "--address", "here"], "'here' is not an IP address"),
        (["--scopes", "webhooks:read", "--rate-limit", "0"], "--rate-limit is 0"),
        (["--scopes", "webhooks:read", "--organization", "a\0"], "no database stores"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_stored(options: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("nateq_key", "create", "crm", *options)

    assert not ApiKey.objects.exists()


def test_a_name_is_used_once() -> None:
    call_command("nateq_key", "create", "crm", "--scopes", "webhooks:read")

    with pytest.raises(CommandError, match='There is a key "crm" already'):
        call_command("nateq_key", "create", "crm", "--scopes", "webhooks:read")


def test_the_list_shows_no_key() -> None:
    key = output("nateq_key", "create", "support", "--scopes", *Scope).strip()
    ApiKey.objects.create(name="old", key_hash="0", hint="tg_live_0000…", scopes=[], expires_at=ago(days=1))

    listed, [old, support] = output("nateq_key", "list"), json.loads(output("nateq_key", "list", "--json"))

    assert key not in listed + json.dumps(support)
    assert "old: Expired" in listed
    assert "support: Active" in listed
    assert (old["state"], support["state"], support["last_used_at"]) == ("expired", "active", None)


def test_an_empty_list_says_so() -> None:
    assert output("nateq_key", "list") == "There are no keys.\n"
    assert json.loads(output("nateq_key", "list", "--json")) == []


def test_a_key_is_revoked_once_and_an_unknown_name_is_an_error() -> None:
    call_command("nateq_key", "create", "support", "--scopes", "webhooks:read")

    assert output("nateq_key", "revoke", "support") == 'The key "support" is revoked.\n'
    assert output("nateq_key", "revoke", "support") == 'The key "support" was revoked before.\n'
    assert ApiKey.objects.get().state(timezone.now()) == ApiKey.State.REVOKED
    with pytest.raises(CommandError, match=r'There is no key "suport". Did you mean'):
        call_command("nateq_key", "revoke", "suport")
