"""A call of the API as a value: what is sent, and the texts for its error message."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nateq_webhooks.protocol.api import WEBHOOKS_SCREEN


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A request to be made.

    `path` follows the base URL; `webhook_id` is the webhook that it contains, if any. `purpose` begins a sentence
    ("Creating the webhook"), and `instead` says what to do in the dashboard if the server has no such call.
    """

    method: str
    path: str
    webhook_id: str = ""
    purpose: str
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: Mapping[str, object] | None = field(default=None, repr=False)
    instead: str = f"do it under {WEBHOOKS_SCREEN}"

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing, so that it may be repeated after any failure."""
        return self.method == "GET"

    def __str__(self) -> str:
        return f"{self.method} {self.path}"
