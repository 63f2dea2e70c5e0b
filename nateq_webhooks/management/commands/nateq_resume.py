"""`manage.py nateq_resume`: start runs again after a pause, in the order of their deliveries."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import router
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks import dispatch
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.pauses import gather_all, is_rate_limited, move_from_hold, named_scopes
from nateq_webhooks.dispatch.progress import worker_advice
from nateq_webhooks.dispatch.selection import did_you_mean
from nateq_webhooks.dispatch.status import due_runs
from nateq_webhooks.management.selection_options import (
    add_all_option,
    add_webhook_option,
    require_explicit_all,
    webhook_named,
)
from nateq_webhooks.management.terminal import TerminalCommand
from nateq_webhooks.models import Run
from nateq_webhooks.models.hold import Hold, scope_parts
from nateq_webhooks.receivers import registry


class Command(TerminalCommand):
    """Ends pauses of `nateq_pause`, the admin and the circuit breaker."""

    help = "End a pause: that of all receivers (--all), of a webhook, or of a receiver."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add_webhook_option(parser)
        add_all_option(parser, "End the pause of all receivers; a webhook or receiver with its own pause stays paused.")
        parser.add_argument("--receiver", metavar="NAME", help="The receiver's name.")

    def handle(self, *, webhook: str | None, receiver: str | None, verbosity: int, **options: Any) -> None:
        """Resume, and queue the runs that were set aside; if this is interrupted, workers continue it."""
        given = {"--webhook": webhook, "--receiver": receiver}
        require_explicit_all(is_all=options["is_all"], narrowed_by=[name for name, value in given.items() if value])
        _refuse_unknown_receiver(receiver)
        named = webhook_named(webhook) if webhook else None
        alias = router.db_for_write(Hold)
        resumed = dispatch.resume(webhook=named, receiver=receiver)
        names = named_scopes(alias, resumed)
        for hold in resumed:
            moved = 0
            while not is_rate_limited(alias, hold) and (count := move_from_hold(alias, hold)):
                moved += count
                if verbosity and self.stdout.isatty():
                    text = ngettext(
                        "%(count)d more waiting run released …", "%(count)d more waiting runs released …", moved
                    )
                    self.stdout.write(text % {"count": moved})
            if verbosity:
                self.stdout.write(self.style.SUCCESS(_("Resumed: %(hold)s.") % {"hold": names[hold.pk]}))
        gather_all(alias)
        is_due = bool(resumed) and due_runs(Run.objects.using(alias), timezone.now()).exists()
        if verbosity and is_due and (advice := worker_advice(alias)):
            self.stdout.write(self.style.WARNING(advice))
        if verbosity and not resumed:
            self.stdout.write(_("It was not paused."))
        if verbosity and (still := api.paused()):
            self.stdout.write(_("Still paused: %(holds)s.") % {"holds": ", ".join(named_scopes(alias, still).values())})


def _refuse_unknown_receiver(receiver: str | None) -> None:
    """Raise `CommandError` for a name that is neither connected nor paused, such as a mistyped one."""
    paused = {scope_parts(hold.scope)[1] for hold in api.paused()} - {""}
    known = {one.name for one in registry} | paused
    if receiver and receiver not in known:
        text = _('No receiver called "%(name)s" is paused or connected.') % {"name": receiver}
        raise CommandError(text + did_you_mean(receiver, known))
