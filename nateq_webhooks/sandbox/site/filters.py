"""The filters of the pages' templates."""

import json
from datetime import UTC, datetime

from django import template

from nateq_webhooks.sandbox.moments import iso

register = template.Library()

register.filter("iso", iso)


@register.filter
def moment(value: float) -> str:
    """Format a moment (UTC)."""
    return f"{datetime.fromtimestamp(value, UTC):%d %b %Y, %H:%M:%S}"


@register.filter
def pretty(document: object) -> str:
    """Format JSON for people: indented, without escapes for letters."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "replace").decode()


@register.filter
def span(start: float, end: float) -> str:
    """Format the time from one moment to another in its largest unit."""
    seconds = end - start
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


@register.filter
def sentence(text: str) -> str:
    """Begin a text with a capital letter, and leave the rest as it is."""
    return text[:1].upper() + text[1:]
