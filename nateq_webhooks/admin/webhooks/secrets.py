"""A new signing secret of our own making: asked for twice, shown once, and the former one accepted for a while.

Who may see or replace a secret has the permission `reveal_secret`. The secret is in one answer only: in no message, no
cookie, no session, and not in the admin's history.
"""

from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from nateq_webhooks.admin.permissions import may_reveal_secret
from nateq_webhooks.admin.webhooks.page import PageAdmin
from nateq_webhooks.conf import settings
from nateq_webhooks.inbox.former_secrets import keep_former
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.models.webhook import generate_secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotated:
    """A new secret, and the former one as it is kept; None when that one could verify nothing."""

    secret: str = field(repr=False)
    former: Secret | None


@sensitive_variables()
def rotate(webhook: Webhook, *, known_id: str) -> Rotated | None:
    """Give the webhook a new secret, unless its current one is not that of `known_id` any more."""
    alias = router.db_for_write(Webhook)
    with transaction.atomic(using=alias):
        current = Webhook.objects.using(alias).select_for_update().get(pk=webhook.pk)
        if id_of(current) != known_id:
            return None
        former, current.secret = current.secret, generate_secret()
        current.save(using=alias, update_fields=["secret"])
        return Rotated(secret=current.secret, former=keep_former(current, former))


def id_of(webhook: Webhook) -> str:
    """Return the id of a webhook's current secret, which may be shown."""
    return str(Secret(secret=webhook.secret))


class RotationAdmin(PageAdmin):
    """Adds the page "New signing secret" to the admin of webhooks."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page."""
        view = self.admin_site.admin_view(self.secret_view)
        return [path("<path:object_id>/secret/", view, name="nateq_webhooks_webhook_secret"), *super().get_urls()]

    def secret_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask; after a confirmed POST, show the new secret in the answer, which nobody keeps."""
        if request.method not in ("GET", "POST"):
            return HttpResponseNotAllowed(["GET", "POST"])
        webhook = self.changeable(request, object_id)
        if not may_reveal_secret(request):
            raise PermissionDenied
        if webhook.registration != Webhook.Registration.MANUAL:
            return self._secret_page(request, webhook, {"is_nateqs": True})
        if request.method == "GET" or request.POST.get("confirmed") != "yes":
            return self._secret_page(request, webhook, {"hours": _hours()})
        return self._rotated(request, webhook)

    @sensitive_variables()
    def _rotated(self, request: HttpRequest, webhook: Webhook) -> HttpResponse:
        rotated = rotate(webhook, known_id=request.POST.get("current", ""))
        if rotated is None:
            return self._secret_page(request, webhook, {"was_faster": True, "hours": _hours()})
        self.log_change(request, webhook, [{"changed": {"fields": ["signing secret"]}}])
        return self.secret_page(request, webhook, rotated)

    @sensitive_variables()
    def secret_page(self, request: HttpRequest, webhook: Webhook, rotated: Rotated) -> HttpResponse:
        """Show a new secret, this once."""
        former = rotated.former
        context = {
            "secret": rotated.secret,
            "former_id": str(former) if former else "",
            "hours": _hours(),
        }
        response = self._secret_page(request, webhook, context)
        response["Cache-Control"] = "no-store, private"
        return response

    def _secret_page(self, request: HttpRequest, webhook: Webhook, context: dict[str, Any]) -> HttpResponse:
        whole = {"current_id": id_of(webhook), **context}
        return self.page(request, webhook, "secret", _("Signing secret"), whole)


def _hours() -> int:
    return int(settings().rotation_overlap.total_seconds() // 3600)
