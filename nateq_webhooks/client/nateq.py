"""The client: its key, its address, its time limits."""

import ipaddress
import os
import threading
import time
from collections.abc import Callable
from typing import NoReturn, Self

import httpx
import tenacity

from nateq_webhooks.client.key import ApiKey
from nateq_webhooks.client.transport import Transport
from nateq_webhooks.client.webhooks import Webhooks
from nateq_webhooks.errors import NateqConfigurationError
from nateq_webhooks.protocol.api import API_KEY_VARIABLE, BASE_URL, BASE_URL_VARIABLE

MAX_PORT = 65535


class NateqClient:
    """A client of Nateq's API with one key. Safe to share between threads; close it, or use it in a `with`.

    `api_key` and `base_url` come from NATEQ_API_KEY and NATEQ_BASE_URL when they are None; the default
    address is Nateq's own. An attempt fails if it takes longer than `timeout` seconds to connect, to get an answer,
    or to read it. A read is retried after a 429, a 408, a 5xx and a network error, a write only after a 429, at most
    `retries` times. `sleep` (seconds) and `clock` (monotonic) are for tests.

    Raises `NateqConfigurationError` for text that can't be a key, and for an address that is not https, except on
    this machine.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 2,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        key = ApiKey(os.environ.get(API_KEY_VARIABLE) if api_key is None else api_key)
        del api_key  # so that the local variables in a traceback do not show it
        self._key, self._base_url = key, "(no address)"
        key.check()
        address = _address(key, base_url if base_url is not None else os.environ.get(BASE_URL_VARIABLE) or BASE_URL)
        self._base_url = str(address)
        self.closing = threading.Event()
        "Set by `close`; threads that wait for Nateq stop waiting."
        self._transport = Transport(
            key,
            address,
            timeout=timeout,
            retries=retries,
            sleep=sleep or tenacity.sleep_using_event(self.closing),
            clock=clock,
        )
        self.webhooks = Webhooks(self._transport)

    def __repr__(self) -> str:
        return f"<NateqClient {self._base_url} {self._key!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A NateqClient holds an API key and open connections, so it can't be pickled or copied. "
            "Create one where it is needed."
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        """The address of the API, without a slash at its end."""
        return self._base_url

    @property
    def is_test_key(self) -> bool:
        """Whether the key is for Nateq's sandbox data (`tg_test_`), which is separate from production data."""
        return self._key.is_test

    def close(self) -> None:
        """Close the connections. A thread that waits to retry stops waiting, and fails."""
        self.closing.set()
        self._transport.close()


def _address(key: ApiKey, text: str) -> httpx.URL:
    """Return the base URL. Messages show only its scheme and host: the rest may contain a password."""
    try:
        url = httpx.URL(text.strip().rstrip("/"))
        problem = _problem(key, url)
    except (httpx.InvalidURL, ValueError, AttributeError):
        problem = "is not a URL"
    if problem:
        raise NateqConfigurationError(
            f"The base URL {problem}. Pass base_url= or set NATEQ_BASE_URL to something like {BASE_URL}."
        )
    return url


def _problem(key: ApiKey, url: httpx.URL) -> str:
    """Return why the key can't be sent to an address; empty if it can."""
    where = f"{url.scheme}://{url.host}"
    if not url.host:
        return "has no host"
    if url.port is not None and url.port > MAX_PORT:
        return f"has the port {url.port}"
    if key.scrub(str(url)) != str(url):
        return "has the API key in it"
    if url.userinfo or url.query or url.fragment:
        return f"{where} has a user, a query or a fragment in it"
    if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(url.host)):
        return f"{where} is not https, and the API key would be sent unencrypted"
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
