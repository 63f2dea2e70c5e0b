"""The key of a program that uses this site's API. Only its hash is stored, so a copy of the database opens nothing."""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from nateq_webhooks.models.fields import ExactCharField, SafeCharField
from nateq_webhooks.protocol.api import LIMIT_PER_MINUTE, LIVE_KEY_PREFIX, Scope
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.invisible_chars import visible
from nateq_webhooks.protocol.networks import is_in, network_problem
from nateq_webhooks.protocol.secret_text import KeyText

KEY_BYTES: Final = 24
"""Random bytes of a key: no list of guesses holds it, so a fast hash is enough."""

HINT_CHARS: Final = len(LIVE_KEY_PREFIX) + 4
"""Characters of a key that are kept, so that a person recognizes it."""

USE_NOTED_EVERY: Final = timedelta(minutes=1)
"""How often `last_used_at` is written: not with each request."""

IMPLIED: Final[Mapping[Scope, frozenset[Scope]]] = {Scope.WEBHOOKS_MANAGE: frozenset({Scope.WEBHOOKS_READ})}
"""Scopes that another one includes."""

PERMISSIONS_OF: Final[Mapping[Scope, tuple[str, ...]]] = {
    Scope.WEBHOOKS_READ: ("view_webhook",),
    Scope.WEBHOOKS_MANAGE: ("view_webhook", "add_webhook", "change_webhook", "delete_webhook", "reveal_secret"),
    Scope.DELIVERIES_READ: ("view_delivery", "view_run", "view_rejection"),
    Scope.DELIVERIES_REPLAY: ("replay_delivery", "view_replay"),
    Scope.PAYLOADS_READ: ("view_payload",),
}
"""What a person must be allowed to do in the admin to give a key this scope."""

SCOPE_LABELS: Final[Mapping[Scope, Any]] = {
    Scope.WEBHOOKS_READ: _("see webhooks and their logs"),
    Scope.WEBHOOKS_MANAGE: _("see, create, change, rotate and delete webhooks"),
    Scope.DELIVERIES_READ: _("see deliveries, runs, refused requests and the state of the receivers"),
    Scope.DELIVERIES_REPLAY: _("have receivers run again, pause and resume them"),
    Scope.PAYLOADS_READ: _("see what customers wrote: bodies, values of headers, errors"),
}


@sensitive_variables()
def hash_of(key: str) -> str:
    """Return the hash of a key as it is stored: SHA-256 in hex digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """API keys."""

    @sensitive_variables()
    def with_key(self, key: str) -> "ApiKey | None":
        """Return the row of a key, revoked or not; None if there is none. One query, so that a revocation holds."""
        return self.filter(key_hash=hash_of(key)).first()

    def revoke(self) -> int:
        """Revoke those that are not revoked yet; return how many."""
        return self.filter(revoked_at__isnull=True).update(revoked_at=timezone.now())

    revoke.alters_data = True  # type: ignore[attr-defined]

    def note_use(self, key: "ApiKey", now: datetime) -> None:
        """Write that a key was used, at most once a minute over all processes."""
        latest = now - USE_NOTED_EVERY
        if key.last_used_at is None or key.last_used_at <= latest:
            is_old = Q(last_used_at__isnull=True) | Q(last_used_at__lte=latest)
            self.filter(is_old, pk=key.pk).update(last_used_at=now)

    note_use.alters_data = True  # type: ignore[attr-defined]


class ApiKey(models.Model):
    """A key for this site's API (docs/reference/api.md): what it may do, from where, and until when."""

    class State(models.TextChoices):
        """Whether a key is accepted."""

        ACTIVE = "active", _("Active")
        "It is accepted."
        EXPIRED = "expired", _("Expired")
        "`expires_at` has passed."
        REVOKED = "revoked", _("Revoked")
        "A person has revoked it, for ever."

    name = SafeCharField(_("name"), max_length=100, unique=True, help_text=_("What it is for."))
    key_hash = ExactCharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(_("key"), max_length=20, editable=False)
    scopes = models.JSONField(_("scopes"), default=list)
    organization_id = ExactCharField(
        _("organization"),
        max_length=200,
        blank=True,
        default="",
        help_text=_("It sees nothing of any other organization. Empty: it sees all of them."),
    )
    allowed_addresses = models.JSONField(_("allowed addresses"), default=list, blank=True)
    requests_per_minute = models.PositiveIntegerField(
        _("requests per minute"), default=LIMIT_PER_MINUTE[LIVE_KEY_PREFIX]
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(
        _("expires"), null=True, blank=True, help_text=_("From then on it is refused. Empty: never.")
    )
    revoked_at = models.DateTimeField(_("revoked"), null=True, editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ["name"]

    def __str__(self) -> str:
        return visible(self.name)

    @sensitive_variables()
    def issue(self) -> str:
        """Generate the key, and set its hash on this row, which is not saved yet. Only this call returns the key."""
        key = KeyText(LIVE_KEY_PREFIX + secrets.token_hex(KEY_BYTES))
        self.key_hash, self.hint = hash_of(key), f"{key[:HINT_CHARS]}…"
        return key

    def clean(self) -> None:
        """Refuse unknown scopes, addresses that are none, and a text that can't be stored."""
        super().clean()
        if (
            not isinstance(self.scopes, list)
            or not self.scopes
            or not all(scope in list(Scope) for scope in self.scopes)
        ):
            needed = _("A key needs at least one scope of these: %(scopes)s.")
            raise ValidationError({"scopes": needed % {"scopes": ", ".join(Scope)}})
        for address in self.allowed_addresses if isinstance(self.allowed_addresses, list) else [self.allowed_addresses]:
            if (problem := network_problem(address)) is not None:
                text, values = problem
                raise ValidationError({"allowed_addresses": f"{_(text) % values}."})
        for name in ("name", "organization_id"):
            text = getattr(self, name)
            if column_text(text, len(text)) != text:
                raise ValidationError({name: _("It has a character that no database stores. Write it without.")})

    def state(self, now: datetime) -> "ApiKey.State":
        """Return whether it is accepted at `now`."""
        if self.revoked_at is not None:
            return self.State.REVOKED
        return self.State.EXPIRED if self.expires_at is not None and self.expires_at <= now else self.State.ACTIVE

    @property
    def granted(self) -> frozenset[str]:
        """Its scopes, with those that they include."""
        scopes = [Scope(scope) for scope in self.scopes if scope in list(Scope)]
        return frozenset(scopes).union(*(IMPLIED.get(scope, frozenset()) for scope in scopes))

    def allows_address(self, address: str | None) -> bool:
        """Return whether a request may come from an IP address; with an allow-list, an unknown one may not."""
        return not self.allowed_addresses or is_in(address, self.allowed_addresses)


def grantable(permissions: Iterable[str]) -> list[Scope]:
    """Return the scopes that a person with these permissions of this app (code names) may give a key."""
    held = set(permissions)
    return [scope for scope in Scope if held.issuperset(PERMISSIONS_OF[scope])]
