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
def is_installed(app: str) -> bool:
    """Return whether the site has an app: django-unfold has a drawer of its own for the filters."""
    return apps.is_installed(app)
