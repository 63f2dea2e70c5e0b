"""`manage.py nateq_prune`: remove what is older than `RETENTION` allows, or print SQL for the space that it frees."""

import json
import time
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.db import Error, router
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks import tenants
from nateq_webhooks.conf import SETTING, settings
from nateq_webhooks.management.numbers import require_number
from nateq_webhooks.management.serializers import by_tenant
from nateq_webhooks.management.terminal import Lines, TerminalCommand, usage_error
from nateq_webhooks.models import Delivery
from nateq_webhooks.retention import LeftReason, PruneReport, prune
from nateq_webhooks.retention.storage_sql import storage_sql

PROGRESS_SECONDS: Final = 1.0
"""How often the progress is printed."""


class Command(TerminalCommand):
    """Removes contents and deliveries in batches, with a pause after each."""

    help = "Remove the contents and the deliveries that are older than the setting RETENTION allows."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--dry-run", action="store_true", help="Say how much would be removed, and remove nothing.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print the numbers as JSON.")
        parser.add_argument(
            "--seconds", type=float, metavar="N", help="Stop after so many seconds; the next call continues."
        )
        parser.add_argument(
            "--pause",
            type=float,
            default=1.0,
            metavar="N",
            help="Pause after each batch, as a multiple of the time that it took (default: 1); 0: no pause.",
        )
        parser.add_argument(
            "--sql",
            action="store_true",
            help="Print SQL to review: how the space is given back, and how autovacuum keeps up. Removes nothing.",
        )

    def handle(self, *, dry_run: bool, as_json: bool, verbosity: int, **options: Any) -> None:
        """Remove what is due for each tenant."""
        alias = router.db_for_write(Delivery)
        require_number("--seconds", options["seconds"], is_above=True)
        require_number("--pause", options["pause"])
        if options["sql"]:
            if dry_run or as_json or options["seconds"] is not None:
                raise usage_error(_("--sql prints SQL and removes nothing: leave out --dry-run, --json and --seconds."))
            self.stdout.write(Lines(storage_sql(alias)))
            return
        if not settings().retention_rules and not as_json:
            text = _('%(setting)s["RETENTION"] sets no period, so no content and no delivery is removed.')
            self.stdout.write(self.style.WARNING(text % {"setting": SETTING}))
        reports = {}
        for tenant in tenants.every():
            with tenants.activate(tenant):
                report = self._prune(dry_run=dry_run, is_quiet=as_json or not verbosity, **options)
                reports[tenant] = report
                if verbosity and not as_json:
                    self._write(tenant, report)
        if as_json:
            whole = {tenant: report.as_json() for tenant, report in reports.items()}
            self.stdout.write(json.dumps(by_tenant(whole)))

    def _prune(self, *, dry_run: bool, is_quiet: bool, **options: Any) -> PruneReport:
        printed_at = time.monotonic()

        def show(report: PruneReport, share: float) -> None:
            nonlocal printed_at
            if not is_quiet and time.monotonic() - printed_at >= PROGRESS_SECONDS:
                printed_at = time.monotonic()
                words = {"share": int(share * 100), "removed": number_format(report.removed)}
                self.stdout.write(_("Looked through %(share)d %%, removed %(removed)s") % words)

        try:
            return prune(dry_run=dry_run, seconds=options["seconds"], pause=options["pause"], progress=show)
        except Error as error:
            text = _("The database failed (%(error)s). Run the command again: it continues with the rest.")
            raise CommandError(text % {"error": type(error).__name__}) from error

    def _write(self, tenant: str, report: PruneReport) -> None:
        """Write what was done, or would be."""
        if tenant != tenants.NO_TENANT:
            self.stdout.write(self.style.MIGRATE_HEADING(tenant))
        for line in lines(report):
            self.stdout.write(line)
        if not report.is_complete:
            text = _("Not everything was looked at: the time was over, or another process is pruning. Run it again.")
            self.stdout.write(self.style.WARNING(text))


def lines(report: PruneReport) -> list[str]:
    """Return a report in words, a line for each number."""
    if report.is_dry_run:
        contents = ngettext(
            "The content of %(number)s delivery would be removed.",
            "The content of %(number)s deliveries would be removed.",
            report.payloads,
        )
        deliveries = ngettext(
            "%(number)s delivery would be removed.", "%(number)s deliveries would be removed.", report.deliveries
        )
    else:
        contents = ngettext(
            "The content of %(number)s delivery was removed.",
            "The content of %(number)s deliveries was removed.",
            report.payloads,
        )
        deliveries = ngettext(
            "%(number)s delivery was removed.", "%(number)s deliveries were removed.", report.deliveries
        )
    identities = ngettext(
        "%(number)s identity of a removed delivery is no longer needed.",
        "%(number)s identities of removed deliveries are no longer needed.",
        report.identities,
    )
    entries = ngettext(
        "%(number)s old entry of the audit log.", "%(number)s old entries of the audit log.", report.audit_entries
    )
    numbers = [(contents, report.payloads), (deliveries, report.deliveries), (identities, report.identities)]
    if report.audit_entries:
        numbers.append((entries, report.audit_entries))
    found = [text % {"number": number_format(number)} for text, number in numbers]
    left = [(reason, report.left[reason]) for reason in LeftReason if report.left[reason]]
    return found + [f"{left_text(reason)}: {number_format(number)}" for reason, number in left]


def left_text(reason: LeftReason) -> str:
    """Return in words why deliveries were left."""
    return {
        LeftReason.UNFINISHED: _("Left, because a receiver has not finished"),
        LeftReason.HELD: _("Left, because a run is held back"),
        LeftReason.PARKED: _("Left, because a run waits for a receiver that is not connected"),
        LeftReason.LOCKED: _("Left, because another transaction has locked them"),
        LeftReason.REFERENCED: _("Left, because rows of the project refer to them (PROTECT or RESTRICT)"),
    }[reason]
