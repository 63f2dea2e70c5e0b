"""Pausing a webhook: its deliveries are taken in and stored, and their receivers start when it goes on again."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from nateq_webhooks import dispatch
from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.dashboard.alerts import held_by, pause_of
from nateq_webhooks.admin.permissions import Among, Permitted
from nateq_webhooks.admin.webhooks.page import PageAdmin
from nateq_webhooks.models import Webhook
from nateq_webhooks.models.gate import EVERYTHING, Gate


class PauseAdmin(PageAdmin):
    """Adds the page "Pause" to the admin of webhooks."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page."""
        view = self.admin_site.admin_view(self.pause_view)
        return [path("<path:object_id>/pause/", view, name="nateq_webhooks_webhook_pause"), *super().get_urls()]

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show whether the webhook is paused and why; pause it or let it go on by POST."""
        if request.method not in ("GET", "POST"):
            return HttpResponseNotAllowed(["GET", "POST"])
        webhook = self.changeable(request, object_id)
        action = request.POST.get("action", "")
        if action == "pause":
            return self._pause(request, webhook, request.POST.get("reason", "").replace("\0", "").strip())
        if action == "resume":
            return self._resume(request, webhook)
        return self._pause_page(request, webhook)

    def _pause(self, request: HttpRequest, webhook: Webhook, reason: str) -> HttpResponse:
        if not reason:
            return self._pause_page(request, webhook, {"error": _("Write why: whoever finds it paused wants to know.")})
        dispatch.pause(webhook=webhook, reason=reason, by=request.user.get_username())
        self.log_change(request, webhook, [{"added": {"name": _("pause"), "object": reason}}])
        self.message_user(request, _("Paused. Deliveries are stored; their receivers wait."), messages.SUCCESS)
        return HttpResponseRedirect(self.page_url(webhook, "change"))

    def _resume(self, request: HttpRequest, webhook: Webhook) -> HttpResponse:
        dispatch.resume(webhook=webhook)
        self.log_change(request, webhook, [{"deleted": {"name": _("pause"), "object": webhook.name}}])
        self.message_user(request, _("It goes on: what waited starts in the order it came."), messages.SUCCESS)
        return HttpResponseRedirect(self.page_url(webhook, "change"))

    def _pause_page(
        self, request: HttpRequest, webhook: Webhook, context: dict[str, Any] | None = None
    ) -> HttpResponse:
        whole = {**pause_context(webhook, Permitted(self.admin_site, request)), **(context or {})}
        return self.page(request, webhook, "pause", _("Pause"), whole)


def pause_context(webhook: Webhook, among: Among) -> dict[str, Any]:
    """Return what a template needs to tell of a pause: nothing when there is none."""
    gate: Gate | None = pause_of(webhook)
    if gate is None:
        return {}
    return {
        "gate": gate,
        "is_everything": gate.scope == EVERYTHING,
        "held": held_by(gate, among),
        "paused_by": formatting.visible(gate.paused_by),
        "reason": formatting.visible(gate.reason),
    }
