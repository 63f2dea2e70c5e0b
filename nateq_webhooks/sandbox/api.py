"""Nateq's API for webhooks, under /api/v1: authentication, rate limit, and the format of responses."""

import ipaddress
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from nateq_webhooks.protocol.api import (
    API_PATH,
    REMAINING_HEADER,
    REQUEST_ID_HEADER,
    SCOPE,
    ErrorCode,
)
from nateq_webhooks.protocol.api_answers import RequestError, new_request_id, success, too_many
from nateq_webhooks.sandbox.exchange import Request, Response
from nateq_webhooks.sandbox.faults import Fault, Faults
from nateq_webhooks.sandbox.keys import Key, Refusal, authenticate
from nateq_webhooks.sandbox.limits import RateLimit
from nateq_webhooks.sandbox.origin import is_allowed_host, is_same_origin
from nateq_webhooks.sandbox.resources import Operation, Reply, Resources, find

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_API_ERRORS: Final = {
    Fault.API_401: (ErrorCode.AUTHENTICATION_FAILED, "The API key could not be checked"),
    Fault.API_403: (ErrorCode.INSUFFICIENT_PERMISSION, "The owner of this API key may not do this"),
    Fault.API_500: (ErrorCode.INTERNAL_ERROR, "Something went wrong"),
}
"""The error that each fault returns to a valid request."""


class Api:
    """Responds to requests under /api/v1."""

    def __init__(
        self,
        resources: Resources,
        faults: Faults,
        keys: tuple[Key, ...],
        *,
        rate_limit: int,
        allowed: Collection[Network] = (),
        withheld: Collection[str] = (),
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        self._resources = resources
        self._faults = faults
        self._keys = keys
        self._limit = RateLimit(rate_limit)
        self._allowed = allowed
        self._withheld = withheld
        self._hosts = hosts

    def respond(self, request: Request) -> Response:
        """Respond to a request, in Nateq's envelope and with its headers."""
        headers = {REQUEST_ID_HEADER: new_request_id()}
        if not is_allowed_host(request, self._hosts):
            return _refused(421, "This host name is not the sandbox's. Use the address that it printed.", headers)
        if not is_same_origin(request):
            return _refused(403, "A page of another site sent this request. Nothing was done.", headers)
        try:
            key = self._key(request)
            operation, webhook_id, methods = find(request.method, request.path.removeprefix(API_PATH))
            if operation is None or not operation.is_ours:
                self._count(key, headers)
                self._check(key)
            if operation is None:
                raise _no_such(request, methods)
            reply = self._reply(key, operation, request, webhook_id)
        except RequestError as error:
            return Response.json(error.status, error.as_json(), headers | error.headers)
        return Response.json(reply.status, success(reply.data, reply.meta), headers, is_lost=reply.is_lost)

    def _key(self, request: Request) -> Key:
        key = authenticate(request.headers.get("Authorization"), self._keys)
        if isinstance(key, Refusal):
            raise RequestError(key.code, key.message)
        if self._allowed:
            address = ipaddress.ip_address(request.address.partition("%")[0])
            if not any(address in network for network in self._allowed):
                raise RequestError(ErrorCode.IP_NOT_ALLOWED, f"This API key may not be used from {address}")
        return key

    def _count(self, key: Key, headers: dict[str, str]) -> None:
        quota = self._limit.take(key.text)
        headers |= quota.headers
        if quota.retry_after is not None:
            raise too_many(quota)
        if self._faults.happens(Fault.API_429):
            headers[REMAINING_HEADER] = "0"
            raise too_many(replace(quota, retry_after=round(self._faults.seconds(Fault.API_429))))

    def _check(self, key: Key) -> None:
        if SCOPE not in key.scopes:
            raise RequestError(
                ErrorCode.INSUFFICIENT_SCOPE,
                f"This API key lacks the scope {SCOPE}",
                {"required": [SCOPE], "granted": sorted(key.scopes)},
            )
        for fault, (code, message) in _API_ERRORS.items():
            if self._faults.happens(fault):
                raise RequestError(code, message)

    def _reply(self, key: Key, operation: Operation, request: Request, webhook_id: str) -> Reply:
        if operation.name in self._withheld:
            raise RequestError(ErrorCode.ENDPOINT_NOT_PUBLIC, "This endpoint is not part of the public API")
        visible = replace(self._resources, webhooks=self._resources.webhooks.of(key.organization))
        return operation.handler(visible, request, webhook_id)


def _refused(status: int, message: str, headers: dict[str, str]) -> Response:
    error = {"code": ErrorCode.INSUFFICIENT_PERMISSION, "message": message}
    return Response.json(status, {"success": False, "error": error}, headers)


def _no_such(request: Request, methods: tuple[str, ...]) -> RequestError:
    if not methods:
        return RequestError(ErrorCode.NOT_FOUND, f"There is nothing at {request.path[:80]}")
    return RequestError(
        ErrorCode.METHOD_NOT_ALLOWED,
        f"{request.method} is not possible here",
        headers={"Allow": ", ".join(methods)},
    )
