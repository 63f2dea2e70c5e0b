"""`/replays`: the replay of many deliveries as a job, whose state can be polled and which can be cancelled."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import router
from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.response import Response

from nateq_webhooks.api import access
from nateq_webhooks.api.base import ApiView, CursorParameters, key_of
from nateq_webhooks.api.callers import Caller
from nateq_webhooks.api.deliveries import DeliveryFilters
from nateq_webhooks.api.delivery_list import time_limit
from nateq_webhooks.api.documents import job_document
from nateq_webhooks.api.idempotency import answer_before, once
from nateq_webhooks.database.keyset.bounded_scan import BoundedScan
from nateq_webhooks.database.keyset.cursor import read_page
from nateq_webhooks.database.keyset.key_queries import IndexScan, Union
from nateq_webhooks.dispatch.progress import Progress, progress, progress_of
from nateq_webhooks.dispatch.replay_steps import carry_on, needs_worker
from nateq_webhooks.dispatch.replays import cancel, check_receivers, request_replay
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.dispatch.selection_queries import keys_of
from nateq_webhooks.models import Delivery, Replay, Webhook
from nateq_webhooks.protocol.api import ErrorCode
from nateq_webhooks.protocol.api_answers import RequestError, invalid, no_such
from nateq_webhooks.rest.parameters import FlagField, Parameters, TextField

MAX_KEYS: Final = 10_000
"""Deliveries of a job for a user from whom others are hidden: they are kept by their keys, as in the admin."""

FILTERS: Final = ("status", "event", "webhook", "resource", "organization", "since", "until")


class ReplayFields(Parameters):
    """The body of a replay: which receivers, and why."""

    receivers = serializers.ListField(
        child=TextField(200),
        required=False,
        allow_empty=False,
        max_length=100,
        help_text="The names of the receivers; without it all that are connected to the event.",
    )
    failed_only = FlagField(required=False, default=False, help_text="Only those whose last run failed.")
    reason = TextField(500, allow_blank=True, help_text="Why; it is kept.")


class ReplayJobFields(DeliveryFilters, ReplayFields):
    """The body of a replay of many deliveries: which ones, too. Without a filter, `all` says that all are meant."""

    all = FlagField(required=False, default=False, help_text="True: every delivery is meant, without any filter.")


class ReplayDocumentView(ApiView):
    """What the views of replays have in common."""

    def replay(self, text: str) -> Replay:
        """Return the replay of a path. Raises `RequestError` (404) if the caller does not see it."""
        rows = self.caller.rows(Replay).using(_alias())
        with time_limit(self.caller, rows):
            found: Replay | None = rows.filter(pk=key_of(text, "replay")).first()
        if found is None:
            raise no_such("replay", text)
        return found

    def document(self, replay: Replay) -> dict[str, Any]:
        """Return one replay, and whether a worker is missing."""
        found = progress(_alias(), replay)
        return self.documents([found])[0] | {"needs_worker": needs_worker(_alias(), found)}

    def documents(self, found: Sequence[Progress]) -> list[dict[str, Any]]:
        """Return replays. A webhook that the caller does not see is not named among the filters."""
        keys = [Selection.from_json(each.replay.filters).webhook for each in found]
        shown = self.caller.shown_webhooks(UUID(key) for key in keys if key)
        return [
            job_document(each, shows_webhook=bool(key) and UUID(key) in shown)
            for each, key in zip(found, keys, strict=True)
        ]


class ReplaysView(ReplayDocumentView):
    """The replays, the newest first."""

    access = {"GET": access.REPLAYS, "POST": access.REPLAY}

    def get(self, request: Any) -> Response:
        """List a page."""
        parameters = CursorParameters.read(request)
        rows = self.caller.rows(Replay).using(_alias()).order_by()
        every = Union([Replay.objects.using(_alias()).order_by()])
        scan = IndexScan(every) if self.caller.sees_all_rows else BoundedScan(every, rows, _unchanged)
        with time_limit(self.caller, rows):
            found = read_page(scan, parameters["cursor"], parameters["limit"], newest_first=True)
            by_pk = rows.in_bulk(found.pks)
        counted = progress_of(_alias(), [by_pk[pk] for pk in found.pks if pk in by_pk])
        return self.page(self.documents(counted), found, parameters["limit"])

    def post(self, request: Any) -> Response:
        """Request a replay of all deliveries that fulfil the filters; those that come later are not replayed."""
        Parameters.read(request)
        fields = ReplayJobFields.read_body(request)
        if (before := answer_before(self.caller, request)) is not None:
            return before
        receivers = _receivers(fields)
        selection = _permitted(self.caller, _selection(self.caller, fields))

        def work() -> dict[str, Any]:
            replay = request_replay(
                selection,
                receivers,
                reason=fields.get("reason", ""),
                by=self.caller.label,
                only_failed=fields["failed_only"],
                organization_id=self.caller.organization,
            )
            return self.document(replay)

        return once(self.caller, request, work, status=202)


class ReplayJobView(ReplayDocumentView):
    """One replay."""

    access = {"GET": access.REPLAYS}

    def get(self, request: Any, pk: str) -> Response:
        """Show it. Without a worker each such request also does a part of it, so that who waits sees its end."""
        Parameters.read(request)
        replay = self.replay(pk)
        if request.method == "GET" and replay.done_at is None:
            carry_on(_alias(), replay)
        return self.answer(self.document(replay))


class CancelView(ReplayDocumentView):
    """The cancellation of a replay."""

    access = {"POST": access.CANCEL}

    def post(self, request: Any, pk: str) -> Response:
        """Create no more of its runs; those that were created still run."""
        Parameters.read(request)
        Parameters.read_body(request)
        if (before := answer_before(self.caller, request)) is not None:
            return before
        replay = self.replay(pk)

        def work() -> dict[str, Any]:
            cancel(_alias(), replay.pk)
            replay.refresh_from_db(using=_alias())
            if not replay.is_cancelled:
                raise RequestError(ErrorCode.VALIDATION_ERROR, "All of its runs have been created already", status=409)
            return self.document(replay)

        return once(self.caller, request, work)


def _alias() -> str:
    return router.db_for_write(Replay)


def _unchanged(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows


def _receivers(fields: Mapping[str, Any]) -> list[str] | None:
    """Return the receivers that are named; None for all. Raises `RequestError` (422) that names what is wrong."""
    if "receivers" not in fields:
        return None
    if fields["failed_only"]:
        raise invalid({"failed_only": "can't be combined with receivers."}, "fields")
    try:
        check_receivers(fields["receivers"])
    except LookupError as error:
        raise invalid({"receivers": str(error)[:500]}, "fields") from None
    return list(fields["receivers"])


def _selection(caller: Caller, fields: Mapping[str, Any]) -> Selection:
    """Return the deliveries that are meant. Raises `RequestError` (422) that names what is wrong."""
    given = {name: fields[name] for name in FILTERS if name in fields}
    if not given and not fields["all"]:
        raise invalid({"all": "name a filter, or send true if every delivery is meant."}, "fields")
    if given and fields["all"]:
        raise invalid({"all": "can't be combined with a filter."}, "fields")
    if "webhook" in given:
        if not caller.rows(Webhook).using(_alias()).filter(pk=given["webhook"]).exists():
            raise invalid({"webhook": "there is no such webhook."}, "fields")
        given["webhook"] = str(given["webhook"])
    if caller.organization and given.setdefault("organization", caller.organization) != caller.organization:
        raise invalid({"organization": "is not the organization of this API key."}, "fields")
    return Selection(**given)


def _permitted(caller: Caller, selection: Selection) -> Selection:
    """Return the selection for a job, which has no user: by keys if deliveries are hidden from the user.

    Raises `RequestError` (422) if these are too many, or none.
    """
    if caller.organization or caller.sees_all_rows:
        return selection
    rows = caller.rows(Delivery)
    with time_limit(caller, rows):
        keys = keys_of(selection, MAX_KEYS + 1, rows)
    if not keys:
        raise invalid({"all": "there is no such delivery that you see."}, "fields")
    if len(keys) > MAX_KEYS:
        raise invalid({"all": f"these are more than {MAX_KEYS} deliveries: name a narrower filter."}, "fields")
    return Selection(deliveries=tuple(keys))
