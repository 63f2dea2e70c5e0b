"""The dashboard for a template, so that it is on the index of any admin site without a class of its own."""

from typing import TYPE_CHECKING

from django import template
from django.template.context import RequestContext

if TYPE_CHECKING:
    from nateq_webhooks.admin.dashboard.page import Dashboard

register = template.Library()


@register.simple_tag(takes_context=True)
def nateq_dashboard(context: RequestContext) -> "Dashboard | None":
    """Return the dashboard for the user whose request is being answered; None outside of one."""
    # Not at the top: Django imports every app's tags for its checks, also on a site without the admin.
    from nateq_webhooks.admin.dashboard.page import DashboardBuilder

    request = getattr(context, "request", None)
    return DashboardBuilder(request).build() if request is not None else None
