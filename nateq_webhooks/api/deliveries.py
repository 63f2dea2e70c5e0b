"""`/deliveries`: the list with its filters, one delivery, its body, and its runs."""

from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.response import Response

from nateq_webhooks import audit
from nateq_webhooks.api import access
from nateq_webhooks.api.base import ApiView, CursorParameters, MomentField, key_of
from nateq_webhooks.api.delivery_list import find_page, load, time_limit
from nateq_webhooks.api.documents import (
    DELIVERY_COLUMNS,
    RUN_COLUMNS,
    delivery_detail,
    delivery_document,
    run_document,
    tries_by_run,
)
from nateq_webhooks.database.keyset.cursor import read_page
from nateq_webhooks.database.keyset.key_queries import IndexScan, Union
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.redaction import shown_body
from nateq_webhooks.protocol.api import ErrorCode
from nateq_webhooks.protocol.api_answers import RequestError, no_such
from nateq_webhooks.rest.parameters import OneOfField, Parameters, TextField


class DeliveryFilters(Parameters):
    """What deliveries are chosen by. Each compares exactly; a delivery must fulfil all that are given."""

    status = OneOfField(Delivery.Status.values, required=False, help_text="The delivery's status.")
    event = TextField(200, help_text="The name of the event.")
    webhook = serializers.UUIDField(required=False, help_text="The webhook's id here.")
    resource = TextField(200, help_text="The id of what the event is about (`resource_id`).")
    organization = TextField(200, help_text="The organization that the delivery names.")
    since = MomentField(help_text="Received at this time or later (ISO 8601; UTC if it names no time zone).")
    until = MomentField(help_text="Received before this time.")


class DeliveryParameters(DeliveryFilters, CursorParameters):
    """The parameters of the list."""


class DeliveriesView(ApiView):
    """The deliveries, the newest first."""

    access = {"GET": access.DELIVERIES}

    def get(self, request: Any) -> Response:
        """List a page."""
        parameters = DeliveryParameters.read(request)
        found = find_page(self.caller, parameters)
        rows = load(self.caller, found.pks, DELIVERY_COLUMNS)
        shown = self.caller.shown_webhooks(row.webhook_id for row in rows)
        data = [delivery_document(row, shows_webhook=row.webhook_id in shown) for row in rows]
        return self.page(data, found, parameters["limit"])


class OneDeliveryView(ApiView):
    """What the views of one delivery have in common."""

    def delivery(self, text: str) -> Delivery:
        """Return the delivery of a path. Raises `RequestError` (404) if the caller does not see it."""
        rows = self.caller.rows(Delivery).select_related("webhook").defer("webhook__secret", "webhook__events")
        with time_limit(self.caller, rows):
            found: Delivery | None = rows.filter(pk=key_of(text, "delivery")).first()
        if found is None:
            raise no_such("delivery", text)
        return found


class DeliveryView(OneDeliveryView):
    """One delivery."""

    access = {"GET": access.DELIVERIES}

    def get(self, request: Any, pk: str) -> Response:
        """Show it, with its headers and payload for those who may see payloads."""
        Parameters.read(request)
        delivery = self.delivery(pk)
        shown = self.caller.shown_webhooks([delivery.webhook_id])
        return self.answer(delivery_detail(delivery, self.caller, shows_webhook=bool(shown)))


class BodyView(OneDeliveryView):
    """The body of a delivery."""

    access = {"GET": access.BODIES}

    def get(self, request: Any, pk: str) -> HttpResponseBase:
        """Return the bytes as they came, with values masked (`REDACT`), as a file that no browser interprets."""
        Parameters.read(request)
        delivery = self.delivery(pk)
        if delivery.is_content_lost and not delivery.body:
            raise RequestError(ErrorCode.NOT_FOUND, delivery.content_lost_text())
        target = f"delivery {delivery.pk}"
        audit.record(audit.Action.PAYLOAD_DOWNLOADED, target=target, details={"bytes": len(delivery.body)})
        response = HttpResponse(shown_body(delivery.body), content_type="application/octet-stream")
        response["Content-Disposition"] = f'attachment; filename="delivery-{delivery.pk}.json"'
        response["X-Content-Type-Options"] = "nosniff"
        return response


class RunsView(OneDeliveryView):
    """The runs of a delivery, the newest first."""

    access = {"GET": access.RUNS}

    def get(self, request: Any, pk: str) -> Response:
        """List a page."""
        parameters = CursorParameters.read(request)
        key = key_of(pk, "delivery")
        with time_limit(self.caller, self.caller.rows(Run)):
            if not self.caller.rows(Delivery).filter(pk=key).exists():
                raise no_such("delivery", pk)
            rows = self.caller.rows(Run).filter(delivery=key)
            scan = IndexScan(Union([rows]))
            found = read_page(scan, parameters["cursor"], parameters["limit"], newest_first=True)
            by_pk = rows.only(*RUN_COLUMNS).in_bulk(found.pks)
            runs = [by_pk[each] for each in found.pks if each in by_pk]
            tries = tries_by_run(self.caller, runs)
        data = [run_document(run, tries.get(run.pk, ()), self.caller) for run in runs]
        return self.page(data, found, parameters["limit"])
