"""What every page shows: the address of the API, the keys, and the faults that are on."""

from typing import Any

from django.http import HttpRequest

from nateq_webhooks.protocol.api import API_PATH
from nateq_webhooks.sandbox.site.running import running


def shared(request: HttpRequest) -> dict[str, Any]:
    """Return these values."""
    sandbox = running(request)
    return {
        "base_url": sandbox.server.url + API_PATH,
        "keys": sandbox.keys,
        "catalogue": sandbox.catalogue,
        "active_faults": sandbox.active_faults(),
    }
