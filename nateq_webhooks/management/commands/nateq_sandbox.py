"""`manage.py nateq_sandbox`: the local Nateq, with the options of `python -m nateq_webhooks.sandbox`."""

from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from nateq_webhooks.errors import NateqWebhooksError
from nateq_webhooks.management.terminal import TerminalCommand, usage_error
from nateq_webhooks.sandbox.command_line import add_arguments, announce, read_options, stop_signals
from nateq_webhooks.sandbox.sandbox_errors import SandboxError

_LOOK_SECONDS: Final = 1.0
"""How often to look whether the sandbox's process still runs."""


class Command(TerminalCommand):
    """Runs a sandbox until it is interrupted: in a process of its own, which has none of the site's settings."""

    help = "Run a local Nateq: its API at /api/v1, its settings screen at /, and a sender that posts deliveries."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the sandbox's options."""
        add_arguments(parser)

    def handle(self, *_: Any, **arguments: Any) -> None:
        """Run it."""
        try:
            options = read_options(arguments)
        except SandboxError as error:
            raise usage_error(str(error)) from None
        try:
            from nateq_webhooks.sandbox import Sandbox

            stopped = stop_signals()
            with Sandbox.from_options(options) as sandbox:
                announce(options, sandbox.url, has_own_key=bool(arguments["key"]))
                while sandbox.is_running and not stopped.wait(_LOOK_SECONDS):
                    continue
                if not stopped.is_set():
                    raise CommandError("The sandbox's process has ended; its error output says why.")
        except NateqWebhooksError as error:
            raise CommandError(str(error)) from error
