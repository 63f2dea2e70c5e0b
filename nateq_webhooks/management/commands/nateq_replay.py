"""`manage.py nateq_replay`: have deliveries run once more, many at a time, and go on where a kill stopped it."""

import sys
import time
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.db import Error, router
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch import Selection
from nateq_webhooks.dispatch.progress import nobody_runs, outcome
from nateq_webhooks.dispatch.replays import (
    advance,
    check_receivers,
    follow_to_its_end,
    followed,
    request_replay,
)
from nateq_webhooks.management.commands.nateq_pause import user_name
from nateq_webhooks.management.selection import (
    add_all_option,
    add_selection_options,
    narrowed_by,
    refuse_silent_all,
    selection_of,
    several,
)
from nateq_webhooks.management.terminal import TerminalCommand
from nateq_webhooks.models import Delivery, Replay

TOLD_EVERY: Final = 1.0
"""Seconds between two lines about the progress."""


class Command(TerminalCommand):
    """Makes the runs of a replay; who runs what is due runs them."""

    help = "Have deliveries run once more: all that the options name, by all of their receivers or by those named."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add_selection_options(parser)
        add_all_option(parser, "Replay every delivery; needed where no option says which.")
        parser.add_argument(
            "--receiver", action="append", default=None, metavar="NAME", help="Only this receiver; may be repeated."
        )
        parser.add_argument("--reason", default="", help="Why; kept with the replay.")
        parser.add_argument("--dry-run", action="store_true", help="Say how many deliveries it would be.")
        parser.add_argument("--no-input", action="store_true", help="Do not ask, as without a terminal.")
        parser.add_argument("--new", action="store_true", help="Begin anew where the same replay was interrupted.")

    def handle(self, *, dry_run: bool, verbosity: int, **options: Any) -> None:
        """Replay what the options name; the same command again goes on with a replay that was interrupted."""
        alias = router.db_for_write(Delivery)
        if not dry_run:
            refuse_silent_all(is_all=options["is_all"], narrowed_by=narrowed_by(options))
        selection = selection_of(options)
        receivers = several(options["receiver"]) or None
        try:
            check_receivers(receivers)
        except LookupError as error:
            raise CommandError(str(error)) from error
        if dry_run:
            count = selection.of(Delivery.objects.using(alias)).count()
            what = ngettext("%(count)d delivery would be replayed.", "%(count)d deliveries would be replayed.", count)
            self.stdout.write(what % {"count": count})
            return
        replay = None if options["new"] else followed(alias, selection, receivers)
        if replay is None:
            self._ask(alias, selection, is_asked=not options["no_input"])
            words = {"reason": options["reason"], "by": user_name()}
            replay = request_replay(selection, receivers, is_followed=True, **words)
        elif verbosity:
            share = {"number": replay.pk, "share": replay.share_done * 100}
            self.stdout.write(_("Going on with replay %(number)d, %(share)d %% of its runs made.") % share)
        try:
            self._make_runs(alias, replay, verbosity)
        except Error as error:
            words = {"number": replay.pk, "error": type(error).__name__}
            said = _("The database is in trouble (%(error)s). The same command goes on with replay %(number)d.")
            raise CommandError(said % words) from error

    def _ask(self, alias: str, selection: Selection, *, is_asked: bool) -> None:
        if not is_asked or not sys.stdin.isatty():
            return
        count = selection.of(Delivery.objects.using(alias)).count()
        question = ngettext("Replay %(count)d delivery? [y/N] ", "Replay %(count)d deliveries? [y/N] ", count)
        if input(question % {"count": count}).strip().lower() not in ("y", "yes"):
            raise CommandError(_("Nothing was changed."))

    def _make_runs(self, alias: str, replay: Replay, verbosity: int) -> None:
        told_at = time.monotonic()
        while retry_transaction(lambda: advance(alias, replay)):
            if verbosity and time.monotonic() - told_at >= TOLD_EVERY:
                told_at = time.monotonic()
                self.stdout.write(f"{replay.share_done:7.1%}  {replay.runs + replay.brought_forward}")
        follow_to_its_end(alias, replay)
        if replay.is_cancelled:
            raise CommandError(_("Replay %(number)d was cancelled.") % {"number": replay.pk})
        if verbosity:
            done = ngettext(
                "Replay %(number)d of %(count)d delivery: %(outcome)s.",
                "Replay %(number)d of %(count)d deliveries: %(outcome)s.",
                replay.deliveries,
            )
            words = {"number": replay.pk, "outcome": outcome(replay), "count": replay.deliveries}
            self.stdout.write(self.style.SUCCESS(done % words))
            if advice := nobody_runs(alias, [replay]):
                self.stdout.write(self.style.WARNING(advice))
