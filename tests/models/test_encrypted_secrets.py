"""Signing secrets in the database: encrypted, in plain text of before, or the name of an environment variable."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.core.exceptions import FieldError, ImproperlyConfigured, ValidationError
from django.db import transaction
from django.test import Client, override_settings
from django.urls import reverse

from nateq_webhooks.errors import SecretError, SecretUnavailableError
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.models.signing_keys import signing_key
from nateq_webhooks.models.webhook import generate_secret
from nateq_webhooks.protocol.signatures import SigningKey, sign
from tests.conftest import SECRET
from tests.encryption import NEW_KEY, OLD_KEY, columns, keys, store_as, without_the_extra

pytest.importorskip("cryptography")

OTHER = "whsec_other_0123456789abcdef"


@pytest.fixture
def webhook(db: None) -> Webhook:
    return Webhook.objects.create(name="shop", secret=SECRET)


def read(row: Any) -> Any:
    return type(row).objects.get(pk=row.pk)


def changed(webhook: Webhook) -> Webhook:
    webhook.secret = OTHER
    return webhook


WAYS: dict[str, Any] = {
    "save": lambda webhook: changed(webhook).save(),
    "update": lambda webhook: Webhook.objects.filter(pk=webhook.pk).update(secret=OTHER),
    "bulk_update": lambda webhook: Webhook.objects.bulk_update([changed(webhook)], ["secret"]),
    "create": lambda webhook: Secret.objects.create(webhook=webhook, secret=OTHER),
    "bulk_create": lambda webhook: Secret.objects.bulk_create([Secret(webhook=webhook, secret=OTHER)]),
    "get_or_create": lambda webhook: Webhook.objects.get_or_create(name="second", defaults={"secret": OTHER}),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_encrypts(webhook: Webhook, way: str) -> None:
    WAYS[way](webhook)

    stored = columns()
    assert all(text.startswith("fernet:") for text in stored)
    assert not any(SECRET in text or OTHER in text for text in stored)
    secrets = [*Webhook.objects.all(), *Secret.objects.all()]
    assert OTHER in [row.secret for row in secrets]


def test_a_plain_secret_of_before_is_read_and_encrypted_when_it_is_saved(webhook: Webhook) -> None:
    store_as(webhook, SECRET)
    assert columns() == [SECRET]

    row = read(webhook)
    assert row.secret == SECRET
    assert list(Webhook.objects.values_list("secret", flat=True)) == [SECRET]
    row.save()
    assert columns() != [SECRET]
    assert read(webhook).secret == SECRET


def test_the_longest_secret_fits_into_the_column(webhook: Webhook) -> None:
    longest = "whsec_" + "\U0001f511" * 249
    webhook.secret = longest
    webhook.full_clean()
    webhook.save()
    assert len(columns()[0]) <= 2000
    assert read(webhook).secret == longest

    for row in (webhook, Secret(webhook=webhook)):
        row.secret = longest + "x"
        with pytest.raises(ValidationError, match="255 characters"):
            row.full_clean()
        with pytest.raises(SecretError, match="255 characters"):
            row.save()
    with pytest.raises(SecretError, match="255 characters"):
        Webhook.objects.update(secret=longest + "x")


def test_without_the_extra_secrets_are_stored_as_before(db: None) -> None:
    with without_the_extra():
        webhook = Webhook.objects.create(name="shop", secret=SECRET)
        assert columns() == [SECRET]
        assert read(webhook).secret == SECRET


def test_keys_without_the_extra_write_nothing(webhook: Webhook) -> None:
    with keys(NEW_KEY), without_the_extra(), pytest.raises(ImproperlyConfigured, match="encryption"):
        Webhook.objects.filter(pk=webhook.pk).update(secret=OTHER)


def test_no_query_finds_a_secret_by_its_value(webhook: Webhook) -> None:
    for lookup in ({"secret": SECRET}, {"secret__startswith": "w"}, {"secret__in": [SECRET]}, {"secret__lower": "w"}):
        with pytest.raises(FieldError) as caught:
            Webhook.objects.filter(**lookup)
        assert SECRET not in str(caught.value)
    assert not Webhook.objects.filter(secret="").exists()
    assert Webhook.objects.exclude(secret="").exists()
    assert Webhook.objects.filter(secret__isnull=False).exists()


def test_a_secret_that_no_key_decrypts_stays_as_it_is(webhook: Webhook) -> None:
    with keys(OLD_KEY):
        webhook.save()
    before = columns()
    with keys(NEW_KEY):
        row = read(webhook)
        row.name = "renamed"
        row.full_clean()
        row.save()
        assert columns() == before
        with pytest.raises(SecretUnavailableError, match="SECRET_KEYS"):
            signing_key(row.secret)
        with pytest.raises(SecretError):
            SigningKey.of(row.secret)
        with pytest.raises(SecretError):
            sign(b"{}", row.secret)
        assert str(Secret(secret=row.secret)) == "can't be decrypted"
    with keys(NEW_KEY, OLD_KEY):
        assert read(webhook).secret == SECRET


def test_nobody_enters_a_secret_in_its_stored_form(webhook: Webhook) -> None:
    """Else who has a dump of the database could have the site sign with another webhook's secret."""
    for text in (columns()[0], "fernet:0123456789abcdef"):
        with pytest.raises(ValidationError, match="No signing secret starts with"):
            Webhook(name="second", secret=text).full_clean()


def test_a_dump_has_the_encrypted_secret_and_can_be_loaded(webhook: Webhook) -> None:
    Secret.objects.create(webhook=webhook, secret=OTHER)
    for form in ("json", "xml"):
        dump = serializers.serialize(form, [*Webhook.objects.all(), *Secret.objects.all()])
        assert SECRET not in dump
        assert OTHER not in dump
        with transaction.atomic():
            Webhook.objects.all().delete()
        for each in serializers.deserialize(form, dump):
            each.save()
        assert read(webhook).secret == SECRET
        assert Secret.objects.get().secret == OTHER
        assert all(text.startswith("fernet:") for text in columns())


def test_a_dump_without_the_extra_has_no_secret(db: None) -> None:
    with without_the_extra():
        Webhook.objects.create(name="shop", secret=SECRET)
        Webhook.objects.create(name="second", secret="env:NATEQ_SECOND")
        dump = serializers.serialize("json", Webhook.objects.all())
        assert SECRET not in dump
        assert "env:NATEQ_SECOND" in dump
        loaded: dict[str, Any] = {str(each.object): each.object for each in serializers.deserialize("json", dump)}
        assert loaded["shop"].secret == ""


# References


def test_a_reference_is_stored_and_its_variable_read(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATEQ_SHOP", SECRET)
    webhook.secret = "env:NATEQ_SHOP"
    webhook.full_clean()
    webhook.save()

    assert columns() == ["env:NATEQ_SHOP"]
    assert signing_key(read(webhook).secret) == SigningKey.of(SECRET)
    assert str(Secret(secret=webhook.secret)) == SigningKey.of(SECRET).id
    monkeypatch.setenv("NATEQ_SHOP", OTHER)
    assert signing_key(webhook.secret) == SigningKey.of(OTHER)


def test_a_reference_to_a_file_reads_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    monkeypatch.setenv("NATEQ_SHOP_FILE", str(file))
    assert signing_key("env:NATEQ_SHOP") == SigningKey.of(SECRET)
    file.write_text(OTHER)
    assert signing_key("env:NATEQ_SHOP") == SigningKey.of(OTHER)
    for broken in (tmp_path / "missing", tmp_path):
        monkeypatch.setenv("NATEQ_SHOP_FILE", str(broken))
        with pytest.raises(SecretUnavailableError, match="NATEQ_SHOP_FILE"):
            signing_key("env:NATEQ_SHOP")


@pytest.mark.parametrize("value", [f"{SECRET}\n", f" {SECRET}\r\n", f"\t{SECRET} "])
def test_white_space_around_the_value_of_a_variable_does_not_count(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NATEQ_SHOP", value)
    assert signing_key("env:NATEQ_SHOP") == SigningKey.of(SECRET)


@pytest.mark.parametrize(
    "secret", ["ENV:NATEQ_SHOP_SECRET_NAME", "Env:NATEQ_SHOP_SECRET_NAME", " env:NATEQ_SHOP_SECRET"]
)
def test_what_looks_like_a_reference_is_not_taken_for_the_secret_itself(webhook: Webhook, secret: str) -> None:
    webhook.secret = secret

    with pytest.raises(SecretError, match="env:NATEQ_SECRET"):
        webhook.save()
    with pytest.raises(ValidationError, match="env:NATEQ_SECRET"):
        webhook.full_clean()


def test_a_value_that_starts_with_a_dollar_sign_is_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATEQ_SHOP", "$ecret_0123456789abcdef")
    assert signing_key("env:NATEQ_SHOP") == SigningKey.of("$ecret_0123456789abcdef")


@pytest.mark.parametrize("value", [None, "", "short", "env:NATEQ_SHOP", "env:PATH", "fernet:0123456789abcdef"])
def test_a_variable_without_a_usable_secret_is_named(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("NATEQ_SHOP", value)
    webhook.secret = "env:NATEQ_SHOP"
    with pytest.raises(SecretUnavailableError, match="NATEQ_SHOP"):
        signing_key(webhook.secret)
    with pytest.raises(ValidationError, match="NATEQ_SHOP"):
        webhook.full_clean()
    webhook.save()  # the variable may be set later
    read(webhook).full_clean()
    assert str(Secret(secret=webhook.secret)) == "env:NATEQ_SHOP"


@pytest.mark.parametrize("text", ["env:", "env:A B", "env:1A", "env:$A", "env:A\n", "env:é", "env:" + "A" * 201])
def test_what_is_no_name_of_a_variable_is_refused(webhook: Webhook, text: str) -> None:
    webhook.secret = text
    with pytest.raises(ValidationError, match="name of an environment variable"):
        webhook.full_clean()
    with pytest.raises(SecretError):
        webhook.save()


def test_a_generated_secret_never_looks_like_a_stored_form() -> None:
    assert generate_secret().startswith("whsec_")


@pytest.mark.parametrize("extra", [True, False], ids=["wrong key", "without the extra"])
def test_an_error_page_shows_no_key(webhook: Webhook, admin_client: Client, extra: bool) -> None:
    address = reverse("admin:nateq_webhooks_webhook_change", args=[webhook.pk])
    form = {"name": "shop", "older_secrets-TOTAL_FORMS": "0", "older_secrets-INITIAL_FORMS": "0", "new_secret": OTHER}
    admin_client.raise_request_exception = False
    with keys(NEW_KEY), override_settings(DEBUG=True), nullcontext() if extra else without_the_extra():
        answers = [admin_client.get(address), admin_client.post(address, form)]
    assert [answer.status_code for answer in answers] == [200, 302 if extra else 503]
    for answer in answers:
        page = answer.content.decode()
        assert not [text for text in (NEW_KEY, SECRET, OTHER, "tests only") if text in page]
