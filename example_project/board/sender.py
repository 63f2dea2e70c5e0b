"""A sender of deliveries over real HTTP, as Nateq would send them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection

from nateq_webhooks.protocol.signatures import DEFAULT_HEADER

HOST = "127.0.0.1"
SECONDS_TO_ANSWER = 30.0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try to deliver. `signature` is None when the header is to be left out."""

    event: str
    delivery_id: str
    number: int
    body: bytes
    signature: str | None
    genuine: bool


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the receiving side said to an attempt."""

    attempt: Attempt
    status: int

    @property
    def wanted_status(self) -> int:
        """What a correct receiving side answers: 200 to a genuine attempt, 401 to a forged one."""
        return 200 if self.attempt.genuine else 401


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Posts attempts to one webhook's URL on this machine."""

    port: int
    path: str

    def send(self, volley: Sequence[Attempt]) -> list[Answer]:
        """Post all attempts of a volley at the same moment.

        Raises `OSError` or `http.client.HTTPException` when the server does not answer.
        """
        with ThreadPoolExecutor(len(volley)) as pool:
            return list(pool.map(self._post, volley))

    def _post(self, attempt: Attempt) -> Answer:
        headers = {"Content-Type": "application/json", "User-Agent": "nateq-webhooks-demo"}
        if attempt.signature is not None:
            headers[DEFAULT_HEADER] = attempt.signature
        with closing(HTTPConnection(HOST, self.port, timeout=SECONDS_TO_ANSWER)) as connection:
            connection.request("POST", self.path, body=attempt.body, headers=headers)
            response = connection.getresponse()
            response.read()
            return Answer(attempt=attempt, status=response.status)
