"""The operations of this API as its description has them: one entry for each URL and method.

An entry names the parameters and the body that its view reads, what it answers, and an example. What follows from the
view is not repeated here: its address, and the scopes and permissions that it needs. Tests hold that each operation has
an entry, that the view reads what the entry names, and that its answers are as the entry says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from nateq_webhooks.api.actions import ReasonFields
from nateq_webhooks.api.base import CursorParameters
from nateq_webhooks.api.deliveries import DeliveryParameters
from nateq_webhooks.api.log import LogParameters
from nateq_webhooks.api.rejections import RejectionParameters
from nateq_webhooks.api.replays import ReplayFields, ReplayJobFields
from nateq_webhooks.api.schema import examples
from nateq_webhooks.api.schema.errors import ALWAYS, OF_ACTIONS
from nateq_webhooks.api.schema.formats import MEDIA_TYPES, SchemaParameters
from nateq_webhooks.api.schema.json_types import MAX_WHOLE, Schema, fields, listing, or_null, ref, text, uuid, whole
from nateq_webhooks.api.webhook_changes import WebhookFields
from nateq_webhooks.rest.parameters import OffsetParameters, Parameters

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
HTML: Final = "text/html"


class Tag(StrEnum):
    """The groups of operations."""

    WEBHOOKS = "webhooks"
    DELIVERIES = "deliveries"
    RECEIVERS = "receivers"
    DESCRIPTION = "description"


TAGS: Final[Mapping[Tag, str]] = {
    Tag.WEBHOOKS: "How the webhooks are set up, and the log of each.",
    Tag.DELIVERIES: "What came, what the receivers did with it, and what was refused.",
    Tag.RECEIVERS: "What runs, waits, fails and is paused, over all deliveries.",
    Tag.DESCRIPTION: "This description.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PathParameter:
    """A part of an address that names something."""

    name: str
    schema: Schema
    example: Any
    description: str


PATH_PARAMETERS: Final[Mapping[str, PathParameter]] = {
    "webhooks": PathParameter(
        name="webhook", schema=uuid(), example=examples.WEBHOOK_ID, description="The webhook's id here."
    ),
    "deliveries": PathParameter(
        name="delivery",
        schema=whole() | {"maximum": MAX_WHOLE},
        example=examples.DELIVERY_ID,
        description="The delivery's id here.",
    ),
    "replays": PathParameter(
        name="replay",
        schema=whole() | {"maximum": MAX_WHOLE},
        example=examples.REPLAY["id"],
        description="The replay's id.",
    ),
    "receivers": PathParameter(
        name="receiver", schema=text(minLength=1), example=examples.RECEIVER, description="The receiver's name."
    ),
}
"""By the first part of the address: each address has at most one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer of an operation that succeeded."""

    media: Mapping[str, Schema]
    "The schema of the whole body, by its media type."
    example: Any = None
    "A whole body; None for one that is no JSON."
    status: int = 200
    description: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """An operation."""

    id: str
    "The name of the function in a generated client."
    tag: Tag
    summary: str
    answer: Answer
    description: str = ""
    parameters: type[Parameters] = Parameters
    "What the view reads of the query."
    body: type[Parameters] | None = None
    "What the view reads of the body; None if it reads no body."
    body_example: Mapping[str, Any] = field(default_factory=dict)
    takes_idempotency_key: bool = False
    further_errors: tuple[int, ...] = ()

    def errors(self, *, names_something: bool) -> tuple[int, ...]:
        """Return the HTTP statuses of its errors, given whether its address names something."""
        of_address = (404,) if names_something else ()
        of_body = (413,) if self.body is not None else ()
        of_key = OF_ACTIONS if self.takes_idempotency_key else ()
        return tuple(sorted({*ALWAYS, *of_address, *of_body, *of_key, *self.further_errors}))


def _one(data: Schema, example: Any, *, description: str, status: int = 200) -> Answer:
    """Return the answer that has one document."""
    body = fields(success=_SUCCESS, data=data)
    return Answer(
        media={JSON: body}, example={"success": True, "data": example}, description=description, status=status
    )


def _page(document: str, example: Any, meta: dict[str, Schema], example_meta: dict[str, Any]) -> Answer:
    """Return the answer that has documents of a list."""
    body = fields(success=_SUCCESS, data=listing(ref(document)), meta=fields("About the list.", **meta))
    return Answer(
        media={JSON: body},
        example={"success": True, "data": [example], "meta": example_meta},
        description="A page of the list.",
    )


_SUCCESS: Final[Schema] = {"type": "boolean", "const": True}
_LIMIT: Final = {"limit": whole("As it was asked for.")}
_TOTAL: Final = {"total": whole("How many there are.")}
_OFFSET: Final = _TOTAL | _LIMIT | {"offset": whole("As it was asked for.")}
_CURSOR: Final = _LIMIT | {"next_cursor": or_null(text("The `cursor` of the next page; null at the end."))}
_AT_NATEQ: Final = (502,)
_NOT_INSTALLED: Final = (404,)

_OF_CURSOR: Final = (
    "The newest first. A page may have fewer entries than `limit`, even none, although more follow: go on until "
    "`meta.next_cursor` is null."
)

_RECEIVER_ANSWER: Final = "The receiver, as the list has it."

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("GET", "webhooks"): Operation(
        id="list_webhooks",
        tag=Tag.WEBHOOKS,
        summary="List the webhooks",
        description="The newest first.",
        parameters=OffsetParameters,
        answer=_page("Webhook", examples.WEBHOOK, _OFFSET, {"total": 1, "limit": 50, "offset": 0}),
    ),
    ("GET", "webhook"): Operation(
        id="get_webhook",
        tag=Tag.WEBHOOKS,
        summary="Show a webhook",
        answer=_one(ref("Webhook"), examples.WEBHOOK, description="The webhook."),
    ),
    ("POST", "webhooks"): Operation(
        id="create_webhook",
        tag=Tag.WEBHOOKS,
        summary="Create a webhook with a new secret",
        description=(
            "It is not registered at Nateq by that, and Nateq signs with a secret of its own: register it before Nateq "
            "posts to it. `notice` of the answer says how."
        ),
        body=WebhookFields,
        body_example={"name": "shop", "events": ["ticket.created", "ticket.closed"]},
        answer=_one(
            ref("WebhookWithSecret"),
            examples.NEW_WEBHOOK,
            description="The webhook, with its secret.",
            status=201,
        ),
        takes_idempotency_key=True,
    ),
    ("PATCH", "webhook"): Operation(
        id="change_webhook",
        tag=Tag.WEBHOOKS,
        summary="Change a webhook",
        description="Only the fields that are given. One that is registered changes at Nateq first.",
        body=WebhookFields,
        body_example={"is_active": True},
        answer=_one(ref("Webhook"), examples.WEBHOOK, description="The webhook as it is now."),
        takes_idempotency_key=True,
        further_errors=_AT_NATEQ,
    ),
    ("DELETE", "webhook"): Operation(
        id="delete_webhook",
        tag=Tag.WEBHOOKS,
        summary="Delete a webhook",
        description=(
            "One that is registered is deleted at Nateq first. One that has deliveries can't be deleted: switch it "
            "off with `is_active`. `notice` says what may be left at Nateq."
        ),
        body=Parameters,
        answer=_one(ref("WebhookDeletion"), examples.WEBHOOK_DELETION, description="What became of it."),
        takes_idempotency_key=True,
        further_errors=_AT_NATEQ,
    ),
    ("POST", "rotate_secret"): Operation(
        id="rotate_webhook_secret",
        tag=Tag.WEBHOOKS,
        summary="Give a webhook a new secret",
        description="The former secret is accepted for a while. For one that is registered Nateq makes the new one.",
        body=Parameters,
        answer=_one(
            ref("WebhookWithSecret"), examples.WEBHOOK_WITH_SECRET, description="The webhook, with its new secret."
        ),
        takes_idempotency_key=True,
        further_errors=_AT_NATEQ,
    ),
    ("GET", "logs"): Operation(
        id="list_webhook_logs",
        tag=Tag.WEBHOOKS,
        summary="List the log of a webhook",
        description=f"An entry for each attempt of the sender. {_OF_CURSOR}",
        parameters=LogParameters,
        answer=_page("LogEntry", examples.LOG_ENTRY, _CURSOR, {"limit": 50, "next_cursor": "5120-311"}),
    ),
    ("GET", "events"): Operation(
        id="list_events",
        tag=Tag.WEBHOOKS,
        summary="List the events that a webhook may subscribe to",
        answer=_page("EventType", examples.EVENT, _TOTAL, {"total": 1}),
    ),
    ("GET", "deliveries"): Operation(
        id="list_deliveries",
        tag=Tag.DELIVERIES,
        summary="List the deliveries",
        description=f"A delivery must fulfil all filters that are given; each compares exactly. {_OF_CURSOR}",
        parameters=DeliveryParameters,
        answer=_page("Delivery", examples.DELIVERY, _CURSOR, {"limit": 50, "next_cursor": "5120"}),
    ),
    ("GET", "delivery"): Operation(
        id="get_delivery",
        tag=Tag.DELIVERIES,
        summary="Show a delivery with its headers and its payload",
        description="Without the scope `payloads:read` the values of the headers and the payload are null.",
        answer=_one(ref("DeliveryDetail"), examples.DELIVERY_DETAIL, description="The delivery."),
    ),
    ("GET", "body"): Operation(
        id="get_delivery_body",
        tag=Tag.DELIVERIES,
        summary="Download the body of a delivery",
        description="The bytes as they came, as a file.",
        answer=Answer(media={BYTES: {"type": "string", "format": "binary"}}, description="The bytes."),
    ),
    ("GET", "runs"): Operation(
        id="list_delivery_runs",
        tag=Tag.DELIVERIES,
        summary="List what each receiver did with a delivery",
        description=_OF_CURSOR,
        parameters=CursorParameters,
        answer=_page("Run", examples.RUN, _CURSOR, {"limit": 50, "next_cursor": None}),
    ),
    ("POST", "replay"): Operation(
        id="replay_delivery",
        tag=Tag.DELIVERIES,
        summary="Have the receivers of a delivery run again",
        description=(
            "All receivers that are connected to the event run, those that are named in `receivers`, or with "
            "`failed_only` those whose last run failed. With `DISPATCH` `inline` and no worker the first of them run "
            "in this request; otherwise a worker runs them. Show the replay, or list the delivery's runs, to see how "
            "they end."
        ),
        body=ReplayFields,
        body_example={"receivers": [examples.RECEIVER], "reason": "The CRM was down"},
        answer=_one(ref("Replay"), examples.NEW_REPLAY, description="The replay.", status=202),
        takes_idempotency_key=True,
    ),
    ("GET", "rejections"): Operation(
        id="list_rejections",
        tag=Tag.DELIVERIES,
        summary="List the requests that were refused",
        description=_OF_CURSOR,
        parameters=RejectionParameters,
        answer=_page("Rejection", examples.REJECTION, _CURSOR, {"limit": 50, "next_cursor": None}),
    ),
    ("POST", "replays"): Operation(
        id="replay_deliveries",
        tag=Tag.DELIVERIES,
        summary="Have the receivers of many deliveries run again, as a job",
        description=(
            "All deliveries that fulfil the filters, and that are there now. Without any filter `all` is required. "
            "`failed_only` decides for each delivery. Ask for the replay to see how far it is."
        ),
        body=ReplayJobFields,
        body_example={"status": "dead", "failed_only": True, "reason": "The CRM was down"},
        answer=_one(ref("ReplayJobDetail"), examples.NEW_REPLAY_JOB, description="The replay.", status=202),
        takes_idempotency_key=True,
    ),
    ("GET", "replays"): Operation(
        id="list_replays",
        tag=Tag.DELIVERIES,
        summary="List the replays",
        description=f"Those of single deliveries, too. {_OF_CURSOR}",
        parameters=CursorParameters,
        answer=_page("ReplayJob", examples.REPLAY_JOB, _CURSOR, {"limit": 50, "next_cursor": None}),
    ),
    ("GET", "replay_job"): Operation(
        id="get_replay",
        tag=Tag.DELIVERIES,
        summary="Show how far a replay is",
        description="Ask again until `state` is `done`. Where no worker runs, each request does a part of the replay.",
        answer=_one(ref("ReplayJobDetail"), examples.REPLAY_JOB_DETAIL, description="The replay."),
    ),
    ("POST", "cancel"): Operation(
        id="cancel_replay",
        tag=Tag.DELIVERIES,
        summary="Create no more runs of a replay",
        description="Those that were created still run. One whose runs are all created can't be cancelled.",
        body=Parameters,
        answer=_one(ref("ReplayJobDetail"), examples.CANCELLED_REPLAY_JOB, description="The replay as it is now."),
        takes_idempotency_key=True,
    ),
    ("GET", "receivers"): Operation(
        id="list_receivers",
        tag=Tag.RECEIVERS,
        summary="List the receivers with the numbers of their runs, and what is paused",
        answer=_page("Receiver", examples.RECEIVER_DOCUMENT, _TOTAL, {"total": 1}),
    ),
    ("POST", "pause"): Operation(
        id="pause_receiver",
        tag=Tag.RECEIVERS,
        summary="Start no more runs of a receiver, in any process",
        body=ReasonFields,
        body_example={"reason": "The CRM is being moved"},
        answer=_one(ref("Receiver"), examples.RECEIVER_DOCUMENT, description=_RECEIVER_ANSWER),
        takes_idempotency_key=True,
    ),
    ("POST", "resume"): Operation(
        id="resume_receiver",
        tag=Tag.RECEIVERS,
        summary="Start the runs of a receiver again",
        description=(
            "With `DISPATCH` `inline` and no worker the first of those that are due run in this request; the answer "
            "shows the receiver as it was before that."
        ),
        body=Parameters,
        answer=_one(ref("Receiver"), examples.RESUMED, description=_RECEIVER_ANSWER),
        takes_idempotency_key=True,
    ),
    ("GET", "status"): Operation(
        id="get_status",
        tag=Tag.RECEIVERS,
        summary="Show the state of dispatch, for monitoring",
        answer=_one(ref("Status"), examples.STATUS, description="The state, as `nateq_status --json` writes it."),
    ),
    ("GET", "schema"): Operation(
        id="get_schema",
        tag=Tag.DESCRIPTION,
        summary="Download this description (OpenAPI 3.1)",
        description="It is not in the envelope. 404 says that the extra `openapi` is not installed.",
        parameters=SchemaParameters,
        answer=Answer(
            media={MEDIA_TYPES[kind]: {"type": "object"} if kind == "json" else text() for kind in MEDIA_TYPES},
            description="The description.",
        ),
        further_errors=_NOT_INSTALLED,
    ),
    ("GET", "docs"): Operation(
        id="get_docs",
        tag=Tag.DESCRIPTION,
        summary="Read this description as a page",
        description=(
            "A browser without a session is sent to the admin's login. 404: the extra `openapi` is not installed."
        ),
        answer=Answer(media={HTML: text()}, description="The page."),
        further_errors=_NOT_INSTALLED,
    ),
}
"""By the method and the name of the URL."""
