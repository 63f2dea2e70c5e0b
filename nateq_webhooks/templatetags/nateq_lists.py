"""Filters for the templates of the lists."""

from typing import Final

from django import template
from django.apps import apps
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

_SEARCH_BOX: Final = 'id="searchbar"'


@register.filter
def directed(form: SafeString) -> SafeString:
    """Let the search box of Django's form follow the direction of what is typed, also on an Arabic page."""
    return mark_safe(form.replace(_SEARCH_BOX, f'{_SEARCH_BOX} dir="auto"', 1))  # noqa: S308 - rendered by Django


@register.filter
def breakable(name: str) -> SafeString:
    """Return a name that breaks after a dot or an underscore; it is copied without a further character."""
    # Not at the top: Django imports every app's tags for its checks, also on a site without the admin.
    from nateq_webhooks.admin import formatting

    return formatting.breakable(name)


@register.filter
def is_installed(app: str) -> bool:
    """Return whether the site has an app: django-unfold has a drawer of its own for the filters."""
    return apps.is_installed(app)
