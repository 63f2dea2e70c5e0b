"""The webhook and its secrets: defaults, URLs, what is refused, and what a change leaves behind."""

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.test import Client, override_settings
from django.urls import NoReverseMatch, get_script_prefix, resolve, set_script_prefix, set_urlconf
from django.utils import timezone, translation
from pytest_django import Settings

from nateq_webhooks.errors import SecretError
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.models import Delivery, Rejection, Secret, Webhook
from nateq_webhooks.models.secret_model import check_secret
from nateq_webhooks.models.webhook import generate_secret
from nateq_webhooks.protocol.signatures import SigningKey
from nateq_webhooks.remote.public_urls import public_url
from tests.conftest import SECRET, Sender, envelope

pytestmark = pytest.mark.django_db

OLDER = "whsec_older_0123456789abcdef"
LONG_AGO = timezone.now() - timedelta(days=365)


def modified_at(webhook: Webhook) -> Any:
    return Webhook.objects.values_list("modified_at", flat=True).get(pk=webhook.pk)


@pytest.fixture
def unchanged(webhook: Webhook) -> Webhook:
    """A webhook whose last change was a year ago."""
    Webhook.objects.filter(pk=webhook.pk).update(modified_at=LONG_AGO)
    webhook.refresh_from_db()
    return webhook


# Defaults


def test_a_webhook_needs_only_a_name() -> None:
    webhook = Webhook.objects.create(name="shop")
    webhook.refresh_from_db()

    assert isinstance(webhook.pk, uuid.UUID)
    assert webhook.pk.version == 4
    assert webhook.events == []
    assert webhook.organization_id == ""
    assert webhook.is_active is True
    assert webhook.signature_header == ""
    assert webhook.nateq_id == ""
    assert webhook.registration == Webhook.Registration.MANUAL
    assert abs(timezone.now() - webhook.created_at) < timedelta(minutes=1)
    assert not webhook.older_secrets.exists()
    webhook.full_clean()


def test_a_generated_secret_is_the_prefix_and_32_random_bytes() -> None:
    secrets = {Webhook.objects.create(name=f"shop {number}").secret for number in range(5)}
    secrets |= {generate_secret() for _ in range(100)}

    assert len(secrets) == 105
    for secret in secrets:
        assert re.fullmatch("whsec_[0-9a-f]{64}", secret)
        assert len(bytes.fromhex(secret.removeprefix("whsec_"))) == 32


def test_a_generated_secret_verifies_in_either_encoding() -> None:
    secret = generate_secret()

    assert SigningKey.of(secret, "utf-8").key == secret.encode()
    assert len(SigningKey.of(secret, "base64").key) >= 32


def test_two_webhooks_share_no_list_of_events() -> None:
    one, other = Webhook(name="one"), Webhook(name="other")

    one.events.append("ticket.created")

    assert other.events == []


def test_a_name_is_unique() -> None:
    Webhook.objects.create(name="shop")

    with pytest.raises(IntegrityError), transaction.atomic():
        Webhook.objects.create(name="shop")


def test_webhooks_are_ordered_by_name_and_their_text_is_the_name() -> None:
    for name in ("support", "crm", "shop"):
        Webhook.objects.create(name=name)

    assert [str(webhook) for webhook in Webhook.objects.all()] == ["crm", "shop", "support"]


def test_no_text_about_a_webhook_shows_its_secret(webhook: Webhook) -> None:
    older = Secret.objects.create(webhook=webhook, secret=OLDER)

    for text in (str(webhook), repr(webhook), f"{webhook}", str(older), repr(older), f"{older}"):
        assert SECRET not in text
        assert "whsec_" not in text


# URLs


def test_the_absolute_url_is_the_path_that_nateq_posts_to(webhook: Webhook) -> None:
    url = webhook.get_absolute_url()

    assert url == f"/nateq/{webhook.pk}/"
    assert resolve(url).view_name == "nateq_webhooks:receive"
    assert Client().post(url).status_code == 401


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("https://shop.example", "https://shop.example/nateq/{pk}/"),
        ("https://shop.example/", "https://shop.example/nateq/{pk}/"),
        ("http://localhost:8000", "http://localhost:8000/nateq/{pk}/"),
        ("https://shop.example/app/", "https://shop.example/app/nateq/{pk}/"),
        ("", ""),
    ],
)
def test_the_public_url_is_the_sites_address_and_the_path(webhook: Webhook, site: str, expected: str) -> None:
    with override_settings(NATEQ_WEBHOOKS={"PUBLIC_URL": site}):
        assert webhook.public_url == expected.format(pk=webhook.pk)


@override_settings(NATEQ_WEBHOOKS={})
def test_without_the_sites_address_there_is_no_public_url(webhook: Webhook) -> None:
    assert webhook.public_url == ""


class TestOneUrlEverywhere:
    """A web process and a command build the same URL, whatever the server's prefix and the reader's language are."""

    @pytest.fixture(autouse=True)
    def _as_before(self) -> Iterator[None]:
        yield
        set_script_prefix("/")
        set_urlconf(None)
        translation.deactivate()

    @pytest.mark.parametrize("prefix", ["/", "/app/", "/a b/"])
    @pytest.mark.parametrize("language", ["en", "ar", None])
    @pytest.mark.parametrize("urls", ["tests.urls", "tests.urls_of_languages", "tests.urls_of_the_default_language"])
    def test_it_depends_on_neither_script_prefix_nor_language(
        self, webhook: Webhook, settings: Settings, prefix: str, language: str | None, urls: str
    ) -> None:
        settings.ROOT_URLCONF = urls
        settings.NATEQ_WEBHOOKS = {"PUBLIC_URL": "https://shop.example/app"}
        of_a_command = webhook.public_url
        set_script_prefix(prefix)

        with translation.override(language):
            assert webhook.public_url == of_a_command
            assert get_script_prefix() == prefix
            assert translation.get_language() == language

        start = "/en" if urls == "tests.urls_of_languages" else ""
        assert of_a_command == f"https://shop.example/app{start}/nateq/{webhook.pk}/"

    @pytest.mark.parametrize("language", ["en", "ar"])
    def test_the_public_url_leads_to_the_receiver_view(
        self, webhook: Webhook, settings: Settings, language: str
    ) -> None:
        settings.ROOT_URLCONF = "tests.urls_of_languages"
        settings.MIDDLEWARE = ["django.middleware.locale.LocaleMiddleware", *settings.MIDDLEWARE]
        path = webhook.public_url.removeprefix("https://shop.example")

        answers = [Client().post(url, headers={"Accept-Language": language}) for url in (path, path.rstrip("/"))]

        assert [answer.status_code for answer in answers] == [401, 401]

    def test_the_admin_in_another_language_and_the_command_show_the_same(
        self, webhook: Webhook, settings: Settings, admin_client: Client
    ) -> None:
        settings.ROOT_URLCONF = "tests.urls_of_languages"
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
        settings.NATEQ_WEBHOOKS = {"PUBLIC_URL": "https://shop.example/app"}

        page = admin_client.get(f"/ar/admin/nateq_webhooks/webhook/{webhook.pk}/change/", SCRIPT_NAME="/app")

        assert f"https://shop.example/app/en/nateq/{webhook.pk}/" in page.content.decode()
        assert public_url(webhook) == f"https://shop.example/app/en/nateq/{webhook.pk}/"

    def test_the_path_on_this_server_has_its_script_prefix(self, webhook: Webhook) -> None:
        set_script_prefix("/the app/")

        assert webhook.get_absolute_url() == f"/the%20app/nateq/{webhook.pk}/"

    def test_the_urls_of_a_request_are_used_only_if_those_of_the_site_have_no_receiver_view(
        self, webhook: Webhook, settings: Settings
    ) -> None:
        set_urlconf("tests.urls_of_languages")
        assert webhook.public_url == f"https://shop.example/nateq/{webhook.pk}/"

        settings.ROOT_URLCONF = "tests.urls_without_a_receiver"
        set_urlconf("tests.urls_of_languages")
        assert webhook.public_url == f"https://shop.example/en/nateq/{webhook.pk}/"

        set_urlconf(None)
        with pytest.raises(NoReverseMatch):
            _ = webhook.public_url


# Deleting


def test_a_webhook_with_deliveries_can_be_deactivated_but_not_deleted(sender: Sender) -> None:
    sender.post(envelope())
    webhook = sender.webhook

    with pytest.raises(ProtectedError):
        webhook.delete()
    with pytest.raises(ProtectedError):
        Webhook.objects.all().delete()
    assert Delivery.objects.get().webhook == webhook

    webhook.is_active = False
    webhook.save()

    assert sender.post(envelope(delivery_id="dlv_2")).status_code == 404
    assert Delivery.objects.count() == 1


def test_a_webhook_without_deliveries_can_be_deleted_with_its_secrets(webhook: Webhook) -> None:
    Secret.objects.create(webhook=webhook, secret=OLDER)

    webhook.delete()

    assert not Webhook.objects.exists()
    assert not Secret.objects.exists()


# What is refused


@pytest.mark.parametrize("events", [[], ["ticket.created"], ["ticket.created", "unknown.today"]])
def test_a_list_of_event_names_is_valid(events: list[str]) -> None:
    Webhook(name="shop", events=events).full_clean()


@pytest.mark.parametrize(
    "events", ["ticket.created", {"ticket.created": True}, [""], [7], [None], ["ticket.created", ["x"]], 7, True]
)
def test_events_other_than_a_list_of_names_are_refused(events: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Webhook(name="shop", events=events).full_clean()

    assert set(caught.value.message_dict) == {"events"}
    assert "ticket.created" in caught.value.message_dict["events"][0]


def test_an_empty_secret_is_refused() -> None:
    for made in (Webhook(name="shop", secret=""), Secret(secret="")):
        with pytest.raises(ValidationError) as caught:
            made.clean()
        assert set(caught.value.message_dict) == {"secret"}
        assert "empty" in caught.value.message_dict["secret"][0]


def test_a_secret_that_is_not_in_the_sites_encoding_is_refused_without_being_shown() -> None:
    for made in (
        Webhook(name="shop", secret="whsec_!private!_not_base64"),
        Secret(secret="whsec_!private!_not_base64"),
    ):
        made.clean()
        with override_settings(NATEQ_WEBHOOKS={"SECRET_ENCODING": "base64"}):
            with pytest.raises(ValidationError) as caught:
                made.clean()
            assert "SECRET_ENCODING" in str(caught.value)
            assert "private" not in str(caught.value)
            assert "private" not in repr(caught.value.__cause__)


def test_a_usable_secret_is_valid() -> None:
    check_secret("whsec_x_0123456789abcdef")
    with override_settings(NATEQ_WEBHOOKS={"SECRET_ENCODING": "base64"}):
        check_secret("whsec_c2l4dGVlbiBieXRlcyBvciBtb3Jl")


@pytest.mark.parametrize("header", ["X Nateq", "X-Nateq-Signature:", "X_Nateq", "é", "-", "X-A\r\nB"])
def test_a_signature_header_that_no_request_can_have_is_refused(header: str) -> None:
    """Otherwise every request would be refused without a visible cause."""
    with pytest.raises(ValidationError) as caught:
        Webhook(name="shop", signature_header=header).full_clean()

    assert set(caught.value.message_dict) == {"signature_header"}


@pytest.mark.parametrize("header", ["", "X-Nateq-Signature", "x-hub-signature-256"])
def test_a_signature_header_that_a_request_can_have_is_valid(header: str) -> None:
    Webhook(name="shop", signature_header=header).full_clean()


# Too short to prove anything

SHORT = ["whsec_", "a", "\u200b" * 20, " \u00a0", "whsec_0123456789abcde", "whsec_whsec_whsec_"]


def stored(webhook: Webhook, secret: str) -> Webhook:
    """Store a secret by SQL, as an older version or another program may have."""
    table = connection.ops.quote_name(Webhook._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET secret = %s", [secret])  # the only row
    webhook.refresh_from_db()
    cache.invalidate()
    return webhook


@pytest.mark.parametrize("secret", SHORT, ids=ascii)
def test_a_short_secret_is_refused_by_validation(secret: str) -> None:
    for made in (Webhook(name="shop", secret=secret), Secret(secret=secret)):
        with pytest.raises(ValidationError, match="too short") as caught:
            made.full_clean(exclude=["webhook"])
        assert "secret" in caught.value.message_dict


@pytest.mark.parametrize("secret", SHORT, ids=ascii)
def test_no_way_of_writing_stores_a_short_secret(webhook: Webhook, secret: str) -> None:
    def saved() -> None:
        webhook.secret = secret
        webhook.save(update_fields=["secret"])

    ways: list[Callable[[], object]] = [
        saved,
        lambda: Webhook.objects.create(name="other", secret=secret),
        lambda: Webhook.objects.get_or_create(name="other", defaults={"secret": secret}),
        lambda: Webhook.objects.update_or_create(name="shop", defaults={"secret": secret}),
        lambda: Webhook.objects.bulk_create([Webhook(name="other", secret=secret)]),
        lambda: Webhook.objects.filter(pk=webhook.pk).update(secret=secret),
        lambda: Webhook.objects.bulk_update([Webhook(pk=webhook.pk, secret=secret)], ["secret"]),
        lambda: Secret.objects.create(webhook=webhook, secret=secret),
        lambda: webhook.older_secrets.create(secret=secret),
        lambda: Secret.objects.bulk_create([Secret(webhook=webhook, secret=secret)]),
    ]
    for way in ways:
        with pytest.raises(SecretError, match="too short"):
            way()
    assert Webhook.objects.get().secret == SECRET
    assert not Secret.objects.exists()


@pytest.mark.parametrize("secret", SHORT, ids=ascii)
def test_a_stored_short_secret_verifies_nothing_and_can_be_replaced(
    sender: Sender, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    webhook = stored(sender.webhook, secret)

    assert sender.post(envelope(), secret=secret).status_code == 401
    recorder.flush()
    assert Rejection.objects.get().reason == "no_secret"
    assert not Delivery.objects.exists()
    assert "too short" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    webhook.organization_id = "org_9"
    webhook.save()
    webhook.secret = SECRET
    webhook.save()
    assert sender.post(envelope(organization_id="org_9")).status_code == 200


def test_an_older_secret_that_is_short_verifies_nothing(sender: Sender) -> None:
    older = Secret.objects.create(webhook=sender.webhook, secret=OLDER)
    table = connection.ops.quote_name(Secret._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET secret = 'whsec_'")
    cache.invalidate()
    older.refresh_from_db()

    assert sender.post(envelope(), secret="whsec_").status_code == 401
    assert sender.post(envelope()).status_code == 200
    assert str(older) == "unusable secret"


# Several secrets


def test_a_delivery_signed_with_any_live_secret_is_stored_with_the_id_of_that_secret(sender: Sender) -> None:
    older = Secret.objects.create(webhook=sender.webhook, secret=OLDER)
    a_second_ago = timezone.now() - timedelta(seconds=1)
    expired = Secret.objects.create(
        webhook=sender.webhook, secret="whsec_expired_0123456789abcdef", expires_at=a_second_ago
    )

    answers = [
        sender.post(envelope(delivery_id=secret), secret=secret).status_code
        for secret in (SECRET, OLDER, expired.secret)
    ]

    assert answers == [200, 200, 401]
    assert str(older) == SigningKey.of(OLDER).id
    assert dict(Delivery.objects.values_list("delivery_id", "secret_id")) == {
        SECRET: SigningKey.of(SECRET).id,
        OLDER: str(older),
    }


def test_the_text_of_an_unusable_secret_says_so() -> None:
    assert str(Secret(secret="")) == "unusable secret"
    with override_settings(NATEQ_WEBHOOKS={"SECRET_ENCODING": "base64"}):
        assert str(Secret(secret="whsec_!private!_not_base64")) == "unusable secret"


def test_the_newest_secret_is_listed_first(webhook: Webhook) -> None:
    for days in (2, 1, 3):
        Secret.objects.create(
            webhook=webhook, secret=f"whsec_{days}_0123456789abcdef", created_at=timezone.now() - timedelta(days=days)
        )

    assert [secret.secret for secret in webhook.older_secrets.all()] == [
        "whsec_1_0123456789abcdef",
        "whsec_2_0123456789abcdef",
        "whsec_3_0123456789abcdef",
    ]


# What a change leaves behind


def test_saving_some_fields_moves_modified_at_too_and_leaves_the_others(unchanged: Webhook) -> None:
    unchanged.name = "changed"
    unchanged.organization_id = "org_9"
    unchanged.save(update_fields=["organization_id"])

    assert modified_at(unchanged) > LONG_AGO + timedelta(days=1)
    unchanged.refresh_from_db()
    assert (unchanged.name, unchanged.organization_id) == ("shop", "org_9")


@pytest.mark.parametrize(
    "change", [{"is_active": False}, {"secret": "whsec_new_0123456789abcdef"}, {"events": ["ticket.created"]}]
)
def test_updating_by_queryset_moves_modified_at(unchanged: Webhook, change: dict[str, Any]) -> None:
    assert Webhook.objects.filter(pk=unchanged.pk).update(**change) == 1

    assert modified_at(unchanged) > LONG_AGO + timedelta(days=1)
    unchanged.refresh_from_db()
    assert {name: getattr(unchanged, name) for name in change} == change


CHANGES: dict[str, Callable[[Webhook], object]] = {
    "save": lambda webhook: webhook.save(),
    "bulk_update": lambda webhook: Webhook.objects.bulk_update([webhook], ["organization_id"]),
    "update": lambda webhook: Webhook.objects.filter(pk=webhook.pk).update(is_active=False),
    "create a secret": lambda webhook: webhook.older_secrets.create(secret="whsec_new_0123456789abcdef"),
    "save a secret": lambda webhook: webhook.older_secrets.get().save(),
    "delete a secret": lambda webhook: webhook.older_secrets.get().delete(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_moves_modified_at_of_its_webhook_only(webhook: Webhook, change: Callable[[Webhook], object]) -> None:
    other = Webhook.objects.create(name="other")
    Secret.objects.create(webhook=webhook, secret=OLDER)
    Webhook.objects.update(modified_at=LONG_AGO)

    change(webhook)

    assert modified_at(webhook) > LONG_AGO + timedelta(days=1)
    assert modified_at(other) == LONG_AGO


def test_a_chosen_modified_at_is_kept_by_update(webhook: Webhook) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(modified_at=LONG_AGO)

    assert modified_at(webhook) == LONG_AGO


def test_a_template_can_change_no_webhook() -> None:
    """Django's own `update` is barred from templates; ours must be, too."""
    assert getattr(Webhook.objects.all().update, "alters_data", False) is True
