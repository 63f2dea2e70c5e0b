"""Every operation of the API, for the tests that try all of them."""

from dataclasses import dataclass
from typing import Final

from django.urls import URLPattern

from nateq_webhooks.api.urls import urlpatterns


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation: its path has `{webhook}` and `{delivery}` in place of ids."""

    path: str
    parameters: tuple[str, ...] = ()


_CURSOR: Final = ("limit", "cursor")

OPERATIONS: Final = (
    Operation(path="/webhooks", parameters=("limit", "offset")),
    Operation(path="/webhooks/{webhook}"),
    Operation(path="/webhooks/{webhook}/logs", parameters=(*_CURSOR, "offset")),
    Operation(path="/webhooks/events"),
    Operation(
        path="/deliveries",
        parameters=(*_CURSOR, "status", "event", "webhook", "resource", "organization", "since", "until"),
    ),
    Operation(path="/deliveries/{delivery}"),
    Operation(path="/deliveries/{delivery}/body"),
    Operation(path="/deliveries/{delivery}/runs", parameters=_CURSOR),
    Operation(path="/rejections", parameters=(*_CURSOR, "webhook", "reason")),
    Operation(path="/receivers"),
    Operation(path="/status"),
)


def routes() -> set[str]:
    """Return the paths of the URLs, as `OPERATIONS` has them."""
    named = [pattern for pattern in urlpatterns if isinstance(pattern, URLPattern) and pattern.name]
    found = {str(pattern.pattern).removeprefix("v1") for pattern in named}
    return {path.replace("<str:pk>", "{webhook}" if path.startswith("/webhooks") else "{delivery}") for path in found}
