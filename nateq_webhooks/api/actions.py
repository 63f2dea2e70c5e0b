"""What the API changes: a delivery runs again, a receiver pauses and resumes."""

from typing import Any

from django.db import router
from rest_framework.response import Response

from nateq_webhooks import dispatch
from nateq_webhooks.api import access
from nateq_webhooks.api.base import ApiView
from nateq_webhooks.api.deliveries import OneDeliveryView
from nateq_webhooks.api.documents import replay_document
from nateq_webhooks.api.idempotency import answer_before, once
from nateq_webhooks.api.replays import ReplayFields
from nateq_webhooks.api.state import receiver_document
from nateq_webhooks.dispatch.create import connected_receivers
from nateq_webhooks.dispatch.failed_runs import failed_receivers
from nateq_webhooks.dispatch.progress import progress
from nateq_webhooks.dispatch.replay_steps import needs_worker, start_due_here, start_here
from nateq_webhooks.models import Delivery, Replay, Run
from nateq_webhooks.protocol.api import ErrorCode
from nateq_webhooks.protocol.api_answers import RequestError, invalid, no_such
from nateq_webhooks.receivers import registry
from nateq_webhooks.rest.parameters import Parameters, TextField


class ReasonFields(Parameters):
    """The body of a pause: why."""

    reason = TextField(500, allow_blank=True, help_text="Why; it is kept.")


class ReplayView(OneDeliveryView):
    """The replay of one delivery."""

    access = {"POST": access.REPLAY}

    def post(self, request: Any, pk: str) -> Response:
        """Have the receivers run again: all that are connected, those that are named, or those that failed.

        They run here if nobody else would run them, as in the admin.
        """
        Parameters.read(request)
        fields = ReplayFields.read_body(request)
        if (before := answer_before(self.caller, request)) is not None:
            return before
        delivery = self.delivery(pk)
        names = _names(delivery, fields)
        alias = router.db_for_write(Replay)

        def work() -> dict[str, Any]:
            replay = dispatch.replay(
                [delivery.pk],
                names,
                reason=fields.get("reason", ""),
                by=self.caller.label,
                only_failed=fields["failed_only"],
            )
            if self.caller.organization:
                rows = Replay.objects.using(alias).filter(pk=replay.pk)
                rows.update(organization_id=self.caller.organization)
            is_missing = needs_worker(alias, progress(alias, replay))
            return replay_document(replay) | {"needs_worker": is_missing}

        def start(document: dict[str, Any]) -> None:
            start_here(alias, document["id"])

        return once(self.caller, request, work, status=202, afterwards=start)


class PauseView(ApiView):
    """The pause of a receiver."""

    access = {"POST": access.CONTROL}

    def post(self, request: Any, name: str) -> Response:
        """Start no more of its runs, in any process."""
        Parameters.read(request)
        reason = ReasonFields.read_body(request).get("reason", "")
        _check_receiver(name)

        def work() -> dict[str, Any]:
            dispatch.pause(receiver=name, reason=reason, by=self.caller.label)
            return receiver_document(name)

        return once(self.caller, request, work)


class ResumeView(ApiView):
    """The end of a receiver's pause."""

    access = {"POST": access.CONTROL}

    def post(self, request: Any, name: str) -> Response:
        """Start its runs again; some of them here if nobody else would, as the admin does."""
        Parameters.read(request)
        Parameters.read_body(request)
        _check_receiver(name)

        def work() -> dict[str, Any]:
            dispatch.resume(receiver=name)
            return receiver_document(name)

        def start(_document: dict[str, Any]) -> None:
            start_due_here(router.db_for_write(Run))

        return once(self.caller, request, work, afterwards=start)


def _check_receiver(name: str) -> None:
    if registry.get(name) is None:
        raise no_such("receiver", name)


def _names(delivery: Delivery, fields: dict[str, Any]) -> list[str]:
    """Return the receivers to run. Raises `RequestError` (422) that names what is wrong."""
    if delivery.is_content_lost:
        raise RequestError(ErrorCode.VALIDATION_ERROR, delivery.content_lost_text(), status=409)
    names = connected_receivers(delivery)
    if fields["failed_only"] and "receivers" in fields:
        raise invalid({"failed_only": "can't be combined with receivers."}, "fields")
    if "receivers" in fields:
        unknown = [name for name in fields["receivers"] if name not in names]
        if unknown:
            raise invalid({"receivers": f"not connected to the event: {', '.join(unknown)[:200]}."}, "fields")
        return list(fields["receivers"])
    if fields["failed_only"]:
        failed = failed_receivers(router.db_for_write(Run), delivery.pk)
        names = [name for name in names if name in failed]
    if not names:
        raise invalid({"receivers": "there is none to run for this delivery."}, "fields")
    return names
