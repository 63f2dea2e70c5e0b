"""Registering a webhook at Nateq so that there is exactly one on each side, whenever this is killed and run again.

There is no idempotency key, but there is something as good: the URL has the row's own id in it, so whatever Nateq
sends there was created for this row. The order is: the row, `pending`, so that the door asks the sender to come back;
then the call; then id and secret in one UPDATE. A row found `pending` was left by a run that died: Nateq's list says
whether the webhook is there, and its secret, which nobody saw, is replaced.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.urls import NoReverseMatch
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks.errors import ApiError, NateqNotFoundError, NateqNotOfferedError
from nateq_webhooks.inbox.rotation import keep_former, newest_delivery
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.protocol.api import WEBHOOKS_SCREEN
from nateq_webhooks.remote.catalogue import wanted_events
from nateq_webhooks.remote.claim import LEASE, Claim, alias, claimed, new_token
from nateq_webhooks.remote.errors import ClaimLostError, RemoteError
from nateq_webhooks.remote.keys import entry_of, organization_of, organizations_of, place_of
from nateq_webhooks.remote.rotation import finish_rotation

if TYPE_CHECKING:
    from nateq_webhooks.client import CreatedWebhook, NateqClient, NewSecret
    from nateq_webhooks.client import Webhook as AtNateq


_SAVED = ("id", "events", "organization_id", "registration", "claim", "claimed_until")
_MOST_IDS = 500
"""Ids in one query, below SQLite's limit of parameters."""


class How(Enum):
    """What a registration came to."""

    CREATED = "created"
    "Made at Nateq by this run."
    ADOPTED = "adopted"
    "Found at Nateq, where an earlier run had made it; its secret was replaced."
    LINKED = "linked"
    "Found at Nateq, where a person had set it up; its secret stays."
    UNCHANGED = "unchanged"
    "Registered before."


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered webhook, and how it came to be."""

    webhook: Webhook
    how: How


def public_url(webhook: Webhook) -> str:
    """Return the URL that Nateq shall post to. Raises `RemoteError` when the site does not know its address."""
    try:
        url = webhook.public_url
    except NoReverseMatch:
        raise RemoteError(
            _('No URL leads to nateq_webhooks. Add path("nateq/", include("nateq_webhooks.urls")) to your urlpatterns.')
        ) from None
    if not url:
        raise RemoteError(
            _('This site\'s own address is not known. Set NATEQ_WEBHOOKS["PUBLIC_URL"], such as https://shop.example.')
        )
    return url


def register(
    client: "NateqClient",
    name: str,
    events: Sequence[str] | None = None,
    *,
    patience: float = 0.0,
    organization_id: str = "",
) -> Registered:
    """Have exactly one webhook of this name here, and its counterpart at Nateq.

    `events` are the names to subscribe to; None keeps those of a webhook that is here already, and means all for a
    new one. A new one is bound to `organization_id`; empty: to none. Waits up to `patience` seconds for another run.
    Raises `RemoteError` and `ApiError`.
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
    _check(new)
    webhook, is_new = Webhook.objects.using(alias()).get_or_create(
        name=name,
        defaults={key: getattr(new, key) for key in _SAVED},
    )
    with claimed(webhook, patience=patience, token=token, is_taken=is_new) as claim:
        return _Registration(client, claim).run(events, is_new=is_new)


def register_row(client: "NateqClient", webhook: Webhook) -> Registered:
    """Register a webhook that is here already, with the events that it has."""
    public_url(webhook)
    with claimed(webhook) as claim:
        return _Registration(client, claim).run(None, is_new=False)


class _Registration:
    """One run of a registration, which holds the claim."""

    def __init__(self, client: "NateqClient", claim: Claim) -> None:
        self._client = client
        self._claim = claim
        self._webhook = claim.webhook
        self._url = public_url(claim.webhook)

    def run(self, events: Sequence[str] | None, *, is_new: bool) -> Registered:
        webhook = self._webhook
        if webhook.registration in (Webhook.Registration.REGISTERED, Webhook.Registration.ROTATING):
            return self._confirm(events)
        if events is not None and list(events) != webhook.events:
            self._claim.change(events=list(events))
        if webhook.registration == Webhook.Registration.MANUAL:
            return self._register_manual()
        twins = [] if is_new else self._twins()
        if not twins:
            try:
                self._check_organization()
            except (RemoteError, ApiError):
                if is_new:
                    self._claim_delete()
                raise
        return self._adopt(twins) if twins else self._create(undo=self._claim_delete if is_new else None)

    def _confirm(self, events: Sequence[str] | None) -> Registered:
        """Take a webhook that is registered as it is, if Nateq has it with this URL; finish a rotation that died."""
        name = self._webhook.name
        if events is not None and set(events) != set(self._webhook.events):
            raise RemoteError(
                _(
                    'Webhook "%(name)s" is registered with other events. To change them: '
                    "manage.py nateq_webhook update --name %(name)s --events ..."
                )
                % {"name": name}
            )
        self._check_there()
        finish_rotation(self._client, self._claim)
        return Registered(self._webhook, How.UNCHANGED)

    def _check_there(self) -> None:
        """Raise `RemoteError` when Nateq has another URL for the webhook, or the key does not see it."""
        try:
            there = self._client.webhooks.list()
        except NateqNotOfferedError:
            return
        webhook = self._webhook
        found = next((each for each in there if each.id == webhook.nateq_id), None)
        if found is None:
            raise RemoteError(
                _(
                    'Webhook "%(name)s" is registered as %(id)s, which the key does not see: it sees %(seen)d '
                    "webhooks. Nothing was changed. Look at BASE_URL and API_KEYS, then at: "
                    "manage.py nateq_webhook sync --name %(name)s"
                )
                % {"name": webhook.name, "id": webhook.nateq_id, "seen": len(there)}
            )
        if found.url != self._url:
            raise RemoteError(
                _(
                    'Webhook "%(name)s" is registered as %(id)s with another URL: here %(here)s, at Nateq %(there)s. '
                    "If the one here is right: manage.py nateq_webhook sync --name %(name)s --push"
                )
                % {"name": webhook.name, "id": webhook.nateq_id, "here": self._url, "there": found.url}
            )

    def _register_manual(self) -> Registered:
        """Link what a person has set up at Nateq; else create it, and keep the secret that is here for late retries."""
        twins = self._twins()
        if len(twins) > 1:
            raise RemoteError(
                _(
                    'Nateq has %(count)d webhooks with the URL of "%(name)s". Delete all but the one whose secret is '
                    "here, under %(screen)s, and run this again."
                )
                % {"count": len(twins), "name": self._webhook.name, "screen": WEBHOOKS_SCREEN}
            )
        if twins:
            if twins[0].url != self._url:  # without its last slash
                self._client.webhooks.update(twins[0].id, url=self._url)
            self._claim.change(nateq_id=twins[0].id, registration=Webhook.Registration.REGISTERED)
            return Registered(self._webhook, How.LINKED)
        self._check_organization()
        former = _begin(self._claim)
        return self._create(undo=former.restore)

    def _check_organization(self) -> None:
        """Raise `RemoteError` when the key is known to belong to another organization than the webhook."""
        mine = organization_of(self._webhook)
        if not mine:
            return
        try:
            there = [each.id for each in self._client.webhooks.list()]
        except NateqNotOfferedError:
            return
        ours = Webhook.objects.using(alias()).exclude(nateq_id="").filter(nateq_id__in=there[:_MOST_IDS])
        seen = organizations_of(ours)
        if seen and mine not in seen:
            raise RemoteError(
                _(
                    'Webhook "%(name)s" belongs to %(mine)s, and the key in %(key)s to %(seen)s. Nothing was created. '
                    'Set NATEQ_WEBHOOKS["API_KEYS"] = {"%(mine)s": ...}.'
                )
                % {
                    "name": self._webhook.name,
                    "mine": mine,
                    "key": place_of(entry_of(self._webhook)),
                    "seen": ", ".join(sorted(seen)),
                }
            )

    def _twins(self) -> "list[AtNateq]":
        """Return the webhooks that Nateq has for this row, the oldest first."""
        self._claim.renew()
        found = [twin for twin in self._client.webhooks.list() if same_url(twin.url, self._url)]
        return sorted(found, key=lambda twin: (twin.id != self._webhook.nateq_id, str(twin.created_at or "")))

    def _create(self, *, undo: Callable[[], None] | None = None) -> Registered:
        """Create the webhook at Nateq. When it surely was not created, `undo` puts things back as they were."""
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
        return Registered(self._webhook, How.CREATED)

    def _adopt_or_raise(self, error: ApiError) -> Registered:
        """Look whether the webhook is there all the same; if it can't be seen, leave that to the next run."""
        try:
            twins = self._twins()
        except ApiError:
            twins = []
        if not twins:
            raise error
        return self._adopt(twins)

    def _adopt(self, twins: "list[AtNateq]") -> Registered:
        """Take one webhook of Nateq's for this row's, give it a secret that is known, and delete any others."""
        kept, *others = twins
        for other in others:
            self._delete(other.id)
        try:
            rotated = self._renew(kept)
        except NateqNotOfferedError:
            self._delete(kept.id)
            return self._create()
        self._save_rotated(rotated)
        return Registered(self._webhook, How.ADOPTED)

    def _renew(self, kept: "AtNateq") -> "NewSecret":
        """Make a webhook at Nateq what the row says, with a new secret. Raises `NateqNotOfferedError`."""
        events = wanted_events(self._client, self._webhook)
        if set(kept.events) != set(events) or kept.is_active is False or kept.url != self._url:
            self._claim.renew()
            url = self._url if kept.url != self._url else None
            self._client.webhooks.update(kept.id, url=url, events=events, is_active=True)
        self._claim.renew()
        return self._client.webhooks.rotate_secret(kept.id)

    def _delete(self, nateq_id: str) -> None:
        self._claim.renew()
        try:
            self._client.webhooks.delete(nateq_id)
        except NateqNotOfferedError:
            raise
        except NateqNotFoundError:
            return

    def _save_created(self, created: "CreatedWebhook") -> None:
        """Save id and secret; a webhook made by a run that was taken for dead meanwhile is deleted again."""
        if created.secret is None:
            self._claim.change(nateq_id=created.id)
            self._save_rotated(self._client.webhooks.rotate_secret(created.id))
            return
        try:
            self._save(created.id, created)
        except ClaimLostError:
            self._delete_stray(created.id)
            raise

    def _delete_stray(self, nateq_id: str) -> None:
        """Delete what this run created, unless the run that went on without it may be adopting just that."""
        self._webhook.refresh_from_db(using=alias())
        is_done = self._webhook.registration == Webhook.Registration.REGISTERED
        if is_done and self._webhook.nateq_id != nateq_id:
            self._client.webhooks.delete(nateq_id)

    def _save_rotated(self, rotated: "NewSecret") -> None:
        self._save(rotated.webhook_id, rotated)

    def _save(self, nateq_id: str, answer: "CreatedWebhook | NewSecret") -> None:
        """End the registration; a former secret that is kept waits from now on for the new one to be used."""
        waiting = Secret.objects.using(alias()).filter(webhook=self._webhook, is_retiring=True, expires_at=None)
        self._claim.change(
            nateq_id=nateq_id,
            secret=answer.secret,
            registration=Webhook.Registration.REGISTERED,
            looked_through=newest_delivery() if waiting.exists() else None,
        )

    def _claim_delete(self) -> None:
        """Undo a new row: nothing was created at Nateq, and the door has stored nothing for it."""
        Webhook.objects.using(alias()).filter(pk=self._webhook.pk, claim=self._claim.token).delete()


def same_url(one: str, other: str) -> bool:
    """Say whether two URLs are the same but for a slash at the end."""
    return one.rstrip("/") == other.rstrip("/")


def anew(client: "NateqClient", claim: Claim) -> None:
    """Register a webhook anew that Nateq no longer has."""
    _begin(claim)
    _Registration(client, claim).run(None, is_new=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Former:
    """What a webhook was before its registration began; `kept` is its secret, kept for late retries."""

    claim: Claim
    kept: Secret | None
    fields: dict[str, Any]

    def restore(self) -> None:
        """Put everything back: Nateq has created nothing, and the secret is the webhook's own still."""
        with self.claim.step():
            if self.kept is not None:
                self.kept.delete(using=alias())
            self.claim.change_within(**self.fields)


def _begin(claim: Claim) -> _Former:
    """Make a webhook `pending` whose secret is in use: it stays, beside the new one, until that is used.

    Nothing is waited for before the new one is here: a delivery that a process stores which has not seen this yet
    is verified with the secret that is here now, and must end none.
    """
    webhook = claim.webhook
    fields = {name: getattr(webhook, name) for name in ("registration", "nateq_id", "is_active", "looked_through")}
    with claim.step():
        kept = keep_former(webhook, webhook.secret)
        claim.change_within(registration=Webhook.Registration.PENDING, nateq_id="", is_active=True, looked_through=None)
    return _Former(claim=claim, kept=kept, fields=fields)


def _check(webhook: Webhook) -> None:
    """Raise `RemoteError` when a name or events can't be stored."""
    try:
        webhook.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise RemoteError(" ".join(error.messages)) from None
