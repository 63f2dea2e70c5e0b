"""`manage.py nateq_replay`: run the receivers of many deliveries again; an interrupted replay can be resumed."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.db import Error, router
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch.failed_runs import count_to_retry, unknown_receivers
from nateq_webhooks.dispatch.progress import looked_through, missing_worker_advice, outcome, progress
from nateq_webhooks.dispatch.replay_batches import rows_without_content
from nateq_webhooks.dispatch.replays import (
    advance,
    check_receivers,
    interrupted,
    note_command_ended,
    request_replay,
)
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.management.prompts import require_yes
from nateq_webhooks.management.selection_options import (
    add_all_option,
    add_selection_options,
    narrowed_by,
    require_explicit_all,
    selection_of,
    several,
)
from nateq_webhooks.management.terminal import TerminalCommand, usage_error, user_name
from nateq_webhooks.models import Delivery, Replay, Run
from nateq_webhooks.models.run import MAX_ERROR_CHARS
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.receivers import registry

MAX_UNKNOWN: Final = 20
"""Receivers that are not connected and are named in a warning."""

PROGRESS_SECONDS: Final = 1.0
"""How often the progress is printed."""


class Command(TerminalCommand):
    """Creates the runs of a replay; workers execute them."""

    help = "Run the receivers of stored deliveries again: of all that the options select, all receivers or those named."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add_selection_options(parser)
        add_all_option(parser, "Replay every delivery; required if no other option selects some.")
        parser.add_argument(
            "--receiver", action="append", default=None, metavar="NAME", help="Only this receiver; may be repeated."
        )
        parser.add_argument(
            "--failed",
            action="store_true",
            help="Only what failed, receiver by receiver; what has succeeded since is left alone.",
        )
        parser.add_argument("--error", default="", metavar="TEXT", help="With --failed: the error contains this text.")
        parser.add_argument("--reason", default="", help="Why; kept with the replay.")
        parser.add_argument("--dry-run", action="store_true", help="Say how much would be replayed.")
        parser.add_argument("--no-input", action="store_true", help="Do not ask, as without a terminal.")
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--new", action="store_true", help="Start another replay if the same one was interrupted.")
        group.add_argument("--resume", type=int, metavar="ID", help="Continue a replay that was interrupted.")

    def handle(self, *, dry_run: bool, verbosity: int, **options: Any) -> None:
        """Replay what the options select; the same command again continues a replay that was interrupted."""
        alias = router.db_for_write(Delivery)
        if options["resume"] is not None:
            self._continue(alias, _resumable(alias, options, dry_run=dry_run), verbosity)
            return
        narrowed = narrowed_by(options) + _narrowing_failed(options)
        if not dry_run:
            require_explicit_all(is_all=options["is_all"], narrowed_by=narrowed)
        if options["error"] and not options["failed"]:
            raise usage_error(_("--error needs --failed."))
        selection = replace(selection_of(options), error=column_text(options["error"], MAX_ERROR_CHARS))
        receivers = several(options["receiver"]) or None
        try:
            check_receivers(receivers)
        except LookupError as error:
            raise CommandError(str(error)) from error
        _refuse_lost_contents(alias, selection)
        wanted = _Wanted(alias, selection, receivers, only_failed=options["failed"])
        if unknown := wanted.unknown_receivers():
            self.stdout.write(self.style.WARNING(unknown))
        if dry_run:
            self.stdout.write(wanted.counted())
            return
        replay = None if options["new"] else interrupted(alias, selection, receivers, only_failed=wanted.only_failed)
        if replay is None:
            if not options["no_input"] and sys.stdin.isatty():  # counting may take long
                require_yes(wanted.question())
            words = {"reason": options["reason"], "by": user_name()}
            replay = request_replay(
                selection, receivers, is_command_waiting=True, only_failed=wanted.only_failed, **words
            )
            self._create_runs(alias, replay, verbosity)
        else:
            self._continue(alias, replay, verbosity)

    def _continue(self, alias: str, replay: Replay, verbosity: int) -> None:
        if verbosity:
            words = {"number": replay.pk, "share": looked_through(replay)}
            text = _("Continuing replay %(number)d, which has looked through %(share)d %% of the deliveries.")
            self.stdout.write(text % words)
        self._create_runs(alias, replay, verbosity)

    def _create_runs(self, alias: str, replay: Replay, verbosity: int) -> None:
        printed_at = time.monotonic()
        try:
            while retry_transaction(lambda: advance(alias, replay)):
                if verbosity and time.monotonic() - printed_at >= PROGRESS_SECONDS:
                    printed_at = time.monotonic()
                    words = {"share": looked_through(replay), "outcome": outcome(replay)}
                    self.stdout.write(_("Looking through the deliveries: %(share)d %%, %(outcome)s") % words)
            note_command_ended(alias, replay)
        except Error as error:
            words = {"number": replay.pk, "error": type(error).__name__}
            text = _("The database failed (%(error)s). Continue with: manage.py nateq_replay --resume %(number)d")
            raise CommandError(text % words) from error
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
            found = progress(alias, replay)
            if replay.has_runs:
                self.stdout.write(found.in_words)
            if advice := missing_worker_advice(alias, found):
                self.stdout.write(self.style.WARNING(advice))


def _refuse_lost_contents(alias: str, selection: Selection) -> None:
    """Refuse deliveries that were given by id and whose content was removed; of others they are left out."""
    for delivery in rows_without_content(alias, selection.deliveries).order_by("pk")[:1]:
        raise CommandError(delivery.content_lost_text())


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the options ask for, and how much that is."""

    alias: str
    selection: Selection
    receivers: Sequence[str] | None
    only_failed: bool

    def question(self) -> str:
        """Return the question that is asked before the replay."""
        if self.only_failed:
            return self.counted() + " " + _("Retry them? [y/N] ")
        count, left_out = self._deliveries()
        question = ngettext("Replay %(count)d delivery? [y/N] ", "Replay %(count)d deliveries? [y/N] ", count)
        return " ".join([*_left_out(left_out), question % {"count": count}])

    def counted(self) -> str:
        """Return in words how much would be replayed."""
        if not self.only_failed:
            count, left_out = self._deliveries()
            what = ngettext("%(count)d delivery would be replayed.", "%(count)d deliveries would be replayed.", count)
            return " ".join([what % {"count": count}, *_left_out(left_out)])
        found = count_to_retry(self.selection, Run.objects.using(self.alias), self.receivers)
        what = ngettext(
            "%(count)d failed run would be retried: %(dead)d again as a new run, %(pending)d brought forward. "
            "Left alone, because they were replayed since: %(resolved)d.",
            "%(count)d failed runs would be retried: %(dead)d again as new runs, %(pending)d brought forward. "
            "Left alone, because they were replayed since: %(resolved)d.",
            found.total,
        )
        words = {"dead": found.given_up, "pending": found.pending, "resolved": found.resolved}
        sentences = [what % {"count": found.total, **words}, *_left_out(found.without_content)]
        if found.disconnected:
            text = _("Left alone, because their receiver is not connected to the event: %(count)d.")
            sentences.append(text % {"count": found.disconnected})
        return " ".join(sentences)

    def unknown_receivers(self) -> str:
        """Return a warning about failed runs that nothing can retry, as no receiver of their name is connected."""
        if not self.only_failed or self.receivers is not None:
            return ""
        runs, known = Run.objects.using(self.alias), [receiver.name for receiver in registry]
        names = unknown_receivers(self.selection, runs, known, MAX_UNKNOWN)
        text = _("Failed runs of receivers that are not connected are left alone: %(names)s.")
        return text % {"names": ", ".join(names)} if names else ""

    def _deliveries(self) -> tuple[int, int]:
        """Return how many deliveries would be replayed, and how many would be left out: their content was removed."""
        rows = self.selection.of(Delivery.objects.using(self.alias))
        left_out = rows.filter(content_change__in=Delivery.CONTENT_LOST).count()
        return rows.count() - left_out, left_out


def _left_out(count: int) -> list[str]:
    """Return a sentence about deliveries whose content was removed, if there are any."""
    return [_("Left out, because the delivery's content was removed: %(count)d.") % {"count": count}] if count else []


def _narrowing_failed(options: Mapping[str, Any]) -> list[str]:
    """Return the options that narrow down what failed, beside those that select deliveries."""
    return [f"--{name}" for name in ("receiver", "error") if options["failed"] and options[name]]


def _resumable(alias: str, options: Mapping[str, Any], *, dry_run: bool) -> Replay:
    """Return the replay that `--resume` names. Raises `CommandError` with other options that select."""
    names = [
        *narrowed_by(options),
        *(["--receiver"] if options["receiver"] else []),
        *(f"--{name}" for name in ("failed", "error") if options[name]),
        *(["--dry-run"] if dry_run else []),
    ]
    if options["is_all"] or names:
        given = ", ".join([*(["--all"] if options["is_all"] else []), *names])
        raise usage_error(_("--resume can't be combined with %(options)s.") % {"options": given})
    replay = Replay.objects.using(alias).filter(pk=options["resume"]).first()
    if replay is None:
        raise CommandError(_("There is no replay %(number)d.") % {"number": options["resume"]})
    return replay
