"""A delivery's request with a signature, to copy: shown after a click, and recorded in the audit log before."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from nateq_webhooks import audit
from nateq_webhooks.admin.deliveries import snippets
from nateq_webhooks.admin.deliveries.content_change import is_gone
from nateq_webhooks.admin.deliveries.payload_pages import ContentView
from nateq_webhooks.admin.deliveries.view import title_of
from nateq_webhooks.admin.permissions import PermittedRows, may_reveal_secret, may_see_payload


class SignedPage(ContentView):
    """The curl command of a delivery, signed with the webhook's current secret."""

    route = "<int:pk>/signed/"
    name = "signed"
    http_method_names = ["post"]

    def is_allowed(self, request: HttpRequest) -> bool:
        """Return whether the user may see payloads, and get requests signed."""
        return may_see_payload(request) and may_reveal_secret(request)

    @sensitive_variables()
    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the command, this once."""
        delivery = self.get_delivery(pk)
        if is_gone(delivery):
            return self._say_that_it_is_gone(delivery)
        if not PermittedRows(self.model_admin.admin_site, request).shows(delivery.webhook):
            raise Http404
        snippet = snippets.as_curl(delivery, request.build_absolute_uri("/").rstrip("/"), is_signed=True)
        if snippet is None:
            raise Http404
        if not snippet.is_signed:
            messages.warning(request, _("It is not signed, because the webhook has no usable secret."))
            return HttpResponseRedirect(self.url("change", pk))
        audit.record(audit.Action.REQUEST_SIGNED, target=f"delivery {delivery.pk}")
        response = self.render(
            "delivery/signed",
            _("Signed request"),
            original=delivery,
            name=title_of(delivery),
            copy=snippet,
            back_url=self.url("change", delivery.pk),
        )
        response["Cache-Control"] = "no-store, private"
        return response
