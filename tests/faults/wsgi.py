"""The tortured site under WSGI; the Celery app must be there before a delivery is."""

from django.core.wsgi import get_wsgi_application

import tests.faults.celery  # noqa: F401

application = get_wsgi_application()
