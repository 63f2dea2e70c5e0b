"""`manage.py nateq_secrets`: counts, conversions, and what happens when it is killed or others write meanwhile."""

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from django.test import override_settings
from django.utils import timezone

from nateq_webhooks import stored_secrets
from nateq_webhooks.database.encryption import decrypt, encrypt
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.models import AuditEntry, Secret, Webhook
from nateq_webhooks.models.unredacted_body import UnredactedBody
from nateq_webhooks.models.webhook import generate_secret
from tests.builders import store_deliveries
from tests.conftest import SECRET
from tests.encryption import NEW_KEY, OLD_KEY, columns, keys, store_as, without_the_extra

pytest.importorskip("cryptography")

OTHER = "whsec_other_0123456789abcdef"
BODY = b'{"event": "user.created"}'


def run(*arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("nateq_secrets", *arguments, stdout=out, **options)
    return out.getvalue()


def numbers(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


@pytest.fixture
def webhook(db: None) -> Webhook:
    """A webhook with an older secret, both of before the extra was installed."""
    webhook = Webhook.objects.create(name="shop", secret=SECRET)
    store_as(Secret.objects.create(webhook=webhook, secret=OTHER), OTHER)
    store_as(webhook, SECRET)
    return webhook


def secrets() -> list[str]:
    return [Webhook.objects.get(name="shop").secret, Secret.objects.get().secret]


def test_it_encrypts_plain_text_of_before(webhook: Webhook) -> None:
    Webhook.objects.create(name="second", secret="env:NATEQ_SECOND")
    Webhook.objects.create(name="third", secret="")
    assert numbers()["webhooks"] | {} == {
        "newest_key": 0,
        "older_key": 0,
        "plain": 1,
        "unreadable": 0,
        "reference": 1,
    }
    assert "1 in plain text" in run("status")

    assert numbers("rotate-key", "--dry-run") == {"dry_run": True, "converted": 2, "unchanged": 1, "unreadable": 0}
    assert OTHER in columns()
    assert numbers("rotate-key") == {"dry_run": False, "converted": 2, "unchanged": 1, "unreadable": 0}
    assert not {SECRET, OTHER} & set(columns())
    assert {"", "env:NATEQ_SECOND"} < set(columns())
    assert secrets() == [SECRET, OTHER]
    assert numbers("rotate-key") == {"dry_run": False, "converted": 0, "unchanged": 3, "unreadable": 0}


def test_it_moves_from_any_key_to_the_newest(webhook: Webhook) -> None:
    run("rotate-key")
    with keys(OLD_KEY):
        assert numbers("rotate-key")["converted"] == 2
    with keys(NEW_KEY, OLD_KEY):
        assert numbers("status")["older_secrets"]["older_key"] == 1
        assert numbers("rotate-key")["converted"] == 2
    with keys(NEW_KEY), override_settings(SECRET_KEY="another"):
        assert secrets() == [SECRET, OTHER]


def test_it_follows_a_change_of_djangos_key(webhook: Webhook) -> None:
    with override_settings(SECRET_KEY="first"):
        run("rotate-key")
    with override_settings(SECRET_KEY="second", SECRET_KEY_FALLBACKS=["first"]):
        assert numbers("rotate-key")["converted"] == 2
    with override_settings(SECRET_KEY="second"):
        assert secrets() == [SECRET, OTHER]


def test_what_no_key_decrypts_stays_and_is_reported(webhook: Webhook) -> None:
    with keys(OLD_KEY):
        webhook.save()
    with keys(NEW_KEY):
        before = columns(Webhook)
        with pytest.raises(CommandError, match=r"1 value can't be decrypted.*SECRET_KEYS, after the new one"):
            run("rotate-key")
        assert columns(Webhook) == before
        assert columns(Secret) != [OTHER]
    with keys(NEW_KEY, OLD_KEY):
        run("rotate-key")
    with keys(NEW_KEY):
        assert secrets() == [SECRET, OTHER]


@pytest.mark.parametrize("arguments", [(), ("status",), ("status", "--json")])
def test_a_count_with_values_that_no_key_decrypts_ends_with_an_error(
    webhook: Webhook, arguments: tuple[str, ...]
) -> None:
    with keys(OLD_KEY):
        webhook.save()
    with keys(NEW_KEY), pytest.raises(CommandError, match="1 value can't be decrypted"):
        run(*arguments)
    with without_the_extra(), pytest.raises(CommandError, match="not installed"):
        run(*arguments)


def test_it_goes_back_to_plain_text(webhook: Webhook) -> None:
    run("rotate-key")
    assert numbers("rotate-key", "--decrypt", "--dry-run")["converted"] == 2
    assert OTHER not in columns()
    assert "2 values were decrypted" in run("rotate-key", "--decrypt", "--no-input")
    assert sorted(columns()) == sorted([SECRET, OTHER])
    with without_the_extra():
        assert secrets() == [SECRET, OTHER]


def test_it_asks_before_it_decrypts(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    run("rotate-key")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    with pytest.raises(CommandError, match="Nothing was changed"):
        run("rotate-key", "--decrypt")
    assert OTHER not in columns()


def test_without_the_extra_it_says_what_to_install(webhook: Webhook) -> None:
    with without_the_extra():
        with pytest.raises(CommandError, match="nateq-webhooks"):
            run("rotate-key")
        assert numbers("status")["webhooks"]["plain"] == 1


def test_bodies_are_converted_too(webhook: Webhook) -> None:
    [delivery] = store_deliveries(webhook)
    with keys(OLD_KEY):
        UnredactedBody.objects.create(delivery=delivery, body=encrypt(BODY))
    with keys(NEW_KEY, OLD_KEY):
        assert numbers("rotate-key")["converted"] == 3
    with keys(NEW_KEY):
        assert decrypt(UnredactedBody.objects.get().body) == BODY
        assert numbers("status")["unredacted_bodies"]["newest_key"] == 1
        run("rotate-key", "--decrypt", "--no-input")
        assert UnredactedBody.objects.get().body == BODY


def test_other_processes_need_not_read_the_same_secrets_again(webhook: Webhook) -> None:
    """With thousands of webhooks each process would do so once a second, in a request."""
    long_ago = timezone.now() - timedelta(days=9)
    Webhook.objects.update(modified_at=long_ago)
    run("rotate-key")
    assert Webhook.objects.get().modified_at == long_ago


def test_only_the_text_that_was_read_is_replaced(webhook: Webhook) -> None:
    """The usual collation of MariaDB ignores case."""
    assert not Webhook.objects.replace_stored(webhook.pk, SECRET.upper(), "fernet:x")
    assert not Secret.objects.replace_stored(Secret.objects.get().pk, OTHER.title(), "fernet:x")
    assert sorted(columns()) == sorted([SECRET, OTHER])


def test_the_audit_log_has_the_numbers(webhook: Webhook) -> None:
    run("rotate-key", "--dry-run")
    assert not AuditEntry.objects.exists()
    run("rotate-key")
    run("rotate-key")
    run("rotate-key", "--decrypt", "--no-input")
    entries = AuditEntry.objects.order_by("pk")
    assert [entry.action for entry in entries] == ["keys_rotated"] * 2
    assert [entry.details["to_plain_text"] for entry in entries] == [False, True]
    assert entries[0].details["converted"] == 2


def test_it_continues_after_it_was_killed(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    Webhook.objects.bulk_create([Webhook(name=str(number), secret=generate_secret()) for number in range(20)])
    run("rotate-key", "--decrypt", "--no-input")
    before = sorted(columns())
    original, calls = retry_transaction, []

    def killed(work: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return original(work, **options)

    monkeypatch.setattr("nateq_webhooks.stored_secrets.retry_transaction", killed)
    with pytest.raises(KeyboardInterrupt):
        run("rotate-key")
    assert len(set(columns()) & set(before)) == 15
    assert numbers("rotate-key")["converted"] == 15
    everything = [*Webhook.objects.values_list("secret", flat=True), *Secret.objects.values_list("secret", flat=True)]
    assert sorted(everything) == before


def test_a_secret_that_changes_meanwhile_is_not_overwritten(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    original = retry_transaction
    new = generate_secret()

    def beside(work: Any, **options: Any) -> Any:
        Webhook.objects.update(secret=new)
        return original(work, **options)

    monkeypatch.setattr("nateq_webhooks.stored_secrets.retry_transaction", beside)
    run("rotate-key")
    assert secrets()[0] == new


def test_a_row_that_goes_meanwhile_is_no_error(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    original = retry_transaction

    def beside(work: Any, **options: Any) -> Any:
        Webhook.objects.all().delete()
        return original(work, **options)

    monkeypatch.setattr("nateq_webhooks.stored_secrets.retry_transaction", beside)
    run("rotate-key")


def test_a_failing_database_is_said_so_without_a_secret(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(work: Any, **options: Any) -> Any:
        raise OperationalError(f"row contains ({SECRET})")

    monkeypatch.setattr("nateq_webhooks.stored_secrets.retry_transaction", failing)
    with pytest.raises(CommandError, match=r"OperationalError.*continues") as caught:
        run("rotate-key")
    assert SECRET not in str(caught.value)


def test_many_rows_are_read_in_parts(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_secrets, "ROWS_READ", 3)
    Webhook.objects.bulk_create([Webhook(name=str(number), secret=generate_secret()) for number in range(9)])
    assert numbers("rotate-key") == {"dry_run": False, "converted": 2, "unchanged": 9, "unreadable": 0}
