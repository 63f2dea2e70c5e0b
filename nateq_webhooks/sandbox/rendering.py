"""Jinja2, with autoescaping of everything."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2

from nateq_webhooks.sandbox.clock import iso

_HERE: Final = Path(__file__).parent

STATIC: Final = {
    "sandbox.css": "text/css; charset=utf-8",
    "logo.svg": "image/svg+xml",
}
"""The files that pages load, with their content types."""


class Templates:
    """Renders the pages of the settings screen. `shared_context` has the values that every page has."""

    def __init__(self, shared_context: Mapping[str, Any]) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"iso": iso, "moment": _moment, "pretty": pretty, "span": _span}
        self._environment.globals |= shared_context

    def render(self, name: str, values: Mapping[str, Any]) -> bytes:
        """Render `name`.html."""
        return self._environment.get_template(f"{name}.html").render(values).encode("utf-8", "replace")


def static(name: str) -> bytes | None:
    """Return a file that pages load, or None."""
    return (_HERE / "static" / name).read_bytes() if name in STATIC else None


def pretty(document: object) -> str:
    """Format JSON for people: indented, without escapes for letters."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def _moment(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%d %b %Y, %H:%M:%S}"


def _span(seconds: float) -> str:
    """Format a duration in its largest unit."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
