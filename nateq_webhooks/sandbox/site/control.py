"""The operations of the control channel (see `nateq_webhooks.sandbox.control`)."""

import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from nateq_webhooks.protocol.documents import load_object
from nateq_webhooks.sandbox.sandbox_errors import InvalidError
from nateq_webhooks.sandbox.site import deliveries
from nateq_webhooks.sandbox.site.deliveries import State
from nateq_webhooks.sandbox.site.models import Webhook
from nateq_webhooks.sandbox.site.running import Running, running

_LOOK_SECONDS: Final = 0.02
"""How often to look whether everything is delivered. To look after each attempt would slow the sender down."""


def control(request: HttpRequest) -> HttpResponse:
    """Answer a call. Without the token the answer is 404, as for an address that does not exist."""
    sandbox = running(request)
    offered = request.headers.get("Authorization", "").encode("latin-1", "replace")
    if not sandbox.token or not secrets.compare_digest(offered, f"Bearer {sandbox.token}".encode()):
        raise Http404
    document = load_object(request.body)
    try:
        result = _OPERATIONS[document["call"]](sandbox, **document["arguments"])
    except InvalidError as error:
        return JsonResponse({"invalid": error.fields})
    return JsonResponse({"result": result})


def _log(_: Running) -> Any:
    return [asdict(attempt.value()) for attempt in deliveries.entries()]


def _send(sandbox: Running, **event: Any) -> Any:
    ids = sandbox.deliveries.accept(**event)
    sandbox.sender.wake()
    return ids


def _wait(sandbox: Running, timeout: float) -> Any:
    """Wait until everything is delivered, one delivery has failed, or the time is over; return what is left."""
    deadline = time.monotonic() + timeout
    while deliveries.has(*deliveries.UNFINISHED) and not deliveries.has(State.FAILED):
        left = deadline - time.monotonic()
        if left <= 0 or sandbox.stopping.wait(min(left, _LOOK_SECONDS)):
            break
    counts = deliveries.counts()
    last = deliveries.entries().exclude(response_body="").values_list("response_body", flat=True).first()
    return {
        "undelivered": {state: counts[state] for state in (*deliveries.UNFINISHED, State.FAILED) if counts[state]},
        "delivered": counts[State.DELIVERED],
        "last_answer": last or "none",
    }


def _shown(webhook: Webhook | None) -> Any:
    return None if webhook is None else asdict(webhook.value())


_OPERATIONS: Final[dict[str, Callable[..., Any]]] = {
    "create_webhook": lambda sandbox, url, events: _shown(sandbox.webhooks.create(url, events)),
    "webhooks": lambda sandbox: [_shown(webhook) for webhook in sandbox.webhooks.rows()],
    "webhook": lambda sandbox, webhook_id: _shown(sandbox.webhooks.get(webhook_id)),
    "update_webhook": lambda sandbox, webhook_id, changes: _shown(sandbox.webhooks.update(webhook_id, changes)),
    "rotate_secret": lambda sandbox, webhook_id: _shown(sandbox.webhooks.rotate_secret(webhook_id)),
    "delete_webhook": lambda sandbox, webhook_id: sandbox.webhooks.delete(webhook_id),
    "faults": lambda sandbox: {fault: switch.as_json() for fault, switch in sandbox.faults.current().items()},
    "set_faults": lambda sandbox, wanted: sandbox.faults.update(wanted),
    "clear_faults": lambda sandbox: sandbox.faults.clear(),
    "log": _log,
    "send": _send,
    "wait": _wait,
    "reset": lambda sandbox: sandbox.reset(),
    "stop_clock": lambda sandbox, at: sandbox.stop_clock(at),
}
