"""The site under WSGI, with its Celery app if it has one."""

import os

from django.core.wsgi import get_wsgi_application

if os.environ["NATEQ_DISPATCH"] == "celery":
    from tests.runners.site.celery import app  # noqa: F401 - this makes it Celery's current app

application = get_wsgi_application()
