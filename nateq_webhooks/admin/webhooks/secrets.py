"""The page that generates a new signing secret: confirmed first, shown once, the former one accepted for a while.

It needs the permission `reveal_secret`. The secret is in one response only: in no message, cookie or session, and not
in the admin's history.
"""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from nateq_webhooks import audit
from nateq_webhooks.admin import audited
from nateq_webhooks.admin.permissions import may_reveal_secret
from nateq_webhooks.admin.webhooks.page import WebhookPage
from nateq_webhooks.conf import settings
from nateq_webhooks.models import Webhook
from nateq_webhooks.remote.claim import alias
from nateq_webhooks.remote.local_webhooks import RotatedSecret, is_local, rotate_here, secret_id
from nateq_webhooks.remote.remote_errors import RemoteError
from nateq_webhooks.remote.secret_rotation import require_stored_secret


class RotationForm(forms.Form):
    """The confirmation, with the id of the secret that the user saw."""

    confirmed = forms.ChoiceField(choices=[("yes", "yes")])
    current = forms.CharField(required=False)


class SecretPage(WebhookPage):
    """The page "New signing secret"."""

    route = "<path:object_id>/secret/"
    name = "secret"

    def is_allowed(self) -> bool:
        """Return whether the user may see signing secrets."""
        return may_reveal_secret(self.request)

    def get(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002
        """Ask for a confirmation."""
        if not is_local(self.webhook):
            return self._show(is_nateqs=True)
        try:
            require_stored_secret(self.webhook)
        except RemoteError as error:
            return self._show(problem=str(error))
        return self._show()

    @sensitive_variables()
    def post(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Generate a secret once that is confirmed, and show it in the response."""
        form = RotationForm(request.POST)
        if not is_local(self.webhook) or not form.is_valid():
            return self.get(request, object_id)
        try:
            rotated = rotate_here(self.webhook, known_id=form.cleaned_data["current"])
        except RemoteError as error:  # registered, or deleted, since the page was read
            messages.error(request, str(error))
            return HttpResponseRedirect(request.path)
        if rotated is None:
            return self._show(was_replaced=True)
        self.model_admin.log_change(request, self.webhook, [{"changed": {"fields": ["signing secret"]}}])
        return self.reveal(rotated)

    @sensitive_variables()
    def reveal(self, rotated: RotatedSecret) -> HttpResponse:
        """Show a new secret, this once; the audit log has it before."""
        audited.record(
            self.request,
            audit.Action.SECRET_REVEALED,
            **audit.of_webhook(self.webhook),
            alias=alias(),
        )
        response = self._show(secret=rotated.secret, former_id=str(rotated.former) if rotated.former else "")
        response["Cache-Control"] = "no-store, private"
        return response

    @sensitive_variables()
    def _show(self, **context: Any) -> HttpResponse:
        hours = int(settings().rotation_overlap.total_seconds() // 3600)
        return self.page("secret", _("Signing secret"), current_id=secret_id(self.webhook), hours=hours, **context)


@sensitive_variables()
def reveal_generated(model_admin: "admin.ModelAdmin[Webhook]", request: HttpRequest, webhook: Webhook) -> HttpResponse:
    """Show the secret that a new webhook was given, this once."""
    page = SecretPage(model_admin=model_admin)
    page.setup(request)
    page.webhook = webhook
    return page.reveal(RotatedSecret(secret=webhook.secret, former=None))
