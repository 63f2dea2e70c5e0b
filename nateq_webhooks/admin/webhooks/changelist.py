"""The list of webhooks: it marks those that are switched off or paused."""

from typing import Any, Final

from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from nateq_webhooks.admin.formatting import StatusStyle, styled
from nateq_webhooks.admin.hold_text import pause_text
from nateq_webhooks.dispatch.pauses import paused
from nateq_webhooks.models import Webhook
from nateq_webhooks.models.hold import EVERYTHING, webhook_scope

_ACTIVE: Final = StatusStyle("✓", "good")
_SWITCHED_OFF: Final = StatusStyle("⊘", "quiet")
_PAUSED: Final = StatusStyle("‖", "warn")


class WebhookChangeList(ChangeList):
    """Adds to each webhook the hold that holds all of its runs back: one query for the page."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, and what is paused."""
        super().get_results(request)
        holds = {hold.scope: hold for hold in paused()}
        rows: Any = self.result_list
        self.result_list = list(rows)
        for webhook in self.result_list:
            webhook.shown_hold = holds.get(webhook_scope(webhook.pk)) or holds.get(EVERYTHING)


def state_of(webhook: Webhook) -> SafeString:
    """Return whether a webhook of the list is active, switched off or paused; a pause with why, by whom, since when."""
    hold = getattr(webhook, "shown_hold", None)
    parts = [] if webhook.is_active else [styled(_SWITCHED_OFF, _("Switched off"))]
    if hold is not None:
        sentence = _("Everything is paused") if hold.scope == EVERYTHING else ""
        text = format_html('<span class="nateq-quiet-text">{}</span>', pause_text(sentence, hold))
        parts += [styled(_PAUSED, _("Paused")), text]
    return format_html_join(" ", "{}", ((part,) for part in parts or [styled(_ACTIVE, _("Active"))]))
