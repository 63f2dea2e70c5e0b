"""The page "What did Nateq try?": Nateq's own log of a webhook, read live, beside what this site holds.

It shows no secret, no key, no body and no answer's body.
"""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from nateq_webhooks import remote
from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.admin.webhooks.page import WebhookPage
from nateq_webhooks.conf import settings
from nateq_webhooks.errors import ApiError
from nateq_webhooks.models import Delivery, Rejection
from nateq_webhooks.models.rejection import reason_text
from nateq_webhooks.remote.attempt_log import MAX_PAGES, PAGE_SIZE, SentAttempt
from nateq_webhooks.remote.error_text import localized


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptLine:
    """An attempt in the table."""

    at: SafeString | str
    delivery_id: str
    event: str
    number: str
    answer: str
    "The answer's status code, or Nateq's word for the attempt."
    duration: str
    held: str
    "What this site holds of it."
    level: str
    symbol: str
    url: str


class SentLogPage(WebhookPage):
    """The page of the attempts in Nateq's log."""

    route = "<path:object_id>/sent/"
    name = "sent"
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002
        """Show a page of the log, or the error that Nateq answered with."""
        permitted = PermittedRows(self.model_admin.admin_site, request)
        number = _page_number(request.GET.get("page", ""))
        sees = {model: permitted.may_view(model) for model in (Delivery, Rejection)}
        try:
            with remote.connect(self.webhook) as client:
                found = remote.sent_log(
                    client,
                    self.webhook,
                    number,
                    deliveries=permitted.of(Delivery) if sees[Delivery] else Delivery.objects.none(),
                    rejections=permitted.of(Rejection) if sees[Rejection] else Rejection.objects.none(),
                )
        except (ApiError, remote.RemoteError) as error:
            return self._show(error=localized(error))
        is_compared = sees[Delivery] and settings().identity != "content"
        return self._show(
            lines=[self._line(each, is_compared=is_compared) for each in found.attempts],
            is_compared=is_compared,
            newer=number - 1 if number > 1 else None,
            older=number + 1 if found.has_more else None,
            is_last=number == MAX_PAGES,
            limit=formatting.number(MAX_PAGES * PAGE_SIZE),
        )

    def _show(self, **context: Any) -> HttpResponse:
        return self.page("sent_log", _("What did Nateq try?"), **context)

    def _line(self, attempt: SentAttempt, *, is_compared: bool) -> AttemptLine:
        entry = attempt.entry
        held, level, symbol, url = self._held(attempt, is_compared=is_compared)
        duration = "" if entry.duration_ms is None else _("%(number)s ms") % {"number": round(entry.duration_ms)}
        return AttemptLine(
            at=formatting.moment(entry.attempted_at) or "",
            delivery_id=formatting.visible(entry.delivery_id),
            event=formatting.visible(entry.event),
            number="" if entry.attempt is None else formatting.number(entry.attempt),
            answer=str(entry.response_status)
            if entry.response_status is not None
            else formatting.visible(entry.status),
            duration=duration,
            held=held,
            level=level,
            symbol=symbol,
            url=url,
        )

    def _held(self, attempt: SentAttempt, *, is_compared: bool) -> tuple[str, str, str, str]:
        """Return what this site holds: text, level, symbol and address."""
        site = self.model_admin.admin_site
        if attempt.delivery is not None:
            style = formatting.STATUS_STYLES[attempt.delivery.status]
            text = _("Stored: %(status)s") % {"status": attempt.delivery.get_status_display()}
            return text, style.level, style.symbol, admin_url(site, Delivery, "change", attempt.delivery.pk)
        if attempt.rejection is not None:
            reason = _("Refused: %(reason)s") % {"reason": reason_text(attempt.rejection.reason)}
            return reason, "bad", "⊘", admin_url(site, Rejection, "change", attempt.rejection.pk)
        return (_("Not seen here"), "warn", "?", "") if is_compared else ("", "quiet", "", "")


def _page_number(text: str) -> int:
    """Return the page that an address asks for, within the limits."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_PAGES)) else 1
    return min(max(number, 1), MAX_PAGES)
