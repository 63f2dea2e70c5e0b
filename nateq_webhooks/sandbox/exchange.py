"""A request as it came in and the answer to it: what lies between the HTTP server and the API or the screen."""

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from nateq_webhooks.sandbox.errors import InvalidError


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A request with its whole body."""

    method: str
    target: str
    headers: Message
    body: bytes
    address: str
    """The IP address it came from."""

    @property
    def path(self) -> str:
        """The path, still encoded, without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last."""
        return dict(urllib.parse.parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    def form(self) -> dict[str, list[str]]:
        """Return the fields of a posted form. Raises `InvalidError` for one with too many."""
        text = self.body.decode("utf-8", "replace")
        try:
            return urllib.parse.parse_qs(text, keep_blank_values=True, max_num_fields=1000)
        except ValueError as error:
            raise InvalidError({"form": "has too many fields."}) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What is sent back."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    is_lost: bool = False
    """Whether the connection is closed instead of answering: what was asked for has been done all the same."""

    @classmethod
    def json(
        cls, status: int, document: Mapping[str, Any], headers: Mapping[str, str], *, is_lost: bool = False
    ) -> "Answer":
        """Build an answer of the API."""
        return cls(
            status=status,
            body=json.dumps(document).encode(),
            content_type="application/json",
            headers=headers,
            is_lost=is_lost,
        )
