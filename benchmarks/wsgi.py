"""The benchmarks' site under WSGI; with `WITHOUT_RECORDER` in the environment it records no refusal, to compare."""

import os
from collections.abc import Iterable
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application
from django.test import override_settings

_ours = get_wsgi_application()
with override_settings(MIDDLEWARE=[]):
    _bare = WSGIHandler()

from benchmarks import receivers

receivers.connect()

if "WITHOUT_RECORDER" in os.environ:
    from nateq_webhooks.inbox.recorder import RejectionRecorder

    RejectionRecorder.record = lambda *arguments, **named: None  # type: ignore[method-assign]


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Serve the floors without middleware, everything else with it."""
    return (_bare if environ["PATH_INFO"].startswith("/bare") else _ours)(environ, start_response)
