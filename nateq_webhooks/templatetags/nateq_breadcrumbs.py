"""The breadcrumbs of the admin's own pages, in the markup that the installed Django has style sheets for."""

from typing import Any, Final

import django
from django import template

register = template.Library()

IS_LIST: Final = django.VERSION >= (6, 1)
"""Since Django 6.1 the admin's style sheets are for a list, before for links with a separator between them."""


@register.inclusion_tag("admin/nateq_webhooks/breadcrumbs.html", takes_context=True)
def breadcrumbs(context: Any, here: str, *, row: str = "", between: str = "", between_url: str = "") -> dict[str, Any]:
    """Render the way to a page called `here`: the home, the app, the list, and one page more if there is one.

    That is the page of `original`, which is called `row`, or the one called `between`.
    """
    shared = {name: context.get(name) for name in ("opts", "original", "request")}
    return shared | {"here": here, "row": row, "between": between, "between_url": between_url, "is_list": IS_LIST}
