"""What a `sync` would do, in words, before it does it: `--dry-run` shows it, and what ends reception is asked for."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _

from nateq_webhooks import remote
from nateq_webhooks.models import Webhook
from nateq_webhooks.remote.registration import same_url


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing that would be done to the webhook of this name; `is_ending`: it can end the receipt of deliveries."""

    name: str
    text: str
    is_ending: bool = False


def steps(drift: "remote.Drift", side: "remote.Side | None", *, is_gone: bool = False) -> Iterator[Step]:
    """Yield what a `sync` would do about one webhook."""
    if drift.problem is not None:
        return
    webhook = drift.webhook
    words = {"name": webhook.name, "id": webhook.nateq_id or "-"}
    if webhook.registration == Webhook.Registration.PENDING:
        yield Step(name=webhook.name, text=_('Finish the registration of "%(name)s"') % words)
    if webhook.registration == Webhook.Registration.ROTATING:
        yield Step(name=webhook.name, text=_('Finish the rotation of the secret of "%(name)s"') % words)
    is_absent = drift.state is remote.State.GONE or (is_gone and drift.state is remote.State.UNSEEN)
    if side is remote.Side.HERE:
        yield from _push(drift, words, is_absent=is_absent)
    elif side is remote.Side.NATEQ:
        yield from _pull(drift, words, is_absent=is_absent)


def _push(drift: "remote.Drift", words: dict[str, str], *, is_absent: bool) -> Iterator[Step]:
    name = drift.webhook.name
    if is_absent:
        text = _('Register "%(name)s" anew at Nateq and replace its secret') % words
        yield Step(name=name, text=text, is_ending=True)
        return
    for each in drift.differences:
        changed = words | {"what": each.name, "old": each.there, "new": each.here}
        text = _('Change %(what)s of "%(name)s" at Nateq from %(old)s to %(new)s') % changed
        is_moving = each.name == "url" and not same_url(each.here, each.there)
        is_ending = is_moving or (each.name == "is_active" and not drift.webhook.is_active)
        yield Step(name=name, text=text, is_ending=is_ending)
    for nateq_id in drift.extra:
        text = _('Delete %(extra)s at Nateq, which has the URL of "%(name)s"') % (words | {"extra": nateq_id})
        yield Step(name=name, text=text, is_ending=True)


def _pull(drift: "remote.Drift", words: dict[str, str], *, is_absent: bool) -> Iterator[Step]:
    name = drift.webhook.name
    if is_absent:
        yield Step(name=name, text=_('Switch off "%(name)s" here: all its deliveries get 404') % words, is_ending=True)
    there = drift.there
    for each in drift.differences:
        if each.name == "url" or there is None:
            continue
        changed = words | {"what": each.name, "old": each.here, "new": each.there}
        text = _('Change %(what)s of "%(name)s" here from %(old)s to %(new)s') % changed
        is_dropping = each.name == "events" and bool(set(each.here.split(", ")) - set(there.events))
        is_ending = is_dropping or (each.name == "is_active" and there.is_active is False)
        yield Step(name=name, text=text, is_ending=is_ending)
