"""What the pages of a webhook have in common."""

from typing import Any

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils.translation import gettext as _

from nateq_webhooks.admin.pages import AdminPage
from nateq_webhooks.models import Webhook


class WebhookPage(AdminPage):
    """A page of one webhook, for users who may change it."""

    webhook: Webhook

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Find the webhook and check the permissions before any method runs."""
        if request.method and request.method.lower() not in self.http_method_names:
            return self.http_method_not_allowed(request)
        webhook = self.model_admin.get_object(request, unquote(kwargs["object_id"]))
        if not self.model_admin.has_change_permission(request, webhook) or not self.is_allowed():
            raise PermissionDenied
        if webhook is None:
            raise Http404(_("There is no such webhook."))
        self.webhook = webhook
        return super().dispatch(request, *args, **kwargs)

    def is_allowed(self) -> bool:
        """Return whether the user has the page's further permission, if it has one."""
        return True

    def page(self, template: str, title: str, **context: Any) -> HttpResponse:
        """Return a page about the webhook."""
        return self.render(f"webhook/{template}", title, subtitle=str(self.webhook), original=self.webhook, **context)

    def back(self) -> HttpResponseRedirect:
        """Return a redirect to the form of the webhook."""
        return HttpResponseRedirect(self.url("change", self.webhook.pk))
