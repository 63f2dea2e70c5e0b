"""The commands that texts name, to be copied into a shell."""

import shlex

from nateq_webhooks.models import Webhook


def command(action: str, webhook: Webhook, *options: str) -> str:
    """Return the command line of an action of `nateq_webhook` for a webhook, whose name is quoted if it has to be."""
    return " ".join(["manage.py nateq_webhook", action, "--name", shlex.quote(webhook.name), *options])
