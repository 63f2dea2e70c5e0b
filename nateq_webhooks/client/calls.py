"""One call of the API, as a value: what is sent, and the words for a person when it fails."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nateq_webhooks.protocol.api import WEBHOOKS_SCREEN


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A request to be made.

    `path` follows the base URL. `about` is the id of the webhook that the path names, empty where it names none.
    `purpose` opens a sentence ("Creating the webhook"), and `instead` says what to do in the dashboard on a server
    that has no such call.
    """

    method: str
    path: str
    about: str = ""
    purpose: str
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: Mapping[str, object] | None = field(default=None, repr=False)
    instead: str = f"do it under {WEBHOOKS_SCREEN}"

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing, so that it may be made again after any failure."""
        return self.method == "GET"

    def __str__(self) -> str:
        return f"{self.method} {self.path}"
