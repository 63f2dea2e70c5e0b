"""Receiving a delivery: find its webhook, read and verify the request, store it. Only `inbox` inserts deliveries.

A delivery is committed before `store` returns; running its receivers is up to `dispatch`.
"""

from nateq_webhooks.inbox.allowed_networks import is_address_allowed
from nateq_webhooks.inbox.configuration import Configuration, find
from nateq_webhooks.inbox.freshness import replay_refusal
from nateq_webhooks.inbox.rejections import refuse, refuse_address, refuse_method, refuse_unknown
from nateq_webhooks.inbox.request import (
    NO_MATCH,
    UNVERIFIABLE,
    BodyLostError,
    BodyMalformedError,
    IncomingRequest,
    Reason,
    Refusal,
    Verified,
    read_request,
    verify,
)
from nateq_webhooks.inbox.storage import Receipt, RepeatOfRemoved, store

__all__ = [
    "NO_MATCH",
    "UNVERIFIABLE",
    "BodyLostError",
    "BodyMalformedError",
    "Configuration",
    "IncomingRequest",
    "Reason",
    "Receipt",
    "Refusal",
    "RepeatOfRemoved",
    "Verified",
    "find",
    "is_address_allowed",
    "read_request",
    "refuse",
    "refuse_address",
    "refuse_method",
    "refuse_unknown",
    "replay_refusal",
    "store",
    "verify",
]
