"""The dashboard for a template, so that it stands on the index of any admin site without a class of its own."""

from django import template
from django.template.context import RequestContext

from nateq_webhooks.admin.dashboard import Board, Dashboard

register = template.Library()


@register.simple_tag(takes_context=True)
def nateq_dashboard(context: RequestContext) -> Dashboard | None:
    """Return the dashboard for the user whose request is being answered; None outside of one."""
    request = getattr(context, "request", None)
    return Board(request).build() if request is not None else None
