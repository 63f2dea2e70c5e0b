"""`manage.py nateq_pause`: start no more runs: of all receivers, of a webhook, or of a receiver."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import router
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks import dispatch
from nateq_webhooks.dispatch.pauses import move_to_hold, named_scopes
from nateq_webhooks.dispatch.replays import check_receivers
from nateq_webhooks.management.selection_options import (
    add_all_option,
    add_webhook_option,
    require_explicit_all,
    webhook_named,
)
from nateq_webhooks.management.terminal import TerminalCommand, user_name
from nateq_webhooks.models.hold import Hold


class Command(TerminalCommand):
    """Pauses dispatch; deliveries are still stored."""

    help = "Start no more runs: none at all (--all), none of a webhook's deliveries, or none of a receiver."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add_webhook_option(parser)
        add_all_option(parser, "Start no runs at all.")
        parser.add_argument("--receiver", metavar="NAME", help="The receiver's name.")
        parser.add_argument("--reason", default="", help="Why; shown with the pause.")

    def handle(self, *, webhook: str | None, receiver: str | None, reason: str, verbosity: int, **options: Any) -> None:
        """Pause, and set the waiting runs aside."""
        given = {"--webhook": webhook, "--receiver": receiver}
        require_explicit_all(is_all=options["is_all"], narrowed_by=[name for name, value in given.items() if value])
        named = webhook_named(webhook) if webhook else None
        try:
            check_receivers([receiver] if receiver else None)
        except LookupError as error:
            raise CommandError(str(error)) from error
        holds = dispatch.pause(webhook=named, receiver=receiver, reason=reason, by=user_name())
        names = named_scopes(router.db_for_write(Hold), holds)
        for hold in holds:
            moved = 0
            while hold.scope and (count := move_to_hold(router.db_for_write(Hold), hold)):
                moved += count
                if verbosity and self.stdout.isatty():
                    text = ngettext(
                        "%(count)d more waiting run held back …", "%(count)d more waiting runs held back …", moved
                    )
                    self.stdout.write(text % {"count": moved})
            if verbosity:
                self.stdout.write(self.style.SUCCESS(_("Paused: %(hold)s.") % {"hold": names[hold.pk]}))
