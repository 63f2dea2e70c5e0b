"""Send calls over HTTP: attempts, retries, and an exception for everything that is not a successful answer.

httpx's own exceptions, requests and responses do not leave this module, because they contain the key. Errors are built
as values and raised outside of the attempt, so that neither a chained exception nor a traceback leads to the key.
"""

import logging
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx
import tenacity

from nateq_webhooks import __version__
from nateq_webhooks.client import api_errors
from nateq_webhooks.client.calls import Call
from nateq_webhooks.client.key import ApiKey
from nateq_webhooks.client.limits import RateLimit, count
from nateq_webhooks.client.response_parsing import UnreadableError, hide_secrets
from nateq_webhooks.errors import (
    ApiError,
    NateqConfigurationError,
    NateqConnectionError,
    NateqRateLimitError,
    NateqServerError,
    NateqTimeoutError,
)
from nateq_webhooks.protocol.api import (
    LIMIT_HEADER,
    LIMIT_PER_MINUTE,
    LIVE_KEY_PREFIX,
    REMAINING_HEADER,
    TEST_KEY_PREFIX,
)

logger = logging.getLogger(__name__)

LONGEST_WAIT_SECONDS: Final = 60.0
"""The longest `Retry-After` that is followed (Nateq's SDK)."""

MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024
"""Larger than any page of the log; a server that sends more is not Nateq."""

_backoff: Final = tenacity.wait_random_exponential(multiplier=0.5, max=8)
"""Full jitter, 0.5 s doubling to 8 s (Nateq's SDK)."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Success:
    """A successful answer: its status, its headers, and its JSON (None without a body)."""

    status: int
    headers: httpx.Headers = field(repr=False)
    document: Any = field(repr=False)


class Transport:
    """Sends calls to one address with one key. Safe to share between threads."""

    def __init__(
        self,
        key: ApiKey,
        base_url: httpx.URL,
        *,
        timeout: float,
        retries: int,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self._key = key
        self._base_url = base_url
        self._timeout = timeout
        self._retries = retries
        self._sleep = sleep
        limit = LIMIT_PER_MINUTE[TEST_KEY_PREFIX if key.is_test else LIVE_KEY_PREFIX]
        self._rate_limit = RateLimit(limit=limit, sleep=sleep, clock=clock)
        is_encrypted = base_url.scheme == "https"
        self._http = httpx.Client(
            auth=_Bearer(key),
            timeout=timeout,
            trust_env=is_encrypted,  # a proxy would be reached unencrypted, too, and could read the key
            # Loading the certificates takes 40 ms, and without encryption they are not used.
            verify=is_encrypted or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            follow_redirects=False,  # the key is for the configured address only
            headers={"Accept": "application/json", "User-Agent": f"nateq-webhooks/{__version__}"},
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(self, call: Call, read: Callable[[Any], T]) -> T:
        """Make a call, with retries, and return the answer's JSON as parsed by `read`. Raises `ApiError`."""
        outcome = self._retrying(call)(self._attempt, call)
        if isinstance(outcome, ApiError):
            raise outcome
        try:
            return read(outcome.document)
        except UnreadableError as error:
            reason = str(error)
        raise api_errors.unexpected(call, status=outcome.status, headers=outcome.headers, reason=reason)

    def _retrying(self, call: Call) -> tenacity.Retrying:
        return tenacity.Retrying(
            sleep=self._sleep,
            stop=tenacity.stop_after_attempt(self._retries + 1),
            wait=_wait,
            retry=tenacity.retry_if_result(lambda outcome: _should_retry(call, outcome)),
            before_sleep=lambda state: _log_retry(call, state),
            retry_error_callback=_result,
        )

    def _attempt(self, call: Call) -> Success | ApiError:
        """Make a call once."""
        self._rate_limit.wait()
        request = self._build(call)
        received = self._exchange(call, request)
        if isinstance(received, ApiError):
            return received
        response, headers = received, self._scrubbed(received.headers)
        if response.status_code != httpx.codes.TOO_MANY_REQUESTS:  # a 429 says how long to wait
            limit, remaining = headers.get(LIMIT_HEADER), headers.get(REMAINING_HEADER)
            self._rate_limit.update(limit=count(limit), remaining=count(remaining))
        return self._interpret(call, response, headers)

    def _build(self, call: Call) -> httpx.Request:
        if self._http.is_closed:
            raise NateqConfigurationError(f"{call.purpose} needs an open client; this one is closed.")
        url = f"{self._base_url}{call.path}"
        request = self._http.build_request(call.method, url, params=call.query or None, json=call.body)
        sent = f"{request.url} {request.content.decode()}"
        if self._key.scrub(sent) != sent:
            raise NateqConfigurationError(
                "The API key was about to be sent in a URL or a body: it was passed where an id, a URL or an event "
                "belongs. Nothing was sent."
            )
        return request

    def _exchange(self, call: Call, request: httpx.Request) -> httpx.Response | ApiError:
        """Send a request and return the complete answer, or the error if there is none."""
        deadline = time.monotonic() + self._timeout
        body = bytearray()
        try:
            with closing(self._http.send(request, stream=True)) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout("the answer took too long")
                    if len(body) > MAX_RESPONSE_BYTES:
                        return self._unreadable(call, response, f"it is longer than {MAX_RESPONSE_BYTES} bytes")
        except httpx.DecodingError:
            return self._unreadable(call, response, "it can't be decompressed")
        except httpx.RequestError as error:
            reason = self._key.scrub(str(error))
            host = self._base_url.netloc.decode()
            return api_errors.no_response(call, type(error), reason=reason, host=host, timeout=self._timeout)
        except BaseException as error:
            # An interrupt or a time limit of the worker: drop httpx's frames, which contain the header.
            _remove_tracebacks(error)
            raise
        return httpx.Response(response.status_code, headers=_without_encoding(response.headers), content=bytes(body))

    def _interpret(self, call: Call, response: httpx.Response, headers: httpx.Headers) -> Success | ApiError:
        """Return an answer as a success, or as the error that it stands for."""
        status = response.status_code
        if response.is_redirect:
            return api_errors.redirected(call, status=status, headers=headers)
        try:
            document = response.json(object_hook=hide_secrets) if response.content.strip() else None
        except (ValueError, RecursionError):
            if response.is_success:
                return self._unreadable(call, response, "it is not valid JSON; is NATEQ_BASE_URL right?")
            document = None
        if response.is_success and not api_errors.reports_error(document):
            return Success(status=status, headers=headers, document=document)
        return api_errors.refusal(call, status=status, headers=headers, document=self._key.scrub(document))

    def _unreadable(self, call: Call, response: httpx.Response, reason: str) -> ApiError:
        headers = self._scrubbed(response.headers)
        return api_errors.unexpected(call, status=response.status_code, headers=headers, reason=reason)

    def _scrubbed(self, headers: httpx.Headers) -> httpx.Headers:
        return httpx.Headers([(name, self._key.scrub(value)) for name, value in headers.multi_items()])


class _Bearer(httpx.Auth):
    """Adds the key to a request when it is sent; the client's default headers don't contain it."""

    def __init__(self, key: ApiKey) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["Authorization"] = self._key.bearer
        yield request


def _without_encoding(headers: httpx.Headers) -> httpx.Headers:
    """Return the headers without those about the encoding: the body has been decompressed."""
    encoding = {"content-encoding", "transfer-encoding", "content-length"}
    return httpx.Headers([item for item in headers.multi_items() if item[0] not in encoding])


def _should_retry(call: Call, outcome: Success | ApiError) -> bool:
    """Return whether to retry: after a 429 always, after other errors only reads (Nateq's SDK)."""
    if isinstance(outcome, NateqRateLimitError):
        return True
    return call.is_read and isinstance(outcome, NateqServerError | NateqConnectionError | NateqTimeoutError)


def _wait(state: tenacity.RetryCallState) -> float:
    retry_after = _result(state).retry_after
    return _backoff(state) if retry_after is None else min(retry_after, LONGEST_WAIT_SECONDS)


def _result(state: tenacity.RetryCallState) -> Any:
    return state.outcome.result() if state.outcome else None


def _log_retry(call: Call, state: tenacity.RetryCallState) -> None:
    error = type(_result(state)).__name__
    logger.info("%s failed: %s, retrying in %.1f s.", call, error, state.upcoming_sleep)


def _remove_tracebacks(error: BaseException) -> None:
    """Remove the tracebacks of an exception and of its causes."""
    known: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is None or id(link) in known:
            continue
        known.add(id(link))
        link.__traceback__ = None
        todo += [link.__cause__, link.__context__]
