"""Register a webhook at Nateq so that exactly one exists on each side, even if a run is killed and repeated.

Nateq has no idempotency key, but the URL contains the row's id, so whatever Nateq has at this URL was created for this
row. The order is: insert the row as `pending`, so that the receiver asks the sender to retry; call Nateq; save id and
secret in one UPDATE. A row found `pending` was left by an interrupted run: Nateq's list shows whether the webhook was
created, and its secret, which was never saved, is replaced.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks import audit
from nateq_webhooks.errors import ApiError, NateqNotFoundError, NateqNotOfferedError
from nateq_webhooks.inbox.former_secrets import keep_former, newest_delivery
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.protocol.api import WEBHOOKS_SCREEN
from nateq_webhooks.remote.catalogue import wanted_events
from nateq_webhooks.remote.claim import LEASE, Claim, alias, claimed, new_token
from nateq_webhooks.remote.commands import command
from nateq_webhooks.remote.error_text import webhooks_in_words
from nateq_webhooks.remote.keys import key_entry, known_organizations, organization_of, registered_among, setting_name
from nateq_webhooks.remote.public_urls import public_url, same_url
from nateq_webhooks.remote.remote_errors import ClaimLostError, RemoteError
from nateq_webhooks.remote.secret_rotation import finish_rotation, require_stored_secret

if TYPE_CHECKING:
    from nateq_webhooks.client import CreatedWebhook, NateqClient, NewSecret, RemoteWebhook


_INSERTED = ("id", "events", "organization_id", "registration", "claim", "claimed_until")


class RegistrationResult(Enum):
    """What a registration did."""

    CREATED = "created"
    "Created at Nateq by this run."
    ADOPTED = "adopted"
    "Found at Nateq, where an interrupted run had created it; its secret was replaced."
    LINKED = "linked"
    "Found at Nateq, where a person had set it up; its secret stays."
    UNCHANGED = "unchanged"
    "It was registered already."


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered webhook, and what was done to register it."""

    webhook: Webhook
    result: RegistrationResult


def register(
    client: "NateqClient",
    name: str,
    events: Sequence[str] | None = None,
    *,
    wait_seconds: float = 0.0,
    organization_id: str = "",
) -> Registered:
    """Make sure that exactly one webhook of this name exists here, and exactly one at Nateq for it.

    `events` are the names to subscribe to; None keeps those of an existing webhook, and means all for a new one. A new
    one is bound to `organization_id`, if that is not empty. Waits up to `wait_seconds` for another run. Raises
    `RemoteError` and `ApiError`.
    """
    public_url(Webhook())
    token = new_token()
    new = Webhook(
        name=name,
        events=list(events or ()),
        organization_id=organization_id,
        registration=Webhook.Registration.PENDING,
        claim=token,
        claimed_until=timezone.now() + LEASE,
    )
    _validate(new)
    webhook, is_new = Webhook.objects.using(alias()).get_or_create(
        name=name,
        defaults={key: getattr(new, key) for key in _INSERTED},
    )
    with claimed(client, webhook, wait_seconds=wait_seconds, token=token, is_taken=is_new) as claim:
        return _Registration(client, claim).run(events, is_new=is_new)


def register_existing(client: "NateqClient", webhook: Webhook) -> Registered:
    """Register a webhook that exists here, with its own events."""
    public_url(webhook)
    with claimed(client, webhook) as claim:
        return _Registration(client, claim).run(None, is_new=False)


def reregister(client: "NateqClient", claim: Claim) -> None:
    """Register a webhook once more that Nateq no longer has."""
    _make_pending(claim)
    _Registration(client, claim).run(None, is_new=False)


def delete_remote(client: "NateqClient", claim: Claim, nateq_id: str) -> None:
    """Delete a webhook at Nateq; it is no error if it has been deleted already."""
    claim.renew()
    try:
        client.webhooks.delete(nateq_id)
    except NateqNotOfferedError:
        raise
    except NateqNotFoundError:
        return


class _Registration:
    """One run of a registration, which holds the claim."""

    def __init__(self, client: "NateqClient", claim: Claim) -> None:
        self._client = client
        self._claim = claim
        self._webhook = claim.webhook
        self._url = public_url(claim.webhook)
        self._is_new = False

    def run(self, events: Sequence[str] | None, *, is_new: bool) -> Registered:
        self._is_new = is_new
        webhook = self._webhook
        if webhook.registration in (Webhook.Registration.REGISTERED, Webhook.Registration.ROTATING):
            return self._confirm(events)
        if events is not None and list(events) != webhook.events:
            self._claim.update(events=list(events))
        if webhook.registration == Webhook.Registration.MANUAL:
            return self._register_manual()
        matches = [] if is_new else self._remote_matches()
        if matches:
            return self._adopt(matches)
        try:
            self._check_organization()
        except (RemoteError, ApiError):
            if is_new:
                self._delete_new_row()
            raise
        return self._create(undo=self._delete_new_row if is_new else None)

    def _confirm(self, events: Sequence[str] | None) -> Registered:
        """Accept a registered webhook if Nateq has it with this URL and events; finish an interrupted rotation."""
        if events is not None and set(events) != set(self._webhook.events):
            raise RemoteError(
                _('Webhook "%(name)s" is registered with other events. To change them: %(command)s --events ...')
                % {"name": self._webhook.name, "command": command("update", self._webhook)}
            )
        self._check_remote_url()
        finish_rotation(self._client, self._claim)
        return Registered(self._webhook, RegistrationResult.UNCHANGED)

    def _check_remote_url(self) -> None:
        """Raise `RemoteError` when Nateq has another URL for the webhook, or the key does not see it."""
        try:
            visible = self._client.webhooks.list()
        except NateqNotOfferedError:
            return
        webhook = self._webhook
        match = next((each for each in visible if each.id == webhook.nateq_id), None)
        if match is None:
            raise RemoteError(
                _(
                    'Webhook "%(name)s" is registered as %(id)s, which the key does not see: it sees %(seen)s. '
                    "Nothing was changed. Check BASE_URL and API_KEYS, then run: "
                    "%(command)s"
                )
                % {
                    "name": webhook.name,
                    "id": webhook.nateq_id,
                    "seen": webhooks_in_words(len(visible)),
                    "command": command("sync", webhook),
                }
            )
        if match.url != self._url:
            raise RemoteError(
                _(
                    'Webhook "%(name)s" is registered as %(id)s with another URL: here %(here)s, at Nateq %(there)s. '
                    "If the one here is right: %(command)s"
                )
                % {
                    "name": webhook.name,
                    "id": webhook.nateq_id,
                    "here": self._url,
                    "there": match.url,
                    "command": command("sync", webhook, "--push"),
                }
            )

    def _register_manual(self) -> Registered:
        """Link what a person has set up at Nateq, or create it; the secret here is kept for late retries."""
        matches = self._remote_matches()
        if len(matches) > 1:
            raise RemoteError(
                ngettext(
                    'Nateq has %(count)d webhook with the URL of "%(name)s". Delete all but the one whose secret is '
                    "here, under %(screen)s, and run this again.",
                    'Nateq has %(count)d webhooks with the URL of "%(name)s". Delete all but the one whose secret is '
                    "here, under %(screen)s, and run this again.",
                    len(matches),
                )
                % {"count": len(matches), "name": self._webhook.name, "screen": WEBHOOKS_SCREEN}
            )
        if matches:
            if matches[0].url != self._url:  # without its last slash
                self._client.webhooks.update(matches[0].id, url=self._url)
            with self._claim.step():
                self._claim.update_in_step(nateq_id=matches[0].id, registration=Webhook.Registration.REGISTERED)
                self._record(has_new_secret=False)
            return Registered(self._webhook, RegistrationResult.LINKED)
        self._check_organization()
        previous = _make_pending(self._claim)
        return self._create(undo=previous.restore)

    def _check_organization(self) -> None:
        """Raise `RemoteError` when the key is known to belong to another organization than the webhook."""
        own = organization_of(self._webhook)
        if not own:
            return
        try:
            visible = self._client.webhooks.list()
        except NateqNotOfferedError:
            return
        organizations = known_organizations(registered_among(each.id for each in visible))
        if organizations and own not in organizations:
            raise RemoteError(
                _(
                    'Webhook "%(name)s" belongs to %(mine)s, and the key in %(key)s to %(seen)s. Nothing was created. '
                    'Set NATEQ_WEBHOOKS["API_KEYS"] = {"%(mine)s": ...}.'
                )
                % {
                    "name": self._webhook.name,
                    "mine": own,
                    "key": setting_name(key_entry(self._webhook)),
                    "seen": ", ".join(sorted(organizations)),
                }
            )

    def _remote_matches(self) -> "list[RemoteWebhook]":
        """Return the webhooks that Nateq has for this row: the one of its id first, then the oldest."""
        self._claim.renew()
        found = [each for each in self._client.webhooks.list() if same_url(each.url, self._url)]
        return sorted(found, key=lambda each: (each.id != self._webhook.nateq_id, str(each.created_at or "")))

    def _create(self, *, undo: Callable[[], None] | None = None) -> Registered:
        """Create the webhook at Nateq. `undo` is called when it was certainly not created."""
        try:
            events = wanted_events(self._client, self._webhook)
            self._claim.renew()
            created = self._client.webhooks.create(url=self._url, events=events)
        except ApiError as error:
            if not error.is_ambiguous:
                if undo is not None:
                    undo()
                raise
            return self._adopt_or_raise(error)
        self._save_created(created)
        return Registered(self._webhook, RegistrationResult.CREATED)

    def _adopt_or_raise(self, error: ApiError) -> Registered:
        """Adopt the webhook if Nateq's list shows that it was created in spite of an error; else raise the error."""
        try:
            matches = self._remote_matches()
        except ApiError:
            matches = []
        if not matches:
            raise error
        return self._adopt(matches)

    def _adopt(self, matches: "list[RemoteWebhook]") -> Registered:
        """Use one of Nateq's webhooks for this row, give it a new secret, and delete the others."""
        kept, *others = matches
        for other in others:
            delete_remote(self._client, self._claim, other.id)
        try:
            rotated = self._update_and_rotate(kept)
        except NateqNotOfferedError:
            delete_remote(self._client, self._claim, kept.id)
            return self._create()
        self._save_rotated(rotated)
        return Registered(self._webhook, RegistrationResult.ADOPTED)

    def _update_and_rotate(self, kept: "RemoteWebhook") -> "NewSecret":
        """Make Nateq's webhook like the row, and rotate its secret. Raises `NateqNotOfferedError`."""
        events = wanted_events(self._client, self._webhook)
        if set(kept.events) != set(events) or kept.is_active is False or kept.url != self._url:
            self._claim.renew()
            url = self._url if kept.url != self._url else None
            self._client.webhooks.update(kept.id, url=url, events=events, is_active=True)
        self._claim.renew()
        return self._client.webhooks.rotate_secret(kept.id)

    def _save_created(self, created: "CreatedWebhook") -> None:
        """Save id and secret; delete the webhook at Nateq again if this run has lost its claim."""
        if created.secret is None:
            self._claim.update(nateq_id=created.id)
            self._save_rotated(self._client.webhooks.rotate_secret(created.id))
            return
        try:
            self._save(created.id, created)
        except ClaimLostError:
            self._delete_stray(created.id)
            raise

    def _delete_stray(self, nateq_id: str) -> None:
        """Delete what this run created, unless the run that took over may be adopting it."""
        self._webhook.refresh_from_db(using=alias())
        is_registered = self._webhook.registration == Webhook.Registration.REGISTERED
        if is_registered and self._webhook.nateq_id != nateq_id:
            self._client.webhooks.delete(nateq_id)

    def _save_rotated(self, rotated: "NewSecret") -> None:
        self._save(rotated.webhook_id, rotated)

    def _save(self, nateq_id: str, answer: "CreatedWebhook | NewSecret") -> None:
        """Finish the registration; from now on the first delivery with the new secret ends the former one."""
        waiting = Secret.objects.using(alias()).filter(webhook=self._webhook, is_retiring=True, expires_at=None)
        with self._claim.step():
            self._claim.update_in_step(
                nateq_id=nateq_id,
                secret=answer.secret,
                registration=Webhook.Registration.REGISTERED,
                rotation_scanned_to=newest_delivery() if waiting.exists() else None,
            )
            self._record(has_new_secret=True)

    def _record(self, *, has_new_secret: bool) -> None:
        """Store the audit log's entry of the registration, in the step that saves it."""
        action = audit.Action.WEBHOOK_CREATED if self._is_new else audit.Action.WEBHOOK_CHANGED
        details = {"at": "nateq", "registered": True, "new_secret": has_new_secret}
        audit.record(action, **audit.of_webhook(self._webhook), details=details, using=alias())

    def _delete_new_row(self) -> None:
        """Delete a row that this run inserted: nothing was created at Nateq, so no delivery belongs to it."""
        Webhook.objects.using(alias()).filter(pk=self._webhook.pk, claim=self._claim.token).delete()


@dataclass(frozen=True, kw_only=True, slots=True)
class _PreviousState:
    """A webhook before its registration began; `kept` is its secret, kept for late retries."""

    claim: Claim
    kept: Secret | None
    fields: dict[str, Any]

    def restore(self) -> None:
        """Restore the webhook: Nateq has created nothing, and the secret here is still in use."""
        with self.claim.step():
            if self.kept is not None:
                self.kept.delete(using=alias())
            self.claim.update_in_step(**self.fields)


def _make_pending(claim: Claim) -> _PreviousState:
    """Make a webhook `pending` and keep its secret, which is in use, beside the new one until that is used.

    `rotation_scanned_to` stays empty until the new secret is saved: a process that has not seen this change yet
    verifies deliveries with the current secret, and these must not end it. Raises `RemoteError` for a secret in the
    environment, which the new one can't replace.
    """
    webhook = claim.webhook
    require_stored_secret(webhook)
    names = ("registration", "nateq_id", "is_active", "rotation_scanned_to")
    fields = {name: getattr(webhook, name) for name in names}
    with claim.step():
        kept = keep_former(webhook, webhook.secret)
        pending = Webhook.Registration.PENDING
        claim.update_in_step(registration=pending, nateq_id="", is_active=True, rotation_scanned_to=None)
    return _PreviousState(claim=claim, kept=kept, fields=fields)


def _validate(webhook: Webhook) -> None:
    """Raise `RemoteError` for a name or events that can't be stored."""
    try:
        webhook.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise RemoteError(" ".join(error.messages)) from None
