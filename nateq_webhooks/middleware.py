"""A middleware that answers the sender's requests before any other middleware sees them.

The receiver view needs nothing that other middleware do: no session, no user, no language, no check of the host. Each
of them costs time, and may redirect or refuse a delivery.
"""

import uuid
from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponseBase

from nateq_webhooks.views import receive, webhook_of

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class ReceiverMiddleware:
    """Answers requests to the receiver view, and passes on all others. Put it first in `MIDDLEWARE`.

    With a schema per tenant it comes after the middleware that selects the tenant. What comes before it, and the
    site's URLs, decide about a request as usual. Works under WSGI and ASGI.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer the request, or have it answered by what follows."""
        webhook_id = webhook_of(request)
        if webhook_id is None:
            return self._get_response(request)
        if self._is_async:
            return self._answer_in_thread(request, webhook_id)
        return cast(HttpResponseBase, receive(request, webhook_id))

    async def _answer_in_thread(self, request: HttpRequest, webhook_id: uuid.UUID) -> HttpResponseBase:
        """Answer it where Django's ASGI handler would call the view."""
        return cast(HttpResponseBase, await sync_to_async(receive, thread_sensitive=True)(request, webhook_id))
