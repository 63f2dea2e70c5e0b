"""Events as Nateq sends them, and their signature."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from nateq_webhooks import signals
from nateq_webhooks.conf import settings
from nateq_webhooks.models.signing_keys import readable_secret
from nateq_webhooks.protocol import signatures
from nateq_webhooks.protocol.examples import example_envelope

Body = Mapping[str, Any] | bytes | str
"""The body of a delivery: its bytes, its text, or the envelope that is sent as JSON."""


def make_event(name: str, /, **data: Any) -> dict[str, Any]:
    """Return the body of a delivery of the event `name`, as a new dict with everything that Nateq sends.

    `data` is a realistic example, in which the keyword arguments replace or add keys: `make_event("ticket.created",
    id="tkt_1")`. The example of an event is always the same; an event that Nateq does not publish has an `id` and
    a time. Each call has a delivery id of its own, attempt 1 and the current time.

    Change the result to change the envelope: `make_event("ticket.created") | {"organization_id": "org_2"}`, or
    `event["metadata"]["attempt"] = 2`.

    Raises `ValueError` for a name that no event has, such as "ticket_created".
    """
    signals.signal_for(name)  # refuses the name
    event = example_envelope(name, delivery_id=f"dlv_{uuid.uuid4().hex}", timestamp=datetime.now(UTC))
    event["data"] |= data
    return event


def sign(body: Body, secret: str) -> str:
    """Return the value of the signature header with which Nateq sends `body`, in the site's `SECRET_ENCODING`.

    A dict is signed as the JSON that `django.test.Client` and `deliver` send for it. `secret` may name an environment
    variable, as `Webhook.secret` may: `env:NAME`. Raises `SecretError` for a secret that is empty or not in that
    encoding.
    """
    return signatures.sign(as_bytes(body), readable_secret(secret), encoding=settings().secret_encoding)


def as_bytes(body: Body) -> bytes:
    """Return the bytes that are sent. Raises `TypeError` for anything but an envelope, text or bytes."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, Mapping):
        return json.dumps(body, cls=DjangoJSONEncoder).encode()
    raise TypeError(f"The body of a delivery is a dict, bytes or a str, not a {type(body).__name__}.")
