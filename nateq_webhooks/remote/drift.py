"""Where this side and Nateq's differ about a webhook, and making one like the other."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from nateq_webhooks.errors import NateqNotFoundError, NateqNotOfferedError
from nateq_webhooks.models import Webhook
from nateq_webhooks.remote.catalogue import every_event, wanted_events
from nateq_webhooks.remote.claim import Claim, alias, claimed
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
    "Nateq does not have it any more, or this key does not see it."
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

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to do."""
        return self.state in (State.IN_STEP, State.UNREGISTERED) and not self.extra


def compare(client: "NateqClient") -> list[Drift]:
    """Compare every webhook of this site with Nateq's. Raises `ApiError`."""
    there = client.webhooks.list()
    every = functools.cache(lambda: every_event(client))
    return [_drift(webhook, there, every) for webhook in Webhook.objects.using(alias()).all()]


def drift_of(client: "NateqClient", webhook: Webhook) -> Drift:
    """Compare one webhook with Nateq's. Raises `ApiError`."""
    return _drift(webhook, client.webhooks.list(), lambda: every_event(client))


def settle(client: "NateqClient", webhook: Webhook, side: Side, *, patience: float = 0.0) -> bool:
    """Make one side of a webhook like the other, and say whether nothing is left that differs.

    With `Side.HERE` a webhook that Nateq no longer has is registered anew. With `Side.NATEQ` such a one is switched
    off here; its URL, which is this site's own, and further webhooks at Nateq stay as they are. Raises `RemoteError`
    and `ApiError`.
    """
    with claimed(webhook, patience=patience) as claim:
        drift = drift_of(client, webhook)
        if side is Side.HERE:
            _push(client, claim, drift)
            return True
        _pull(claim, drift)
        return not drift.extra and all(difference.name != "url" for difference in drift.differences)


def _drift(webhook: Webhook, there: "Iterable[AtNateq]", every: Callable[[], list[str]]) -> Drift:
    registration = Webhook.Registration
    if webhook.registration in (registration.PENDING, registration.ROTATING):
        return Drift(webhook=webhook, state=State.UNFINISHED)
    if webhook.registration == registration.MANUAL:
        return Drift(webhook=webhook, state=State.UNREGISTERED)
    url = public_url(webhook)
    twin = next((each for each in there if each.id == webhook.nateq_id), None)
    extra = tuple(each.id for each in there if each.id != webhook.nateq_id and same_url(each.url, url))
    if twin is None:
        return Drift(webhook=webhook, state=State.GONE, extra=extra)
    differences = tuple(_differences(webhook, twin, url, list(webhook.events) or every()))
    state = State.DIFFERENT if differences else State.IN_STEP
    return Drift(webhook=webhook, state=state, differences=differences, there=twin, extra=extra)


def _differences(webhook: Webhook, twin: "AtNateq", url: str, events: list[str]) -> Iterable[Difference]:
    if not same_url(twin.url, url):
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
