"""What the further pages of a webhook have in common: who may open them, and how any admin site answers with them."""

from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from nateq_webhooks.models import Webhook

if TYPE_CHECKING:
    from django.contrib import admin

    _Base = admin.ModelAdmin[Webhook]
else:  # mixed into Django's class
    _Base = object


class PageAdmin(_Base):
    """Gives the admin of webhooks pages of its own."""

    def changeable(self, request: HttpRequest, object_id: str) -> Webhook:
        """Return the webhook for who may change it. Raises `PermissionDenied` and `Http404`."""
        webhook = self.get_object(request, unquote(object_id))
        if not self.has_change_permission(request, webhook):
            raise PermissionDenied
        if webhook is None:
            raise Http404(_("There is no such webhook."))
        return webhook

    def page_url(self, webhook: Webhook, page: str) -> str:
        """Return the address of a page of a webhook, such as "change" or "remote", on this admin site."""
        name = f"admin:nateq_webhooks_webhook_{page}"
        return reverse(name, args=[quote(webhook.pk)], current_app=self.admin_site.name)

    def page(
        self, request: HttpRequest, webhook: Webhook, name: str, title: str, context: dict[str, Any]
    ) -> HttpResponse:
        """Answer with the template `name` of a webhook."""
        request.current_app = self.admin_site.name
        whole = {
            **self.admin_site.each_context(request),
            "title": title,
            "subtitle": webhook.name,
            "opts": self.opts,
            "original": webhook,
            **context,
        }
        return TemplateResponse(request, f"admin/nateq_webhooks/webhook/{name}.html", whole)
