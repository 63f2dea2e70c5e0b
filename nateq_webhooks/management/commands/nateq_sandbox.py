"""`manage.py nateq_sandbox`: the local Nateq, with the options of `python -m nateq_webhooks.sandbox`."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from nateq_webhooks.errors import NateqWebhooksError
from nateq_webhooks.management.terminal import TerminalCommand
from nateq_webhooks.sandbox.command_line import add_arguments, run


class Command(TerminalCommand):
    """Runs a sandbox until it is interrupted; it does not use the site's settings or database."""

    help = "Run a local Nateq: its API at /api/v1, its settings screen at /, and a sender that posts deliveries."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the sandbox's options."""
        add_arguments(parser)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run it."""
        try:
            run(options)
        except NateqWebhooksError as error:
            raise CommandError(str(error)) from error
