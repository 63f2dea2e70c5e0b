"""How a webhook here differs from the one at Nateq, and making one like the other."""

import functools
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from nateq_webhooks import audit
from nateq_webhooks.errors import ApiError
from nateq_webhooks.models import Webhook
from nateq_webhooks.remote.catalogue import every_event, wanted_events
from nateq_webhooks.remote.claim import Claim, alias, claimed
from nateq_webhooks.remote.commands import command
from nateq_webhooks.remote.connection import RemoteLists, choose_entry, client_for
from nateq_webhooks.remote.error_text import webhooks_in_words
from nateq_webhooks.remote.keys import (
    key_entries,
    key_entry,
    known_organizations,
    organization_of,
    registered_among,
    setting_name,
)
from nateq_webhooks.remote.public_urls import public_url, same_url
from nateq_webhooks.remote.registration import delete_remote, reregister
from nateq_webhooks.remote.remote_errors import RemoteError

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient, RemoteWebhook


class Direction(Enum):
    """Which side is changed."""

    PUSH = "push"
    "Nateq's webhook is made like the one here."
    PULL = "pull"
    "The webhook here is made like Nateq's."


class DriftState(Enum):
    """How a webhook here compares with the one at Nateq. The values are part of the commands' JSON."""

    IN_SYNC = "in step"
    DIFFERENT = "different"
    "Its URL, its events or whether it is active."
    GONE = "gone"
    "Nateq no longer has it: the key sees other webhooks of its organization, but not this one."
    NOT_VISIBLE = "not visible"
    "The key does not see it. It may be deleted, of another organization, or at another base URL."
    OTHER_ORGANIZATION = "other organization"
    "The key belongs to another organization than the webhook."
    UNKNOWN = "unknown"
    "Nateq could not be asked: no key fits, the key is refused, or no answer came. `Drift.problem` says which."
    UNREGISTERED = "unregistered"
    "Set up by hand: its id at Nateq is not known."
    UNFINISHED = "unfinished"
    "A registration or rotation was interrupted."


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One difference as text; `name` is url, events or is_active."""

    name: str
    here: str
    there: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """A webhook compared with Nateq's. `extra` are ids of further webhooks at Nateq with the same URL."""

    webhook: Webhook
    state: DriftState
    differences: tuple[Difference, ...] = ()
    match: "RemoteWebhook | None" = None
    "The webhook at Nateq with the same id."
    extra: tuple[str, ...] = ()
    visible: int = 0
    "How many webhooks the key sees."
    problem: "RemoteError | ApiError | None" = None
    "Why Nateq could not be asked, for `DriftState.UNKNOWN`."

    @property
    def needs_nothing(self) -> bool:
        """Whether there is nothing to reconcile."""
        return self.state in (DriftState.IN_SYNC, DriftState.UNREGISTERED) and not self.extra


def compare(client: "NateqClient", webhooks: Iterable[Webhook] | None = None) -> list[Drift]:
    """Compare webhooks of this site (default: all) with what one key sees at Nateq. Raises `ApiError`."""
    visible = client.webhooks.list()
    every = functools.cache(lambda: every_event(client))
    chosen = Webhook.objects.using(alias()).all() if webhooks is None else webhooks
    return [_drift(webhook, visible, every) for webhook in chosen]


def compare_one(client: "NateqClient", webhook: Webhook) -> Drift:
    """Compare one webhook with Nateq's. Raises `ApiError`."""
    return compare(client, [webhook])[0]


def compare_each(webhooks: Iterable[Webhook]) -> list[Drift]:
    """Compare each webhook with what its own key sees at Nateq.

    An error of one key is reported for its webhooks (`DriftState.UNKNOWN`), and the others are compared. Raises
    `RemoteError` and `ApiError` when no webhook could be compared.
    """
    chosen = list(webhooks)
    lists = RemoteLists()
    if not chosen:
        lists.of(next(iter(key_entries()), ""))  # raises for a key that is refused
    groups: dict[str, list[Webhook]] = {}
    found: dict[object, Drift] = {}
    for webhook in chosen:
        try:
            groups.setdefault(choose_entry(webhook, lists), []).append(webhook)
        except (RemoteError, ApiError) as error:
            found[webhook.pk] = _unknown(webhook, error)
    for entry, group in groups.items():
        try:
            with client_for(entry) as client:
                found |= {drift.webhook.pk: drift for drift in compare(client, group)}
        except (RemoteError, ApiError) as error:
            found |= {webhook.pk: _unknown(webhook, error) for webhook in group}
    problems = [drift.problem for drift in found.values() if drift.problem is not None]
    if chosen and len(problems) == len(chosen):
        raise problems[0]
    return [found[webhook.pk] for webhook in chosen]


def _unknown(webhook: Webhook, problem: "RemoteError | ApiError") -> Drift:
    return Drift(webhook=webhook, state=DriftState.UNKNOWN, problem=problem)


def check_visible(client: "NateqClient", webhook: Webhook, *, is_gone: bool = False) -> None:
    """Raise `RemoteError` unless the key sees the webhook's id at Nateq, or it is known to be gone."""
    visible = client.webhooks.list()
    if all(each.id != webhook.nateq_id for each in visible):
        drift = Drift(webhook=webhook, state=_why_absent(webhook, visible), visible=len(visible))
        _require_visible(drift, is_gone=is_gone)


def reconcile(
    client: "NateqClient",
    webhook: Webhook,
    direction: Direction,
    *,
    wait_seconds: float = 0.0,
    is_gone: bool = False,
) -> bool:
    """Make one side of a webhook like the other, and return whether no difference is left.

    `Direction.PUSH` registers a webhook again if Nateq has deleted it. `Direction.PULL` deactivates such a webhook
    here; it changes neither the URL here, which is this site's own, nor further webhooks at Nateq. A webhook that the
    key does not see is refused unless the caller knows that Nateq has deleted it (`is_gone`). Raises `RemoteError`
    and `ApiError`.
    """
    with claimed(client, webhook, wait_seconds=wait_seconds) as claim:
        drift = _require_visible(compare_one(client, webhook), is_gone=is_gone)
        if not drift.needs_nothing:
            names = [difference.name for difference in drift.differences]
            details = {"direction": direction.value, "fields": names}
            audit.record(audit.Action.WEBHOOK_CHANGED, **audit.of_webhook(webhook), details=details, using=alias())
        if direction is Direction.PUSH:
            _push(client, claim, drift)
            return True
        _pull(claim, drift)
        return not drift.extra and all(difference.name != "url" for difference in drift.differences)


def _require_visible(drift: Drift, *, is_gone: bool) -> Drift:
    """Return a comparison of a webhook that is visible or certainly gone. Raises `RemoteError` for others."""
    if drift.state is DriftState.NOT_VISIBLE and is_gone:
        return replace(drift, state=DriftState.GONE)
    if drift.state in (DriftState.NOT_VISIBLE, DriftState.OTHER_ORGANIZATION):
        raise RemoteError(not_visible_text(drift))
    return drift


def not_visible_text(drift: Drift) -> str:
    """Say what the key sees instead of a webhook, and what to do."""
    webhook = drift.webhook
    words = {
        "name": webhook.name,
        "id": webhook.nateq_id or "-",
        "key": setting_name(key_entry(webhook)),
        "seen": webhooks_in_words(drift.visible),
        "organization": organization_of(webhook) or _("not known"),
        "command": command("sync", webhook, "--gone"),
    }
    if drift.state is DriftState.OTHER_ORGANIZATION:
        return (
            _(
                'Webhook "%(name)s" (%(id)s) belongs to %(organization)s, and the key in %(key)s to another '
                'organization. Nothing was changed. Set NATEQ_WEBHOOKS["API_KEYS"] = {"%(organization)s": ...}.'
            )
            % words
        )
    return (
        _(
            'Webhook "%(name)s" (%(id)s, organization: %(organization)s) is not visible to the key in %(key)s, which '
            "sees %(seen)s. Nothing was changed. Check BASE_URL, and set API_KEYS if it belongs to another "
            "organization. Only if it was deleted at Nateq: %(command)s with "
            "--push, which registers it again, or --pull, which switches it off here."
        )
        % words
    )


def _why_absent(webhook: Webhook, visible: "Collection[RemoteWebhook]") -> DriftState:
    """Say why a registered webhook may not be among those that a key sees.

    A key belongs to one organization, so the organizations of the webhooks that it does see tell which one. A list
    without any webhook of this site proves nothing.
    """
    ours = registered_among(each.id for each in visible)
    organization, seen = organization_of(webhook), known_organizations(ours)
    if organization and seen and organization not in seen:
        return DriftState.OTHER_ORGANIZATION
    if ours and (organization in seen or key_entry(webhook)):
        return DriftState.GONE
    return DriftState.NOT_VISIBLE


def _drift(webhook: Webhook, visible: "Collection[RemoteWebhook]", every: Callable[[], list[str]]) -> Drift:
    registration = Webhook.Registration
    if webhook.registration in (registration.PENDING, registration.ROTATING):
        return Drift(webhook=webhook, state=DriftState.UNFINISHED)
    if webhook.registration == registration.MANUAL:
        return Drift(webhook=webhook, state=DriftState.UNREGISTERED)
    url = public_url(webhook)
    match = next((each for each in visible if each.id == webhook.nateq_id), None)
    extra = tuple(each.id for each in visible if each.id != webhook.nateq_id and same_url(each.url, url))
    differences: tuple[Difference, ...] = ()
    if match is None:
        state = _why_absent(webhook, visible)
    else:
        differences = tuple(_differences(webhook, match, url, list(webhook.events) or every()))
        state = DriftState.DIFFERENT if differences else DriftState.IN_SYNC
    return Drift(webhook=webhook, state=state, differences=differences, match=match, extra=extra, visible=len(visible))


def _differences(webhook: Webhook, match: "RemoteWebhook", url: str, events: list[str]) -> Iterable[Difference]:
    if match.url != url:  # a missing last slash is a difference, too: it may cost a redirect
        yield Difference(name="url", here=url, there=match.url)
    if set(match.events) != set(events):
        yield Difference(name="events", here=", ".join(events), there=", ".join(match.events))
    if match.is_active is not None and match.is_active != webhook.is_active:
        yield Difference(name="is_active", here=str(webhook.is_active).lower(), there=str(match.is_active).lower())


def _push(client: "NateqClient", claim: Claim, drift: Drift) -> None:
    webhook = claim.webhook
    if drift.state is DriftState.GONE:
        reregister(client, claim)
        return
    names = {difference.name for difference in drift.differences}
    if names:
        claim.renew()
        client.webhooks.update(
            webhook.nateq_id,
            url=public_url(webhook) if "url" in names else None,
            events=wanted_events(client, webhook) if "events" in names else None,
            is_active=webhook.is_active if "is_active" in names else None,
        )
    for nateq_id in drift.extra:
        delete_remote(client, claim, nateq_id)


def _pull(claim: Claim, drift: Drift) -> None:
    if drift.state is DriftState.GONE:
        claim.update(registration=Webhook.Registration.MANUAL, nateq_id="", is_active=False)
    if drift.match is None:
        return
    names = {difference.name for difference in drift.differences}
    if "events" in names:
        claim.update(events=list(drift.match.events))
    if "is_active" in names:
        claim.update(is_active=bool(drift.match.is_active))
