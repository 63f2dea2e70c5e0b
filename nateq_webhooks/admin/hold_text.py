"""What holds a run back, in words: what is paused, by whom, why and since when, and where to resume it.

`hold_texts(runs, site, request)` is for the pages that show runs. The receiver's page and the dashboard use the same
words for a pause (`pause_text`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.contrib.admin.sites import AdminSite
from django.db import router
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.dispatch.holds import read_holds
from nateq_webhooks.dispatch.run_hold import HoldKind, RunHold, holds_of
from nateq_webhooks.models import Run, Webhook
from nateq_webhooks.models.hold import EVERYTHING, Hold, scope_parts

_SENTENCES: Final[dict[HoldKind, str | Promise]] = {
    HoldKind.EVERYTHING: gettext_lazy("Everything is paused"),
    HoldKind.WEBHOOK: gettext_lazy("The webhook is paused"),
    HoldKind.RECEIVER: gettext_lazy("The receiver is paused"),
    HoldKind.BREAKER: gettext_lazy("The receiver is paused automatically for this webhook, after many failures"),
    HoldKind.RATE_LIMIT: gettext_lazy("Waits for the receiver's rate limit"),
    HoldKind.ORDER: gettext_lazy("Waits for an earlier delivery of the same key"),
    HoldKind.UNKNOWN_RECEIVER: gettext_lazy("Waits for an unknown receiver: no process knows it"),
}


_IN_A_WORD: Final[dict[HoldKind, str | Promise]] = {
    HoldKind.EVERYTHING: gettext_lazy("paused"),
    HoldKind.WEBHOOK: gettext_lazy("webhook paused"),
    HoldKind.RECEIVER: gettext_lazy("receiver paused"),
    HoldKind.BREAKER: gettext_lazy("receiver paused"),
    HoldKind.RATE_LIMIT: gettext_lazy("rate limit"),
    HoldKind.ORDER: gettext_lazy("order"),
    HoldKind.UNKNOWN_RECEIVER: gettext_lazy("unknown receiver"),
}
"""For the list of runs, whose rows have one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldText:
    """What holds a run back, for a page."""

    kind: HoldKind
    text: SafeString
    "Which hold, by whom, since when and why; escaped."
    url: str
    "The page where it can be resumed: the receiver's or the webhook's; empty if there is none for this user."
    is_pause: bool
    "Whether it can be resumed."
    hold: int | None
    "The key of a pause's hold, which the page `run_resume` takes; None for what is no pause."
    scope: str | None
    "What a pause is about, for `may_resume`; None for what is no pause."


def hold_texts(runs: Sequence[Run], site: AdminSite, request: HttpRequest) -> dict[int, HoldText]:
    """Return what holds each run back, by the run's key; runs that nothing holds back are not in it.

    One query for all of them. The runs need their `delivery`.
    """
    held = holds_of(router.db_for_write(Hold), runs)
    return {run.pk: hold_text(run, held[run.pk], site, request) for run in runs if run.pk in held}


def mark_held(runs: Sequence[Run], _permitted: PermittedRows, _request: HttpRequest) -> None:
    """Set `held_text` of those of the runs that something holds back, in a word and as a sentence: one query."""
    held = holds_of(router.db_for_write(Hold), runs)
    for run in runs:
        if run.pk in held:
            run.held_text = brief_text(held[run.pk].kind)  # type: ignore[attr-defined]


def brief_text(kind: HoldKind) -> tuple[str, str]:
    """Return what holds a run back in a word, and as a sentence."""
    return str(_IN_A_WORD[kind]), str(_SENTENCES[kind])


def pause_of_everything() -> Hold | None:
    """Return the pause of everything; None if there is none."""
    state = read_holds(router.db_for_write(Hold))
    return state.holds[EVERYTHING] if state.is_paused else None


def hold_text(run: Run, held: RunHold, site: AdminSite, request: HttpRequest) -> HoldText:
    """Return what holds one run back."""
    pause = held.hold if held.is_pause else None
    sentence = str(_SENTENCES[held.kind])
    if held.rate is not None:
        sentence = f"{sentence}: {rate_text(held.rate)}"
    return HoldText(
        kind=held.kind,
        text=pause_text(sentence, pause) if pause is not None else format_html("{}", sentence),
        url=_page(run, held, site, request),
        is_pause=pause is not None,
        hold=pause.pk if pause is not None else None,
        scope=pause.scope if pause is not None else None,
    )


def rate_text(rate: float) -> str:
    """Return a rate limit in words; `rate` is runs a second."""
    return _("%(number)s runs a second") % {"number": formatting.number(int(rate) if rate == int(rate) else rate)}


def pause_text(sentence: str, hold: Hold) -> SafeString:
    """Return a sentence, which may be empty, with since when, by whom and why."""
    parts = [format_html("{}", sentence)] if sentence else []
    if hold.paused_at is not None:
        parts.append(format_html("{} {}", _("since"), formatting.moment(hold.paused_at)))
    if hold.paused_by:
        parts.append(format_html("{} {}", _("by"), formatting.text(hold.paused_by)))
    joined = format_html_join(" ", "{}", ((part,) for part in parts))
    return format_html("{}: {}", joined, formatting.text(hold.reason)) if hold.reason else joined


def pause_sentence(hold: Hold, webhook: str = "") -> str:
    """Say what is paused; `webhook` is the name of the webhook that the hold is about."""
    of_webhook, receiver = scope_parts(hold.scope)
    if hold.scope == EVERYTHING:
        return _("Everything is paused")
    words = {"webhook": formatting.visible(webhook)}
    if of_webhook and receiver:
        return _("Paused automatically for the webhook %(webhook)s") % words
    return _("The webhook %(webhook)s is paused") % words if of_webhook else _("The receiver is paused")


def pause_hint(site: AdminSite, request: HttpRequest, receivers: Sequence[str] = ()) -> SafeString | None:
    """Say that a pause may hold back what is to run, with a link to what is paused; None if nothing is paused.

    `receivers`: only pauses that may concern one of them; none: all pauses.
    """
    holds = read_holds(router.db_for_write(Hold)).paused
    parts = [scope_parts(hold.scope) for hold in holds]
    if not any(not receivers or not receiver or receiver in receivers for _webhook, receiver in parts):
        return None
    text, url = _("Something is paused. Runs that it holds back start when it is resumed."), receiver_url(site, request)
    return format_html('{} <a href="{}">{}</a>', text, url, _("Show")) if url else format_html("{}", text)


def page_of_scope(scope: str, site: AdminSite, request: HttpRequest) -> str:
    """Return the page about what a hold holds back: the receiver's or the webhook's; empty if the user has none."""
    if scope == EVERYTHING:
        return receiver_url(site, request)
    webhook, receiver = scope_parts(scope)
    if receiver:
        return receiver_url(site, request, receiver)
    may_view = PermittedRows(site, request).may_view(Webhook)
    return admin_url(site, Webhook, "change", webhook) if may_view else ""


def receiver_url(site: AdminSite, request: HttpRequest, receiver: str = "") -> str:
    """Return the page of a receiver, or of all receivers; empty if the user may not see runs."""
    if not PermittedRows(site, request).may_view(Run):
        return ""
    return admin_url(site, Run, "receiver", name=receiver) if receiver else admin_url(site, Run, "receivers")


def _page(run: Run, held: RunHold, site: AdminSite, request: HttpRequest) -> str:
    if held.kind is HoldKind.ORDER:
        return ""
    if held.kind in {HoldKind.WEBHOOK, HoldKind.EVERYTHING} and held.hold is not None:
        return page_of_scope(held.hold.scope, site, request)
    return receiver_url(site, request, run.receiver)
