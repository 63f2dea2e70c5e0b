"""`manage.py nateq_resume`: start runs again, in the order their deliveries came."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import router
from django.utils.translation import gettext as _

from nateq_webhooks import dispatch
from nateq_webhooks.dispatch.gates import clear_lane
from nateq_webhooks.dispatch.pauses import is_limited
from nateq_webhooks.management.selection import add_webhook_option, webhook_named
from nateq_webhooks.models import Gate


class Command(BaseCommand):
    """Resumes what `nateq_pause`, the admin or the circuit breaker has paused."""

    help = "Start receivers again that were paused. Without options: what was paused for everything."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add_webhook_option(parser)
        parser.add_argument("--receiver", metavar="NAME", help="The receiver's name.")

    def handle(self, *, webhook: str | None, receiver: str | None, verbosity: int, **options: Any) -> None:  # noqa: ARG002
        """Resume, and move what was put aside back; workers go on with that when this is interrupted."""
        named = webhook_named(webhook) if webhook else None
        alias = router.db_for_write(Gate)
        opened = dispatch.resume(webhook=named, receiver=receiver)
        for gate in opened:
            moved = 0
            while not is_limited(alias, gate) and (portion := clear_lane(alias, gate)):
                moved += portion
                if verbosity and self.stdout.isatty():
                    self.stdout.write(_("%(count)d more waiting runs put back …") % {"count": moved})
            if verbosity:
                self.stdout.write(self.style.SUCCESS(_("Resumed: %(gate)s.") % {"gate": gate}))
        if verbosity and not opened:
            self.stdout.write(_("That was not paused."))
        if verbosity and (still := dispatch.paused()):
            self.stdout.write(_("Still paused: %(gates)s.") % {"gates": ", ".join(map(str, still))})
