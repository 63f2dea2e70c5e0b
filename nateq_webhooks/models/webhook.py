"""The webhook as it is set up at Nateq and here, and the secrets that verify its deliveries."""

import secrets
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import models, router
from django.db.models.signals import post_delete, post_save, pre_save
from django.dispatch import Signal, receiver
from django.urls import NoReverseMatch, get_script_prefix, get_urlconf, reverse, set_script_prefix
from django.utils import timezone, translation
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.conf import header_problem, language_code, root_urlconf, settings
from nateq_webhooks.database.encoding import storable
from nateq_webhooks.errors import SecretError, SecretUnavailableError
from nateq_webhooks.models.fields import ExactCharField, LatchField, SafeCharField, SecretField
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from nateq_webhooks.models.secret_model import SecretModel, SecretModelQuerySet
from nateq_webhooks.models.signing_keys import is_encrypted, signing_key
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.invisible_chars import visible
from nateq_webhooks.protocol.secret_text import SECRET_PREFIX, SecretText
from nateq_webhooks.protocol.signatures import DEFAULT_HEADER

configuration_changed = Signal()
"""Sent when a webhook or one of its secrets has changed in this process; `inbox.configuration` listens."""


REFRESH_SECONDS: Final = 1.0
"""How old a process's copy of the configuration may be: a webhook saved elsewhere is known there after that long."""

STALE_SECONDS: Final = 3.0
"""No request uses an older copy, unless the database can't be asked: it waits until another has read a new one."""


def generate_secret() -> str:
    """Return a new signing secret: `whsec_` and 32 random bytes as hex digits."""
    return SecretText(SECRET_PREFIX + secrets.token_hex(32))


def receiver_path(webhook_id: object, *, prefix: str = "/", language: str | None = None) -> str:
    """Return the path of the receiver in the site's own URLs: `/nateq/<uuid>/`, or `/en/nateq/<uuid>/`.

    The same in every request and every command: it begins with `prefix` instead of the current script prefix, is looked
    up in `ROOT_URLCONF`, and under `i18n_patterns` has the site's language (`LANGUAGE_CODE`) unless `language` is
    given. If `ROOT_URLCONF` has no receiver, the URLs of the current request are used. Raises `NoReverseMatch` if
    they have none either.
    """
    current_prefix = get_script_prefix()
    set_script_prefix(prefix)
    try:
        with translation.override(language or language_code()):
            try:
                return reverse(_RECEIVER, urlconf=root_urlconf(), args=[webhook_id])
            except NoReverseMatch:
                if get_urlconf() is None:
                    raise
                return reverse(_RECEIVER, args=[webhook_id])
    finally:
        set_script_prefix(current_prefix)


_RECEIVER: Final = "nateq_webhooks:receive"


class WebhookQuerySet(SecretModelQuerySet["Webhook"]):
    """Webhooks; every way to change one also sets `modified_at`, which the caches of other processes query."""

    def update(self, **kwargs: Any) -> int:
        """Update as Django does, and set `modified_at`."""
        kwargs.setdefault("modified_at", timezone.now())
        rows = super().update(**kwargs)
        configuration_changed.send(sender=self.model)
        return rows

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable["Webhook"], *args: Any, **kwargs: Any) -> list["Webhook"]:
        """Create as Django does, and invalidate the cache of this process."""
        webhooks = list(objs)
        _remember_removals(self.db, webhooks)
        created = super().bulk_create(webhooks, *args, **kwargs)
        configuration_changed.send(sender=self.model)
        return created

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def configuration(self, since: datetime | None = None) -> Iterable[tuple[Any, ...]]:
        """Return the configuration of each webhook changed since `since`, one row per secret, in one query."""
        rows = self if since is None else self.filter(modified_at__gte=since)
        return rows.values_list(
            "pk",
            "name",
            "secret",
            "events",
            "organization_id",
            "is_active",
            "signature_header",
            "registration",
            "modified_at",
            "rotation_scanned_to",
            "has_removed",
            "older_secrets__secret",
            "older_secrets__expires_at",
        )


class Webhook(SecretModel):
    """A webhook as it is set up at Nateq (Nateq: Set up): its URL is here, its secret is known to both."""

    class Registration(models.TextChoices):
        """How the webhook was set up at Nateq, and the state of that."""

        MANUAL = "manual", _("Set up by hand")
        "A person pasted the URL at Nateq and the secret here."
        PENDING = "pending", _("Being registered")
        "Being created through the API; its secret is unknown, so deliveries are answered with 503 until it is known."
        REGISTERED = "registered", _("Registered")
        "Created through the API; its id at Nateq is known."
        ROTATING = "rotating", _("Secret being rotated")
        "Registered; a new secret was requested, with unknown result. Deliveries are verified with the known secrets."

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = SafeCharField(_("name"), max_length=100, unique=True, help_text=_("Your name for it."))
    secret = SecretField(
        _("signing secret"),
        max_length=2000,
        default=generate_secret,
        help_text=_("The secret that Nateq signs with. Shown once, then never again."),
    )
    events = models.JSONField(
        _("events"),
        default=list,
        blank=True,
        help_text=_("The events subscribed to, as a list of names. Empty: all. Others are stored, but not run."),
    )
    organization_id = ExactCharField(
        _("organization"),
        max_length=200,
        blank=True,
        default="",
        help_text=_("Deliveries of another organization are refused. Empty: any."),
    )
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("When off, Nateq gets 404, and nothing is stored.")
    )
    signature_header = models.CharField(
        _("signature header"),
        max_length=100,
        blank=True,
        default="",
        help_text=_("Only if this webhook's signature comes in another header than the site's setting says."),
    )
    nateq_id = SafeCharField(_("id at Nateq"), max_length=200, blank=True, default="", editable=False)
    registration = models.CharField(
        _("registration"),
        max_length=16,
        choices=Registration,
        default=Registration.MANUAL,
        editable=False,
    )
    claim = models.CharField(max_length=200, blank=True, default="", editable=False)
    "The run that works on the registration (remote.claim): host, process and a token. Empty: none."
    claimed_until = models.DateTimeField(null=True, editable=False)
    rotation_scanned_to = models.BigIntegerField(null=True, editable=False)
    "While a rotation waits for a delivery with the new secret: the newest delivery that was scanned for one."
    has_removed = LatchField(default=False, db_default=False, editable=False)
    """Whether deliveries were removed: each new one is then looked up among `RemovedDelivery`. It is true also for a
    webhook that is deleted and created again under its id."""
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    # Indexed for WebhookQuerySet.configuration(since), which each process runs once a second.
    modified_at = models.DateTimeField(_("modified"), default=timezone.now, editable=False, db_index=True)

    objects = WebhookQuerySet.as_manager()

    class Meta:
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")
        ordering = ["name"]
        permissions = [("reveal_secret", _("Can see signing secrets and copy signed requests"))]

    def __str__(self) -> str:
        return visible(self.name)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, and set `modified_at`, which the caches of other processes query."""
        self.modified_at = timezone.now()
        if self._state.adding:
            _remember_removals(kwargs.get("using") or router.db_for_write(Webhook, instance=self), [self])
        fields = kwargs.get("update_fields")
        if fields is not None:
            kwargs["update_fields"] = {*fields, "modified_at"}
        super().save(*args, **kwargs)

    def get_absolute_url(self) -> str:
        """Return the path that Nateq posts to, on the server that answers the current request.

        Begins with that server's script prefix (`SCRIPT_NAME`). Does not depend on the active language.
        """
        return receiver_path(self.pk, prefix=get_script_prefix())

    def clean(self) -> None:
        """Refuse values with which no request could be accepted: an unusable secret, event list or header name."""
        super().clean()
        self.check_secret()
        check_storable(self, "name", "secret")
        if not isinstance(self.events, list) or not all(map(_is_event_name, self.events)):
            raise ValidationError({"events": _('Write a list of event names, such as ["ticket.created"].')})
        if self.signature_header and header_problem(self.signature_header):
            message = _("This is not the name of an HTTP header. Use letters, digits and dashes, such as %(example)s.")
            raise ValidationError({"signature_header": message % {"example": DEFAULT_HEADER}})

    @property
    def public_url(self) -> str:
        """The full URL to paste into Nateq; empty if `NATEQ_WEBHOOKS["PUBLIC_URL"]` is not set.

        The same in every request and every command: `PUBLIC_URL` includes the script prefix.
        """
        site = settings().public_url
        return site.rstrip("/") + receiver_path(self.pk) if site else ""


class SecretQuerySet(SecretModelQuerySet["Secret"]):
    """Older secrets; every way to change one also sets its webhook's `modified_at`."""

    def update(self, **kwargs: Any) -> int:
        """Update as Django does, and set `modified_at` of the webhooks."""
        alias = self._db or router.db_for_write(self.model)  # type: ignore[attr-defined]
        webhooks = set(self.using(alias).values_list("webhook_id", flat=True))
        rows = super().update(**kwargs)
        Webhook.objects.filter(pk__in=webhooks).update()
        return rows

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, *args: Any, **kwargs: Any) -> list["Secret"]:
        """Create as Django does, and set `modified_at` of the webhooks."""
        created = super().bulk_create(*args, **kwargs)
        Webhook.objects.filter(pk__in={secret.webhook_id for secret in created}).update()
        return created

    bulk_create.alters_data = True  # type: ignore[attr-defined]


class Secret(SecretModel):
    """An additional secret that a webhook accepts, for example while its secret is rotated."""

    webhook = models.ForeignKey(
        Webhook, on_delete=models.CASCADE, related_name="older_secrets", verbose_name=_("webhook")
    )
    secret = SecretField(_("signing secret"), max_length=2000)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(
        _("expires"), null=True, blank=True, help_text=_("From then on it is refused. Empty: never.")
    )
    is_retiring = models.BooleanField(default=False, editable=False)
    "Replaced by a rotation: `expires_at` is set when the first delivery with the new secret comes."

    objects = SecretQuerySet.as_manager()

    class Meta:
        verbose_name = _("signing secret")
        verbose_name_plural = _("signing secrets")
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        try:
            return signing_key(self.secret).id
        except SecretUnavailableError:
            return gettext("can't be decrypted") if is_encrypted(self.secret) else self.secret  # a variable's name
        except SecretError:
            return gettext("unusable secret")

    def clean(self) -> None:
        """Refuse an unusable secret."""
        super().clean()
        self.check_secret()
        check_storable(self, "secret")


def check_storable(instance: models.Model, *names: str) -> None:
    """Raise `ValidationError` if the database can't store a character of these fields unchanged (W045)."""
    alias = router.db_for_write(type(instance))
    for name in names:
        text = getattr(instance, name)
        if storable(text, alias) != text:
            raise ValidationError({name: _("It holds a character that this database can't store. Write it without.")})


def _is_event_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and column_text(name, len(name)) == name


@receiver([post_save, post_delete], sender=Secret, dispatch_uid="nateq_webhooks.secret_changed")
def _touch_webhook(*, instance: Secret, **kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    Webhook.objects.filter(pk=instance.webhook_id).update()


@receiver(pre_save, sender=Webhook, dispatch_uid="nateq_webhooks.webhook_saved")
def _look_for_removals(*, instance: Webhook, using: str, raw: bool, **kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    if raw:  # `loaddata` does not call `save()`, and writes what the fixture says, also over a row that is there
        _remember_removals(using, [instance])


def _remember_removals(alias: str, webhooks: Sequence[Webhook]) -> None:
    """Set `has_removed` of webhooks that are about to be written, if deliveries of the same ids were removed."""
    asked = [webhook.pk for webhook in webhooks if not webhook.has_removed]
    if asked:
        removed = RemovedDelivery.objects.using(alias).filter(webhook_id__in=asked).order_by()
        known = Webhook.objects.using(alias).filter(pk__in=asked, has_removed=True).order_by()
        found = {*removed.values_list("webhook_id", flat=True).distinct(), *known.values_list("pk", flat=True)}
        for webhook in webhooks:
            webhook.has_removed = webhook.has_removed or webhook.pk in found


@receiver(post_save, sender=RemovedDelivery, dispatch_uid="nateq_webhooks.removed_delivery_saved")
def _tell_webhook(*, instance: RemovedDelivery, using: str, **kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    """Set it for a record that `loaddata` writes; the package adds its own in bulk, and has set it before."""
    Webhook.objects.using(using).filter(pk=instance.webhook_id, has_removed=False).update(has_removed=True)


@receiver([post_save, post_delete], sender=Webhook, dispatch_uid="nateq_webhooks.webhook_changed")
def _invalidate_cache(*, sender: type[Webhook], **kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    configuration_changed.send(sender=sender)
