"""The example project for ASGI servers: `example_project.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

from nateq_webhooks.asgi import ReceiverApplication

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")

application = ReceiverApplication(get_asgi_application())
