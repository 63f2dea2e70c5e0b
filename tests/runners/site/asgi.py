"""The site under ASGI: by Django's own handler, and with the receiver view in threads."""

from django.core.asgi import get_asgi_application

from nateq_webhooks.asgi import ReceiverApplication

application = get_asgi_application()
in_threads = ReceiverApplication(application)
