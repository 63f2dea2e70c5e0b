"""`manage.py nateq_payload_index`: create or drop the optional index for the search by a JSON path."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connections, router
from django.utils.translation import gettext as _

from nateq_webhooks import payload_index
from nateq_webhooks.management.prompts import confirm
from nateq_webhooks.management.terminal import TerminalCommand, usage_error
from nateq_webhooks.models import Delivery


class Command(TerminalCommand):
    """Shows whether the index exists; creates or drops it without blocking the storing of deliveries."""

    help = (
        "Create or drop the optional index over payloads (PostgreSQL). With it, the admin's search by a JSON path "
        "finds deliveries of any age; each insert becomes slower. Without an action: show whether it exists."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions and options."""
        parser.add_argument("action", nargs="?", choices=["create", "drop"], help="What to do with the index.")
        parser.add_argument("--dry-run", action="store_true", help="Show the statements, and do nothing.")
        parser.add_argument("--no-input", action="store_true", help="Do not ask.")
        parser.add_argument("--database", help="The alias of the database; by default the one of deliveries.")

    def handle(
        self, *, action: str | None, dry_run: bool, no_input: bool, database: str | None, **_options: Any
    ) -> None:
        """Show the state, create or drop."""
        alias = database or router.db_for_write(Delivery)
        if alias not in connections.settings:
            raise usage_error(_("There is no database %(alias)r.") % {"alias": alias})
        if not payload_index.is_possible(alias):
            raise CommandError(_why_not(connections[alias].display_name))
        state = payload_index.is_there(alias)
        if action is None:
            self.stdout.write(_state_in_words(state))
            return
        statements = _statements(alias, action, state)
        if not statements:
            self.stdout.write(_state_in_words(state))
            return
        self._carry_out(alias, statements, dry_run=dry_run, no_input=no_input)

    def _carry_out(self, alias: str, statements: list[str], *, dry_run: bool, no_input: bool) -> None:
        for statement in statements:
            self.stdout.write(f"{statement};")
        if dry_run:
            return
        confirm(_("On a big table this takes a while. Continue? [y/N] "), no_input=no_input)
        with connections[alias].cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        self.stdout.write(self.style.SUCCESS(_state_in_words(payload_index.is_there(alias))))


def _statements(alias: str, action: str, state: bool | None) -> list[str]:  # noqa: FBT001 - the result of `is_there`
    """Return the statements to run; an unfinished index is dropped first."""
    if action == "drop":
        return [] if state is False else [payload_index.drop_sql(alias)]
    if state:
        return []
    return [*([payload_index.drop_sql(alias)] if state is None else []), payload_index.create_sql(alias)]


def _state_in_words(state: bool | None) -> str:  # noqa: FBT001 - the result of `is_there`
    if state is None:
        return _("The index is incomplete: its creation was interrupted. Create it again, or drop it.")
    if state:
        return _("The index exists: the search by a JSON path has no limit.")
    return _("The index does not exist: the search by a JSON path reads the newest deliveries first, part by part.")


def _why_not(database: str) -> str:
    return _(
        "%(database)s has no index for all paths of a JSON column; PostgreSQL has. The search by a JSON path works, "
        "but reads the newest deliveries first, part by part. For one path you can add a generated column with an "
        "index to a table of yours; the admin does not use it."
    ) % {"database": database}
