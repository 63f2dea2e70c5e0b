"""The operations of the API: webhooks, their logs, and those that only the sandbox has (sending and faults)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from nateq_webhooks.protocol.api import (
    EVENTS_PATH,
    LIMIT_PARAMETER,
    LOGS_SEGMENT,
    MAX_PAGE_SIZE,
    OFFSET_PARAMETER,
    PAGE_SIZE,
    ROTATE_SEGMENT,
    WEBHOOKS_PATH,
    ErrorCode,
)
from nateq_webhooks.protocol.api_answers import RequestError, invalid
from nateq_webhooks.protocol.documents import load_object
from nateq_webhooks.sandbox.deliveries import Deliveries
from nateq_webhooks.sandbox.exchange import Request
from nateq_webhooks.sandbox.faults import Fault, Faults
from nateq_webhooks.sandbox.log import Log
from nateq_webhooks.sandbox.sandbox_errors import InvalidError
from nateq_webhooks.sandbox.webhooks import SandboxWebhook, Webhooks


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """The result of an operation that succeeded."""

    data: Any
    meta: dict[str, int] | None = None
    status: int = 200
    is_lost: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """The objects that the operations use."""

    webhooks: Webhooks
    deliveries: Deliveries
    log: Log
    faults: Faults
    catalogue: Mapping[str, str]
    wake: Callable[[], None]
    """Notifies the sender that something was accepted."""


class Operation(NamedTuple):
    """An operation of the API. `path` has `*` in place of the webhook's id; `is_ours`: only the sandbox has it."""

    name: str
    method: str
    path: str
    handler: Callable[[Resources, Request, str], Reply]
    is_ours: bool = False


def find(method: str, path: str) -> tuple[Operation | None, str, tuple[str, ...]]:
    """Return the operation at a path below /api/v1, the webhook id in the path, and the methods that it takes."""
    head, slash, rest = path.removeprefix(f"{WEBHOOKS_PATH}/").partition("/")
    webhook_id = head if path.startswith(f"{WEBHOOKS_PATH}/") else ""
    pattern = f"{WEBHOOKS_PATH}/*{slash}{rest}" if webhook_id and path != EVENTS_PATH else path
    here = [operation for operation in OPERATIONS if operation.path == pattern]
    found = next((operation for operation in here if operation.method == method), None)
    return found, webhook_id, tuple(operation.method for operation in here)


def _list(resources: Resources, request: Request, _: str) -> Reply:
    limit, offset = _page(request)
    webhooks = [webhook.as_json() for webhook in resources.webhooks.page(limit, offset)]
    return Reply(
        data=webhooks, meta={"total": resources.webhooks.count(), LIMIT_PARAMETER: limit, OFFSET_PARAMETER: offset}
    )


def _create(resources: Resources, request: Request, _: str) -> Reply:
    document = _document(request)
    with _fields():
        webhook = resources.webhooks.create(document.get("url"), document.get("events"))
    is_lost = resources.faults.happens(Fault.LOSE_CREATE_ANSWER)
    return Reply(data=webhook.as_json() | {"secret": webhook.secret}, status=201, is_lost=is_lost)


def _get(resources: Resources, _: Request, webhook_id: str) -> Reply:
    return Reply(data=_found(resources.webhooks.get(webhook_id), webhook_id).as_json())


def _update(resources: Resources, request: Request, webhook_id: str) -> Reply:
    with _fields():
        webhook = resources.webhooks.update(webhook_id, _document(request))
    return Reply(data=_found(webhook, webhook_id).as_json())


def _delete(resources: Resources, _: Request, webhook_id: str) -> Reply:
    if not resources.webhooks.delete(webhook_id):
        raise _no_webhook(webhook_id)
    return Reply(data={"id": webhook_id, "deleted": True})


def _rotate_secret(resources: Resources, _: Request, webhook_id: str) -> Reply:
    webhook = _found(resources.webhooks.rotate_secret(webhook_id), webhook_id)
    return Reply(data=webhook.as_json() | {"secret": webhook.secret})


def _events(resources: Resources, _: Request, __: str) -> Reply:
    events = [{"name": name, "description": text} for name, text in resources.catalogue.items()]
    return Reply(data=events, meta={"total": len(events)})


def _logs(resources: Resources, request: Request, webhook_id: str) -> Reply:
    limit, offset = _page(request)
    _found(resources.webhooks.get(webhook_id), webhook_id)
    entries = [attempt.as_json() for attempt in resources.log.page(webhook_id, limit, offset)]
    return Reply(
        data=entries, meta={"total": resources.log.count(webhook_id), LIMIT_PARAMETER: limit, OFFSET_PARAMETER: offset}
    )


def _send(resources: Resources, request: Request, _: str) -> Reply:
    document = _document(request)
    with _fields():
        ids = resources.deliveries.accept(
            document.get("event"),
            document.get("data"),
            document.get("count", 1),
            document.get("webhook_id"),
            among=resources.webhooks,
        )
    resources.wake()
    return Reply(data={"accepted": document.get("count", 1), "delivery_ids": ids}, status=202)


def _show_faults(resources: Resources, _: Request, __: str) -> Reply:
    return Reply(data={fault: switch.as_json() for fault, switch in resources.faults.current().items()})


def _set_faults(resources: Resources, request: Request, webhook_id: str) -> Reply:
    with _fields():
        resources.faults.update(_document(request))
    return _show_faults(resources, request, webhook_id)


def _clear_faults(resources: Resources, request: Request, webhook_id: str) -> Reply:
    resources.faults.clear()
    return _show_faults(resources, request, webhook_id)


_ONE: Final = f"{WEBHOOKS_PATH}/*"

OPERATIONS: Final = (
    Operation("events", "GET", EVENTS_PATH, _events),
    Operation("list", "GET", WEBHOOKS_PATH, _list),
    Operation("create", "POST", WEBHOOKS_PATH, _create),
    Operation("get", "GET", _ONE, _get),
    Operation("update", "PATCH", _ONE, _update),
    Operation("delete", "DELETE", _ONE, _delete),
    Operation("rotate_secret", "POST", f"{_ONE}/{ROTATE_SEGMENT}", _rotate_secret),
    Operation("logs", "GET", f"{_ONE}/{LOGS_SEGMENT}", _logs),
    Operation("send", "POST", "/sandbox/events", _send, is_ours=True),
    Operation("show_faults", "GET", "/sandbox/faults", _show_faults, is_ours=True),
    Operation("set_faults", "POST", "/sandbox/faults", _set_faults, is_ours=True),
    Operation("clear_faults", "DELETE", "/sandbox/faults", _clear_faults, is_ours=True),
)
"""The operations of the API. Those that Nateq has can be withheld by name (`Sandbox(withhold=...)`)."""


@contextmanager
def _fields() -> Iterator[None]:
    """Turn an `InvalidError` into the API's response."""
    try:
        yield
    except InvalidError as error:
        raise invalid(error.fields, "fields") from error


def _document(request: Request) -> dict[str, Any]:
    try:
        return load_object(request.body)
    except ValueError as error:
        raise RequestError(ErrorCode.VALIDATION_ERROR, f"The body can't be read: {error}", status=400) from error


def _page(request: Request) -> tuple[int, int]:
    """Return `limit` and `offset` of a list."""
    values, problems = [], {}
    for name, default, least, most in ((LIMIT_PARAMETER, PAGE_SIZE, 1, MAX_PAGE_SIZE), (OFFSET_PARAMETER, 0, 0, 2**31)):
        text = request.query.get(name, str(default))
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
        if not least <= value <= most:
            problems[name] = f"must be a whole number from {least} to {most}."
        values.append(value)
    if problems:
        raise invalid(problems)
    return values[0], values[1]


def _found(webhook: SandboxWebhook | None, webhook_id: str) -> SandboxWebhook:
    if webhook is None:
        raise _no_webhook(webhook_id)
    return webhook


def _no_webhook(webhook_id: str) -> RequestError:
    return RequestError(ErrorCode.NOT_FOUND, f"There is no webhook {webhook_id[:80]}")
