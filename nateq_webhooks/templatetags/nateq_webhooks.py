"""The dashboard for a template, so that it is on the index of any admin site without a class of its own."""

from typing import TYPE_CHECKING

from django import template
from django.template.context import RequestContext
from django.utils.html import format_html
from django.utils.safestring import SafeString

from nateq_webhooks.conf import Problem, problems, wrong_settings

if TYPE_CHECKING:
    from nateq_webhooks.admin.dashboard.page import Dashboard
    from nateq_webhooks.models import Webhook

register = template.Library()


@register.filter
def left_at_nateq(webhook: "Webhook") -> SafeString:
    """Return what stays at Nateq if the webhook is deleted here, and how to delete it there: a command to copy."""
    # Not at the top, as below.
    from nateq_webhooks.remote.commands import command
    from nateq_webhooks.remote.local_webhooks import left_at_nateq as text_of

    before, found, after = text_of(webhook).partition(command("delete", webhook))
    return format_html('{}<code dir="ltr">{}</code>{}', before, found, after) if found else format_html("{}", before)


@register.simple_tag
def nateq_settings_problems() -> list[Problem]:
    """Return what is wrong with the settings."""
    return list(problems()) if wrong_settings() else []


@register.simple_tag(takes_context=True)
def nateq_dashboard(context: RequestContext) -> "Dashboard | None":
    """Return the dashboard for the user who asks; None outside of a request, or while the settings are wrong."""
    # Not at the top: Django imports every app's tags for its checks, also on a site without the admin.
    from nateq_webhooks.admin.dashboard.page import DashboardBuilder

    request = getattr(context, "request", None)
    return None if request is None or wrong_settings() else DashboardBuilder(request).build()
