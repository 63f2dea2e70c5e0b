"""The page that pauses a webhook: its deliveries are stored, and their receivers start when it is resumed."""

from typing import Any

from django.contrib import messages
from django.db import router
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from nateq_webhooks import dispatch
from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.dashboard.alerts import held_by, holds_now, pause_of
from nateq_webhooks.admin.pages import PauseForm
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.admin.receivers.control import report_resumed
from nateq_webhooks.admin.webhooks.page import WebhookPage
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.hold import EVERYTHING, Hold


class PausePage(WebhookPage):
    """The page "Pause"."""

    route = "<path:object_id>/pause/"
    name = "pause"
    manages_transactions = True  # with DISPATCH = "inline" the receivers run in this request, after the commit

    def get(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002
        """Show whether the webhook is paused, and why."""
        return self._show(PauseForm())

    def post(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002
        """Pause or resume the webhook."""
        match request.POST.get("action"):
            case "pause":
                form = PauseForm(request.POST)
                return self._pause(form.cleaned_data["reason"]) if form.is_valid() else self._show(form)
            case "resume":
                return self._resume()
            case _:
                return self._show(PauseForm())

    def _pause(self, reason: str) -> HttpResponse:
        dispatch.pause(webhook=self.webhook, reason=reason, by=self.request.user.get_username())
        self._log("added", reason)
        messages.success(self.request, _("Paused. Deliveries are stored; their receivers wait."))
        return self.back()

    def _resume(self) -> HttpResponse:
        hold = pause_of(self.webhook)
        if hold is None or hold.scope == EVERYTHING:
            messages.warning(self.request, _("It was not paused."))
            return self.back()
        dispatch.resume(webhook=self.webhook)
        self._log("deleted", str(self.webhook))
        report_resumed(self.request, router.db_for_write(Hold))
        return self.back()

    def _log(self, change: str, name: str) -> None:
        entry = [{change: {"name": _("pause"), "object": name}}]
        self.model_admin.log_change(self.request, self.webhook, entry)

    def _show(self, form: PauseForm) -> HttpResponse:
        permitted = PermittedRows(self.model_admin.admin_site, self.request)
        return self.page("pause", _("Pause"), form=form, **pause_context(self.webhook, permitted))


def pause_context(webhook: Webhook, permitted: PermittedRows) -> dict[str, Any]:
    """Return what `webhook/paused.html` shows; empty if neither the webhook nor everything is paused."""
    hold: Hold | None = pause_of(webhook)
    if hold is None:
        return {}
    return {
        "hold": hold,
        "is_everything": hold.scope == EVERYTHING,
        "held": held_by(hold, holds_now(), permitted, sees_deliveries=permitted.may_view(Delivery)),
        "paused_by": formatting.visible(hold.paused_by),
        "reason": formatting.visible(hold.reason),
    }
