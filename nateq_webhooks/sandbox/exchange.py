"""Requests and responses, between the HTTP server and the API or the screen."""

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from nateq_webhooks.sandbox.sandbox_errors import InvalidError


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A request with its complete body."""

    method: str
    target: str
    headers: Message
    body: bytes
    address: str
    """The IP address of the client."""

    @property
    def path(self) -> str:
        """The path, still encoded, without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; the last one if it is repeated."""
        return dict(urllib.parse.parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    def form(self) -> dict[str, list[str]]:
        """Return the fields of a posted form. Raises `InvalidError` for one with too many."""
        text = self.body.decode("utf-8", "replace")
        try:
            return urllib.parse.parse_qs(text, keep_blank_values=True, max_num_fields=1000)
        except ValueError as error:
            raise InvalidError({"form": "has too many fields."}) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """A response."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    is_lost: bool = False
    """Whether the connection is closed without a response, although the request was carried out."""

    @classmethod
    def json(
        cls, status: int, document: Mapping[str, Any], headers: Mapping[str, str], *, is_lost: bool = False
    ) -> "Response":
        """Build a response of the API."""
        return cls(
            status=status,
            body=json.dumps(document).encode(),
            content_type="application/json",
            headers=headers,
            is_lost=is_lost,
        )
