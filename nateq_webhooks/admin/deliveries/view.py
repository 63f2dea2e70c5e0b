"""What the pages of one delivery have in common."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.pages import AdminPage
from nateq_webhooks.models import Delivery
from nateq_webhooks.models.redaction import as_shown


class DeliveryView(AdminPage):
    """A page of one delivery beside its own. It needs a further permission."""

    def is_allowed(self, request: HttpRequest) -> bool:
        """Return whether the user has the page's further permission."""
        raise NotImplementedError

    def get_delivery(self, pk: int) -> Delivery:
        """Return the delivery as it may be shown (`REDACT`).

        Raises `PermissionDenied` if the user may not see the page, else `Http404`.
        """
        request, model_admin = self.request, self.model_admin
        if not model_admin.has_view_permission(request) or not self.is_allowed(request):
            raise PermissionDenied
        delivery: Delivery = get_object_or_404(model_admin.get_queryset(request).defer("payload"), pk=pk)
        if not model_admin.has_view_permission(request, delivery):
            raise PermissionDenied
        return as_shown(delivery)


def title_of(delivery: Delivery) -> str:
    """Return what a delivery is called on its pages."""
    return formatting.visible(str(delivery).strip()) or _("Delivery %(number)s") % {"number": delivery.pk}
