"""`/rejections`: the requests that were refused."""

from typing import Any

from rest_framework import serializers
from rest_framework.response import Response

from nateq_webhooks.api import access
from nateq_webhooks.api.base import ApiView, CursorParameters
from nateq_webhooks.api.delivery_list import time_limit
from nateq_webhooks.api.documents import rejection_document
from nateq_webhooks.database.keyset.bounded_scan import BoundedScan
from nateq_webhooks.database.keyset.cursor import read_page
from nateq_webhooks.database.keyset.key_queries import IndexScan, Scan, Union
from nateq_webhooks.models import Rejection
from nateq_webhooks.rest.parameters import TextField


class RejectionParameters(CursorParameters):
    """The filters of the list."""

    webhook = serializers.UUIDField(required=False, help_text="The webhook's id here.")
    reason = TextField(40, help_text="Why it was refused, as a code.")


class RejectionsView(ApiView):
    """The refused requests, the newest first."""

    access = {"GET": access.REJECTIONS}

    def get(self, request: Any) -> Response:
        """List a page."""
        parameters = RejectionParameters.read(request)
        seen = self.caller.rows(Rejection)
        with time_limit(self.caller, seen):
            scan = self._scan(parameters)
            found = read_page(scan, parameters["cursor"], parameters["limit"], newest_first=True)
            by_pk = seen.in_bulk(found.pks)
        data = [rejection_document(by_pk[pk], self.caller) for pk in found.pks if pk in by_pk]
        return self.page(data, found, parameters["limit"])

    def _scan(self, parameters: dict[str, Any]) -> Scan:
        """Return how to find the keys: a webhook has an index, a reason and an organization have none."""
        seen, every = self.caller.rows(Rejection), Rejection.objects.all()
        given = {"webhook_id": parameters["webhook"]} if "webhook" in parameters else {}
        reason = {"reason": parameters["reason"]} if "reason" in parameters else {}
        if self.caller.sees_all_rows and not reason:
            return IndexScan(Union([every.filter(**given)]))
        return BoundedScan(Union([every.filter(**given)]), seen, lambda rows: rows.filter(**reason))
