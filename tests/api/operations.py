"""Every operation of the API, for the tests that try all of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.urls import URLPattern

from nateq_webhooks.api.urls import urlpatterns


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation: its path has `{webhook}` and `{delivery}` in place of ids."""

    path: str
    parameters: tuple[str, ...] = ()
    method: str = "GET"
    fields: tuple[str, ...] = ()
    "Of the body."
    body: Mapping[str, object] | None = None
    "The least that it takes."

    @property
    def label(self) -> str:
        return self.path if self.method == "GET" else f"{self.method} {self.path}"

    def at(self, *, webhook: object, delivery: object, receiver: str = "shop.send", replay: object = 1) -> str:
        return self.path.format(webhook=webhook, delivery=delivery, receiver=receiver, replay=replay)


_CURSOR: Final = ("limit", "cursor")

_FILTERS: Final = ("status", "event", "webhook", "resource", "organization", "since", "until")

_WEBHOOK: Final = ("url", "events", "is_active", "name", "organization_id")

OPERATIONS: Final = (
    Operation(path="/webhooks", parameters=("limit", "offset")),
    Operation(path="/webhooks", method="POST", fields=_WEBHOOK),
    Operation(path="/webhooks/{webhook}"),
    Operation(path="/webhooks/{webhook}", method="PATCH", fields=_WEBHOOK),
    Operation(path="/webhooks/{webhook}", method="DELETE"),
    Operation(path="/webhooks/{webhook}/rotate-secret", method="POST"),
    Operation(path="/webhooks/{webhook}/logs", parameters=(*_CURSOR, "offset")),
    Operation(path="/webhooks/events"),
    Operation(
        path="/deliveries",
        parameters=(*_CURSOR, *_FILTERS),
    ),
    Operation(path="/deliveries/{delivery}"),
    Operation(path="/deliveries/{delivery}/body"),
    Operation(path="/deliveries/{delivery}/runs", parameters=_CURSOR),
    Operation(path="/rejections", parameters=(*_CURSOR, "webhook", "reason")),
    Operation(path="/deliveries/{delivery}/replay", method="POST", fields=("receivers", "failed_only", "reason")),
    Operation(path="/replays", parameters=_CURSOR),
    Operation(
        path="/replays",
        method="POST",
        fields=(*_FILTERS, "all", "receivers", "failed_only", "reason"),
        body={"all": True},
    ),
    Operation(path="/replays/{replay}"),
    Operation(path="/replays/{replay}/cancel", method="POST"),
    Operation(path="/receivers"),
    Operation(path="/receivers/{receiver}/pause", method="POST", fields=("reason",)),
    Operation(path="/receivers/{receiver}/resume", method="POST"),
    Operation(path="/status"),
    Operation(path="/schema", parameters=("format",)),
    Operation(path="/docs"),
)


def methods_of(path: str) -> set[str]:
    """Return the methods that a path takes."""
    methods = {operation.method for operation in OPERATIONS if operation.path == path}
    return methods | ({"HEAD"} if "GET" in methods else set())


def routes() -> set[str]:
    """Return the paths of the URLs, as `OPERATIONS` has them."""
    named = [pattern for pattern in urlpatterns if isinstance(pattern, URLPattern) and pattern.name]
    found = {str(pattern.pattern).removeprefix("v1") for pattern in named}
    ids = {"webhooks": "{webhook}", "deliveries": "{delivery}", "receivers": "{receiver}", "replays": "{replay}"}
    return {re.sub("<str:[a-z]+>", ids.get(path.split("/")[1], ""), path) for path in found}
