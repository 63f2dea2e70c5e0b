"""Where this side and Nateq's differ about a webhook, and making one like the other."""

import functools
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from nateq_webhooks.errors import ApiError, NateqNotFoundError, NateqNotOfferedError
from nateq_webhooks.models import Webhook
from nateq_webhooks.remote.catalogue import every_event, wanted_events
from nateq_webhooks.remote.claim import Claim, alias, claimed
from nateq_webhooks.remote.connection import Listed, client_of, entry_seeing
from nateq_webhooks.remote.errors import RemoteError
from nateq_webhooks.remote.keys import entries, entry_of, organization_of, organizations_of, place_of
from nateq_webhooks.remote.registration import anew, public_url, same_url

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient
    from nateq_webhooks.client import Webhook as AtNateq


class Side(Enum):
    """Which side is right."""

    HERE = "here"
    "Nateq's is made like this one (`--push`)."
    NATEQ = "nateq"
    "This one is made like Nateq's (`--pull`)."


class State(Enum):
    """How the two sides of a webhook stand to each other."""

    IN_STEP = "in step"
    DIFFERENT = "different"
    "Its URL, its events or whether it is active."
    GONE = "gone"
    "Nateq does not have it any more: the key sees other webhooks of its organization, and not this one."
    UNSEEN = "not visible"
    "The key does not see it. It may be deleted, of another organization, or at another base URL."
    ELSEWHERE = "other organization"
    "The key belongs to another organization than the webhook."
    UNKNOWN = "unknown"
    "Nateq was not seen: no key fits, the key is refused, or no answer came. `Drift.problem` says which."
    UNREGISTERED = "unregistered"
    "Set up by hand: what Nateq has is not known."
    UNFINISHED = "unfinished"
    "A registration or rotation that did not come to its end."


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One thing that differs, in words; `name` is url, events or is_active."""

    name: str
    here: str
    there: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """A webhook beside Nateq's. `extra` are ids of further webhooks at Nateq with this one's URL."""

    webhook: Webhook
    state: State
    differences: tuple[Difference, ...] = ()
    there: "AtNateq | None" = None
    extra: tuple[str, ...] = ()
    seen: int = 0
    "How many webhooks the key sees."
    problem: "RemoteError | ApiError | None" = None
    "Why Nateq was not seen, for `State.UNKNOWN`."

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to do."""
        return self.state in (State.IN_STEP, State.UNREGISTERED) and not self.extra


def compare(client: "NateqClient", webhooks: Iterable[Webhook] | None = None) -> list[Drift]:
    """Compare webhooks of this site (default: all) with what one key sees at Nateq. Raises `ApiError`."""
    there = client.webhooks.list()
    every = functools.cache(lambda: every_event(client))
    chosen = Webhook.objects.using(alias()).all() if webhooks is None else webhooks
    return [_drift(webhook, there, every) for webhook in chosen]


def compare_each(webhooks: Iterable[Webhook]) -> list[Drift]:
    """Compare each webhook with what its own key sees at Nateq.

    What is wrong with one key is reported of its webhooks (`State.UNKNOWN`), and the others are compared. Raises
    `RemoteError` and `ApiError` when no webhook could be compared.
    """
    chosen = list(webhooks)
    listed = Listed()
    if not chosen:  # a key that is refused is told all the same
        listed.of(next(iter(entries()), ""))
    groups: dict[str, list[Webhook]] = {}
    found: dict[object, Drift] = {}
    for webhook in chosen:
        try:
            groups.setdefault(entry_seeing(webhook, listed), []).append(webhook)
        except (RemoteError, ApiError) as error:
            found[webhook.pk] = _unknown(webhook, error)
    for entry, group in groups.items():
        try:
            with client_of(entry) as client:
                found |= {drift.webhook.pk: drift for drift in compare(client, group)}
        except (RemoteError, ApiError) as error:
            found |= {webhook.pk: _unknown(webhook, error) for webhook in group}
    problems = [drift.problem for drift in found.values() if drift.problem is not None]
    if chosen and len(problems) == len(chosen):
        raise problems[0]
    return [found[webhook.pk] for webhook in chosen]


def _unknown(webhook: Webhook, problem: "RemoteError | ApiError") -> Drift:
    return Drift(webhook=webhook, state=State.UNKNOWN, problem=problem)


def drift_of(client: "NateqClient", webhook: Webhook) -> Drift:
    """Compare one webhook with Nateq's. Raises `ApiError`."""
    return compare(client, [webhook])[0]


def presence(client: "NateqClient", webhook: Webhook) -> Drift:
    """Say whether the key sees a webhook whose id at Nateq is known, whatever its registration. Raises `ApiError`."""
    there = client.webhooks.list()
    if any(each.id == webhook.nateq_id for each in there):
        return Drift(webhook=webhook, state=State.IN_STEP, seen=len(there))
    return Drift(webhook=webhook, state=_absent(webhook, there), seen=len(there))


def settle(
    client: "NateqClient", webhook: Webhook, side: Side, *, patience: float = 0.0, is_gone: bool = False
) -> bool:
    """Make one side of a webhook like the other, and say whether nothing is left that differs.

    With `Side.HERE` a webhook that Nateq no longer has is registered anew. With `Side.NATEQ` such a one is switched
    off here; its URL, which is this site's own, and further webhooks at Nateq stay as they are. One that the key does
    not see is refused, unless the caller knows that Nateq has deleted it (`is_gone`). Raises `RemoteError` and
    `ApiError`.
    """
    with claimed(webhook, patience=patience) as claim:
        drift = known(drift_of(client, webhook), is_gone=is_gone)
        if side is Side.HERE:
            _push(client, claim, drift)
            return True
        _pull(claim, drift)
        return not drift.extra and all(difference.name != "url" for difference in drift.differences)


def known(drift: Drift, *, is_gone: bool = False) -> Drift:
    """Return a comparison that may be acted on: one of a webhook that is seen, or surely gone.

    With `is_gone` a person says that Nateq has deleted it. Raises `RemoteError`, which says what was seen.
    """
    if drift.state is State.UNSEEN and is_gone:
        return replace(drift, state=State.GONE)
    if drift.state in (State.UNSEEN, State.ELSEWHERE):
        raise RemoteError(unseen_text(drift))
    return drift


def unseen_text(drift: Drift) -> str:
    """Say what the key sees instead of a webhook, and what to do."""
    webhook = drift.webhook
    words = {
        "name": webhook.name,
        "id": webhook.nateq_id or "-",
        "key": place_of(entry_of(webhook)),
        "seen": drift.seen,
        "organization": organization_of(webhook) or _("not known"),
    }
    if drift.state is State.ELSEWHERE:
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
            "sees %(seen)d webhooks. Nothing was changed. Look at BASE_URL, and set API_KEYS if it belongs to another "
            "organization. Only if it was deleted at Nateq: manage.py nateq_webhook sync --name %(name)s --gone with "
            "--push, which registers it anew, or --pull, which switches it off here."
        )
        % words
    )


def _absent(webhook: Webhook, there: "Collection[AtNateq]") -> State:
    """Say why a registered webhook may not be among those that a key sees.

    A key belongs to one organization, so what it sees of ours tells which. An empty list, and one without any webhook
    of ours, tells nothing.
    """
    ids = [each.id for each in there]
    ours = list(Webhook.objects.using(alias()).exclude(nateq_id="").filter(nateq_id__in=ids[:500])) if ids else []
    organization, seen = organization_of(webhook), organizations_of(ours)
    if organization and seen and organization not in seen:
        return State.ELSEWHERE
    if ours and (organization in seen or entry_of(webhook)):
        return State.GONE
    return State.UNSEEN


def _drift(webhook: Webhook, there: "Collection[AtNateq]", every: Callable[[], list[str]]) -> Drift:
    registration = Webhook.Registration
    if webhook.registration in (registration.PENDING, registration.ROTATING):
        return Drift(webhook=webhook, state=State.UNFINISHED)
    if webhook.registration == registration.MANUAL:
        return Drift(webhook=webhook, state=State.UNREGISTERED)
    url = public_url(webhook)
    twin = next((each for each in there if each.id == webhook.nateq_id), None)
    extra = tuple(each.id for each in there if each.id != webhook.nateq_id and same_url(each.url, url))
    if twin is None:
        return Drift(webhook=webhook, state=_absent(webhook, there), extra=extra, seen=len(there))
    differences = tuple(_differences(webhook, twin, url, list(webhook.events) or every()))
    state = State.DIFFERENT if differences else State.IN_STEP
    return Drift(webhook=webhook, state=state, differences=differences, there=twin, extra=extra, seen=len(there))


def _differences(webhook: Webhook, twin: "AtNateq", url: str, events: list[str]) -> Iterable[Difference]:
    if twin.url != url:  # a slash too few is a difference, too: it may cost a redirect
        yield Difference(name="url", here=url, there=twin.url)
    if set(twin.events) != set(events):
        yield Difference(name="events", here=", ".join(events), there=", ".join(twin.events))
    if twin.is_active is not None and twin.is_active != webhook.is_active:
        yield Difference(name="is_active", here=_yes(webhook.is_active), there=_yes(twin.is_active))


def _push(client: "NateqClient", claim: Claim, drift: Drift) -> None:
    webhook = claim.webhook
    if drift.state is State.GONE:
        anew(client, claim)
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
        claim.renew()
        delete_there(client, nateq_id)


def _pull(claim: Claim, drift: Drift) -> None:
    if drift.state is State.GONE:
        claim.change(registration=Webhook.Registration.MANUAL, nateq_id="", is_active=False)
    if drift.there is None:
        return
    names = {difference.name for difference in drift.differences}
    if "events" in names:
        claim.change(events=list(drift.there.events))
    if "is_active" in names:
        claim.change(is_active=bool(drift.there.is_active))


def delete_there(client: "NateqClient", nateq_id: str) -> None:
    """Delete a webhook at Nateq; one that is gone already is as good."""
    try:
        client.webhooks.delete(nateq_id)
    except NateqNotOfferedError:
        raise
    except NateqNotFoundError:
        return


def _yes(value: bool) -> str:  # noqa: FBT001 - the value shown
    return "true" if value else "false"
