"""Why nothing arrives: one line for each webhook joins its silence and its refused requests, with their cause."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.contrib.admin.sites import AdminSite
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.admin import diagnosis_text, formatting
from nateq_webhooks.admin.changelists.counts import Count, Kind
from nateq_webhooks.admin.dashboard.alert_item import AlertItem
from nateq_webhooks.admin.dashboard.refusals import LISTED_SINCE, Refusals, refusals
from nateq_webhooks.admin.dashboard.silent_webhooks import SilentWebhook, find_silent
from nateq_webhooks.admin.dashboard.statistics import Statistics
from nateq_webhooks.admin.dashboard.summary import span
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.admin.permissions import CHANGE_WEBHOOK, PermittedRows
from nateq_webhooks.models import Rejection, Webhook
from nateq_webhooks.models.rejection import reason_text


@dataclass(slots=True)
class _Arrival:
    """What is known of a webhook's requests."""

    name: str
    silent: SilentWebhook | None = None
    refused: list[Refusals] = field(default_factory=list)


def arrival_items(
    found: Statistics | None,
    webhooks: Sequence[Webhook],
    site: AdminSite,
    request: HttpRequest,
    now: datetime,
) -> list[AlertItem]:
    """Return a line for each webhook that is silent or refused requests, as far as the user may see.

    `found` are the deliveries of `webhooks`; None if they are hidden. Requests to ids that no webhook has are one line.
    """
    permitted = PermittedRows(site, request)
    lines: dict[uuid.UUID | None, _Arrival] = {}
    for silent in find_silent(found, webhooks) if found is not None else ():
        lines[silent.webhook_id] = _Arrival(name=silent.name, silent=silent)
    if permitted.may_view(Rejection) and permitted.may_view(Webhook):
        for refused in refusals(now, permitted):
            key, name = (refused.webhook.pk, refused.webhook.name) if refused.webhook else (None, "")
            lines.setdefault(key, _Arrival(name=name)).refused.append(refused)
    may_change = request.user.has_perm(CHANGE_WEBHOOK)
    return [_item(key, line, site, now, may_change=may_change) for key, line in lines.items()]


def _item(key: uuid.UUID | None, line: _Arrival, site: AdminSite, now: datetime, *, may_change: bool) -> AlertItem:
    parts = [_silence(line.silent)] if line.silent else []
    parts += [_refusal(each) for each in line.refused]
    url, link = _target(key, line, site, may_change=may_change)
    texts = [_pace(line.silent, now)] if line.silent else []
    texts.append(_newest(line.refused, now) if line.refused else _nothing_refused())
    name = formatting.visible(line.name) if key is not None else _("Unknown webhook")
    return AlertItem(
        level="warn",
        symbol="⊘" if line.refused else "○",
        title=_("%(webhook)s: %(what)s") % {"webhook": name, "what": _("; ").join(parts)},
        text=" ".join(texts),
        url=url,
        link=link,
    )


def _silence(silent: SilentWebhook) -> str:
    local, today = timezone.localtime(silent.last), timezone.localdate()
    wanted = "H:i" if local.date() == today else f"{formatting.DATE_FORMAT} H:i"
    return _("silent since %(time)s") % {"time": date_format(local, wanted)}


def _refusal(refused: Refusals) -> str:
    """Return how many were refused and why; the certain cause, if one is known, instead of the reason."""
    cause = str(diagnosis_text.BRIEF.get(refused.cause.code, ""))
    reason = reason_text(refused.reason)
    why = _("%(reason)s (%(cause)s)") % {"reason": reason, "cause": cause} if cause else reason
    text = ngettext("%(number)s refused: %(reason)s", "%(number)s refused: %(reason)s", refused.number)
    number = Count(refused.number, Kind.AT_LEAST if refused.is_capped else Kind.EXACT)
    return text % {"number": number, "reason": why}


def _pace(silent: SilentWebhook, now: datetime) -> str:
    ago = span(now - silent.last)
    if silent.pace is None:
        hint = _("No delivery has come for %(time)s. If the webhook is not used any more, deactivate it.")
        return hint % {"time": ago}
    text = _("The last one came %(time)s ago; before that, one came every %(pace)s.")
    return text % {"time": ago, "pace": span(silent.pace)}


def _newest(refused: Sequence[Refusals], now: datetime) -> str:
    newest = max(each.newest for each in refused)
    return _("In the last 24 hours, the newest %(time)s ago.") % {"time": span(now - newest)}


def _nothing_refused() -> str:
    return _(
        "Nothing was refused here: Nateq does not send, or its requests do not reach this site. The webhook may be "
        "gone, switched off or set to another URL at Nateq."
    )


def _target(key: uuid.UUID | None, line: _Arrival, site: AdminSite, *, may_change: bool) -> tuple[str, str]:
    """Return where to look: at the refused requests; else at Nateq, which says whether the webhook is still there."""
    if key is None:
        return admin_url(site, Rejection, "changelist", reason=line.refused[0].reason, **LISTED_SINCE), _("Show")
    if line.refused:
        only = {"reason": line.refused[0].reason} if len(line.refused) == 1 else {}
        return admin_url(site, Rejection, "changelist", webhook__id__exact=str(key), **only, **LISTED_SINCE), _("Show")
    if may_change:
        return admin_url(site, Webhook, "remote", key), _("Compare with Nateq")
    return admin_url(site, Webhook, "change", key), _("Show")
