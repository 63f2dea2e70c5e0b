"""The benchmarks' site under WSGI; with `WITHOUT_RECORDER` in the environment it records no refusal, to compare."""

import os

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

if "WITHOUT_RECORDER" in os.environ:
    from nateq_webhooks.inbox.recorder import RejectionRecorder

    RejectionRecorder.record = lambda *arguments, **named: None  # type: ignore[method-assign]
