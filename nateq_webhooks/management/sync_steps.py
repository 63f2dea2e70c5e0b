"""The steps of a `sync`, as text: `--dry-run` prints them, and those that can end reception need confirmation."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _

from nateq_webhooks import remote
from nateq_webhooks.models import Webhook
from nateq_webhooks.remote.public_urls import same_url


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One change of a webhook. `ends_reception`: after it, deliveries may no longer be received."""

    name: str
    text: str
    ends_reception: bool = False


def sync_steps(drift: "remote.Drift", direction: "remote.Direction | None", *, is_gone: bool = False) -> Iterator[Step]:
    """Yield the steps of a `sync` for one webhook."""
    if drift.problem is not None:
        return
    webhook = drift.webhook
    words = {"name": webhook.name, "id": webhook.nateq_id or "-"}
    if webhook.registration == Webhook.Registration.PENDING:
        yield Step(name=webhook.name, text=_('Finish the registration of "%(name)s"') % words)
    if webhook.registration == Webhook.Registration.ROTATING:
        yield Step(name=webhook.name, text=_('Finish the rotation of the secret of "%(name)s"') % words)
    is_absent = drift.state is remote.DriftState.GONE or (is_gone and drift.state is remote.DriftState.NOT_VISIBLE)
    if direction is remote.Direction.PUSH:
        yield from _push(drift, words, is_absent=is_absent)
    elif direction is remote.Direction.PULL:
        yield from _pull(drift, words, is_absent=is_absent)


def _push(drift: "remote.Drift", words: dict[str, str], *, is_absent: bool) -> Iterator[Step]:
    name = drift.webhook.name
    if is_absent:
        text = _('Register "%(name)s" again at Nateq and replace its secret') % words
        yield Step(name=name, text=text, ends_reception=True)
        return
    for each in drift.differences:
        changed = words | {"what": each.name, "old": each.there, "new": each.here}
        text = _('Change %(what)s of "%(name)s" at Nateq from %(old)s to %(new)s') % changed
        changes_url = each.name == "url" and not same_url(each.here, each.there)
        deactivates = each.name == "is_active" and not drift.webhook.is_active
        yield Step(name=name, text=text, ends_reception=changes_url or deactivates)
    for nateq_id in drift.extra:
        text = _('Delete %(extra)s at Nateq, which has the URL of "%(name)s"') % (words | {"extra": nateq_id})
        yield Step(name=name, text=text, ends_reception=True)


def _pull(drift: "remote.Drift", words: dict[str, str], *, is_absent: bool) -> Iterator[Step]:
    name = drift.webhook.name
    if is_absent:
        text = _('Switch off "%(name)s" here: all its deliveries get 404') % words
        yield Step(name=name, text=text, ends_reception=True)
    match = drift.match
    for each in drift.differences:
        if each.name == "url" or match is None:
            continue
        changed = words | {"what": each.name, "old": each.here, "new": each.there}
        text = _('Change %(what)s of "%(name)s" here from %(old)s to %(new)s') % changed
        drops_events = each.name == "events" and bool(set(each.here.split(", ")) - set(match.events))
        deactivates = each.name == "is_active" and match.is_active is False
        yield Step(name=name, text=text, ends_reception=drops_events or deactivates)
