"""The base of this API's views, and the parameters that only its lists have."""

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, ClassVar

from django.http.response import HttpResponseBase
from django.utils import translation
from rest_framework import ISO_8601, serializers
from rest_framework.response import Response

from nateq_webhooks import audit
from nateq_webhooks.api.access import Access
from nateq_webhooks.api.callers import Caller, identify
from nateq_webhooks.conf import wrong_settings
from nateq_webhooks.database.keyset import cursor
from nateq_webhooks.database.keyset.cursor import MAX_KEY, Cursor, KeyPage
from nateq_webhooks.database.keyset.date_ranges import EARLIEST, LATEST
from nateq_webhooks.database.keyset.time_limit import TookTooLongError
from nateq_webhooks.protocol.api import LIMIT_PARAMETER, RETRY_AFTER_HEADER, ErrorCode
from nateq_webhooks.protocol.api_answers import Quota, RequestError, no_such
from nateq_webhooks.rest.parameters import LimitParameters
from nateq_webhooks.rest.throttle import take
from nateq_webhooks.rest.views import ContractView
from nateq_webhooks.views import RETRY_AFTER_SECONDS, without_error_log


class SettingsWrongError(RequestError):
    """The site's settings are wrong. What is wrong is in its log, and no business of a caller."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.INTERNAL_ERROR,
            "The settings of this site are wrong; its log says what. Try again later",
            status=503,
            headers={RETRY_AFTER_HEADER: str(RETRY_AFTER_SECONDS)},
        )


class ApiView(ContractView):
    """A view of this API."""

    access: ClassVar[Mapping[str, Access]] = {}
    "What each method needs of the caller."
    caller: Caller

    def identify(self, request: Any) -> Caller:
        """Return the caller: by its key or its session."""
        return identify(request._request)  # noqa: SLF001 - the framework has no public name for Django's request

    def count(self) -> Quota:
        """Count the request of the caller."""
        return take(self.caller.identity, self.caller.limit)

    def authorize(self, request: Any) -> None:
        """Check the scopes or the permissions of the operation."""
        self.caller.check(self.access["GET" if request.method == "HEAD" else request.method])

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer in English, whatever the language of the request is; the audit log names the caller."""
        with translation.override("en"), ExitStack() as self._acting:
            response: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return response

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """Check the request; what it does from now on is done by the caller."""
        if wrong_settings():
            raise SettingsWrongError
        super().initial(request, *args, **kwargs)
        self._acting.enter_context(audit.acting(audit.Source.API, self.caller.label))

    def page(self, data: list[Any], found: KeyPage, limit: int) -> Response:
        """Return a page of a list that is paged by cursor: `next_cursor` is null at its end."""
        return self.answer(data, {LIMIT_PARAMETER: limit, "next_cursor": found.next})

    def _error(self, error: Exception, context: Any) -> Response:
        response = super()._error(error, context)
        if isinstance(error, SettingsWrongError):
            without_error_log(response)
        return response

    def _problem(self, error: Exception, request: Any) -> RequestError | None:
        if isinstance(error, TookTooLongError):
            return RequestError(
                ErrorCode.INTERNAL_ERROR,
                "The database took too long. Ask for less: a status, an event or a shorter period.",
                status=503,
                headers={RETRY_AFTER_HEADER: "30"},
            )
        return super()._problem(error, request)


class UnknownView(ApiView):
    """Answers every other address below the API's: 404 in the envelope."""

    def check_method(self, request: Any) -> None:
        """Say that there is nothing, whatever the method."""
        raise no_such("address", request.path)


class CursorField(serializers.Field):
    """The `next_cursor` of the page before."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, default=cursor.FIRST, **options)

    def to_internal_value(self, data: Any) -> Cursor:
        """Return the position."""
        try:
            found = cursor.parse(str(data))
        except ValueError:
            found = cursor.FIRST
        if found.after is None:
            raise serializers.ValidationError("is not a cursor: use meta.next_cursor of the page before.")
        return found

    def to_representation(self, value: Any) -> Any:
        """Return the position."""
        return value


class MomentField(serializers.DateTimeField):
    """A time (ISO 8601); UTC if it names no time zone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(default_timezone=UTC, input_formats=[ISO_8601], required=False, **options)

    def to_internal_value(self, value: Any) -> datetime:
        """Return the time."""
        moment: datetime = super().to_internal_value(value)
        if not EARLIEST <= moment <= LATEST:
            raise serializers.ValidationError("must be a time from 1970 to 9000.")
        return moment


class CursorParameters(LimitParameters):
    """The parameters of a list that is paged by cursor."""

    cursor = CursorField(help_text="`meta.next_cursor` of the page before.")


def key_of(text: str, what: str) -> int:
    """Return the key of a row in a path. Raises `RequestError` (404) for a text that is none."""
    if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_KEY)) and int(text) <= MAX_KEY:
        return int(text)
    raise no_such(what, text)
