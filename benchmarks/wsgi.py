"""The benchmarks' site under WSGI; with `WITHOUT_DIARY` in the environment it notes no refusal, to compare."""

import os

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

if "WITHOUT_DIARY" in os.environ:
    from nateq_webhooks.inbox.diary import Diary

    Diary.note = lambda *arguments, **named: None  # type: ignore[method-assign]
