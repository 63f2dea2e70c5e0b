"""`manage.py nateq_erase`: erase what is stored about a person or an organization, in every table."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.db import Error
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks import tenants
from nateq_webhooks.dispatch.erasure import Criteria, Erasure, ErasureReport
from nateq_webhooks.dispatch.erasure.tables import table_label
from nateq_webhooks.errors import ErasureError
from nateq_webhooks.management.prompts import require_yes
from nateq_webhooks.management.selection_options import moment_of, several
from nateq_webhooks.management.serializers import by_tenant
from nateq_webhooks.management.terminal import Lines, TerminalCommand, usage_error

PROGRESS_SECONDS: Final = 1.0
"""How often the progress is printed."""


class Command(TerminalCommand):
    """Erases in batches; the same command again continues an erasure that was interrupted."""

    help = (
        "Erase what is stored about a person or an organization, in every table: deliveries, runs, errors, searches, "
        "the admin's history."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--where",
            action="append",
            default=[],
            metavar="PATH=VALUE",
            help="A path in the payload and the person's value, such as data.requester.id=usr_9; may be repeated.",
        )
        parser.add_argument(
            "--organization", default="", metavar="ORG", help="Everything of an organization; with --where: only in it."
        )
        parser.add_argument(
            "--since", metavar="TIME", help="Leave deliveries alone that were received before this time."
        )
        parser.add_argument(
            "--blank", action="store_true", help="Keep the deliveries, without what they say of the person."
        )
        parser.add_argument(
            "--names-everywhere",
            action="store_true",
            help="Blank names and short numbers in other people's deliveries, too, though they may be somebody else's.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Say what would be erased, and change nothing.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Write the report as JSON.")
        parser.add_argument("--no-input", "--noinput", action="store_true", help="Do not ask, as without a terminal.")

    def handle(self, *, dry_run: bool, as_json: bool, no_input: bool, verbosity: int, **options: Any) -> None:
        """Say what would go, ask, and erase, for each tenant."""
        out = self.stdout if verbosity and not as_json else None
        criteria = _criteria_of(options)
        try:
            if not dry_run and not no_input and sys.stdin.isatty():
                seen = self.stderr if as_json else self.stdout
                self._each_tenant(criteria, seen, is_blank=options["blank"], is_dry_run=True)
                require_yes(_("This can't be undone. Erase it? [y/N] "))
            reports = self._each_tenant(criteria, out, is_blank=options["blank"], is_dry_run=dry_run)
        except ErasureError as error:
            raise CommandError(str(error)) from error
        except Error as error:
            text = _("The database failed (%(error)s). The same command again continues.")
            raise CommandError(text % {"error": type(error).__name__}) from error
        if as_json:
            whole = {tenant: report.as_json() for tenant, report in reports.items()}
            self.stdout.write(Lines(json.dumps(by_tenant(whole), indent=2)))

    def _each_tenant(
        self, criteria: Criteria, out: OutputWrapper | None, *, is_blank: bool, is_dry_run: bool
    ) -> dict[str, ErasureReport]:
        """Erase, or count, in each tenant; return the reports by tenant, and write them to `out` if it is given."""
        reports = {}
        for tenant in tenants.every():
            with tenants.activate(tenant):
                if out and tenant != tenants.NO_TENANT:
                    out.write(self.style.MIGRATE_HEADING(tenant))
                erasure = Erasure(criteria, is_blank=is_blank, is_dry_run=is_dry_run)
                if out and erasure.is_resumed:
                    out.write(_("Continuing an erasure that was interrupted."))
                reports[tenant] = self._run(erasure, out)
                if out:
                    self._show(reports[tenant], criteria, out)
        return reports

    def _run(self, erasure: Erasure, out: OutputWrapper | None) -> ErasureReport:
        printed_at = time.monotonic()
        while erasure.advance():
            if out and time.monotonic() - printed_at >= PROGRESS_SECONDS:
                printed_at = time.monotonic()
                found = erasure.report.found
                text = ngettext(
                    "%(share)d %% looked through, %(count)d row found",
                    "%(share)d %% looked through, %(count)d rows found",
                    found,
                )
                out.write(text % {"share": int(100 * erasure.share_done), "count": found})
        return erasure.report

    def _show(self, report: ErasureReport, criteria: Criteria, out: OutputWrapper) -> None:
        for line in report_lines(report):
            out.write(line)
        if not report.deliveries:
            out.write(self.style.WARNING(_nobody_text(criteria)))


def _nobody_text(criteria: Criteria) -> str:
    """Return that no delivery meets the criteria: what was searched for may be mistyped."""
    if not criteria.where:
        return _("No delivery is of the organization %(name)r.") % {"name": criteria.organization}
    paths = ", ".join(dict.fromkeys(path for path, _value in criteria.where))
    text = _("No delivery has the value at %(paths)s. A path begins at the top of the payload: data.requester.id")
    return text % {"paths": paths}


def report_lines(report: ErasureReport) -> list[str]:
    """Return a report for people: a sentence, and a line for each table in which something was found."""
    looked_at = report.tables["delivery"].looked_at if "delivery" in report.tables else 0
    if not report.found:
        text = ngettext(
            "Nothing was found. %(count)d delivery was looked at, and every other table.",
            "Nothing was found. %(count)d deliveries were looked at, and every other table.",
            looked_at,
        )
        return [text % {"count": looked_at}, *_left_lines(report)]
    words = {"deliveries": report.deliveries, "quoting": report.quoting, "runs": report.runs_dropped}
    columns = _("looked at"), _("deleted"), _("blanked")
    lines = [
        _("Deliveries of the person or organization: %(deliveries)d. Others that quote it: %(quoting)d.") % words,
        "".join(f"{column:>12}" for column in columns),
    ]
    for name, table in report.tables.items():
        if table.deleted or table.blanked:
            lines.append(f"{table.looked_at:>12}{table.deleted:>12}{table.blanked:>12}  {table_label(name)}")
    if report.runs_dropped:
        lines.append(_("Unfinished runs that are dropped: %(runs)d.") % words)
    if report.protected:
        text = ngettext(
            "Blanked, not deleted, because rows of this project refer to it: %(count)d delivery.",
            "Blanked, not deleted, because rows of this project refer to them: %(count)d deliveries.",
            report.protected,
        )
        lines.append(text % {"count": report.protected})
    lines += _left_lines(report)
    if report.is_dry_run:
        lines.append(_("Nothing was changed: this was a dry run."))
    return lines


def _left_lines(report: ErasureReport) -> list[str]:
    """Return what may still be about the person."""
    lines = []
    if report.names_left:
        text = ngettext(
            "Left: %(count)d delivery of others quotes only a name or a short number; see --names-everywhere.",
            "Left: %(count)d deliveries of others quote only a name or a short number; see --names-everywhere.",
            report.names_left,
        )
        lines.append(text % {"count": report.names_left})
    if report.hidden:
        text = ngettext(
            "Not searchable: %(count)d delivery. Retention removed its content, or REDACT masked what was searched "
            "for.",
            "Not searchable: %(count)d deliveries. Retention removed their content, or REDACT masked what was searched "
            "for.",
            report.hidden,
        )
        lines.append(text % {"count": report.hidden})
    return lines


def _criteria_of(options: Mapping[str, Any]) -> Criteria:
    """Return the criteria of the options. Raises `CommandError` for a wrong command line."""
    try:
        return Criteria.of(
            _pairs(several(options["where"])),
            options["organization"],
            moment_of("--since", options["since"]),
            names_everywhere=options["names_everywhere"],
        )
    except ErasureError as error:
        raise usage_error(str(error)) from error


def _pairs(given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for each in given:
        path, separator, value = each.partition("=")
        if not separator:
            raise usage_error(_("--where needs a path and a value: --where data.requester.id=usr_9"))
        pairs.append((path, value))
    return pairs
