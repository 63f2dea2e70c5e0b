"""Receiving a delivery: find its webhook, read and verify the request, store it. Only `inbox` inserts deliveries.

A delivery is committed before `store` returns; running its receivers is up to `dispatch`.
"""

from nateq_webhooks.inbox.configuration import Configuration, find
from nateq_webhooks.inbox.rejections import refuse, refuse_method, refuse_unknown
from nateq_webhooks.inbox.request import (
    NO_MATCH,
    BodyLostError,
    BodyMalformedError,
    IncomingRequest,
    Reason,
    Refusal,
    Verified,
    read_request,
    verify,
)
from nateq_webhooks.inbox.storage import Receipt, store

__all__ = [
    "NO_MATCH",
    "BodyLostError",
    "BodyMalformedError",
    "Configuration",
    "IncomingRequest",
    "Reason",
    "Receipt",
    "Refusal",
    "Verified",
    "find",
    "read_request",
    "refuse",
    "refuse_method",
    "refuse_unknown",
    "store",
    "verify",
]
