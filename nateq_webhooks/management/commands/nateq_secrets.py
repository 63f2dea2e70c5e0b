"""`manage.py nateq_secrets`: how what is secret is stored, and its conversion to the newest key."""

import json
import time
from argparse import SUPPRESS, ArgumentParser
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.db import Error, router
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks import tenants
from nateq_webhooks.database import encryption
from nateq_webhooks.database.encryption import StoredForm
from nateq_webhooks.management.prompts import confirm
from nateq_webhooks.management.serializers import by_tenant
from nateq_webhooks.management.terminal import TerminalCommand, accept_django_options
from nateq_webhooks.models import Webhook
from nateq_webhooks.stored_secrets import REFERENCE, Conversion, Kind, convert, count_forms

PROGRESS_SECONDS: Final = 1.0
"""How often the progress is printed."""

_ROTATE: Final = "rotate-key"


class Command(TerminalCommand):
    """Shows how many secrets are stored in which form, and converts them. Prints numbers only."""

    help = "Encrypt the stored secrets with the newest key. Without an action: count how they are stored."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions and options."""
        _add_json(parser, default=False)
        actions = parser.add_subparsers(dest="action")
        status = actions.add_parser("status", help="Count the forms in which the secrets are stored.")
        rotate = actions.add_parser(_ROTATE, help="Encrypt every secret with the newest key, whatever its form is.")
        rotate.add_argument("--decrypt", action="store_true", help="Store every secret in plain text instead.")
        rotate.add_argument("--dry-run", action="store_true", help="Say how many would be converted, and do nothing.")
        rotate.add_argument("--no-input", "--noinput", action="store_true", help="Do not ask.")
        for action in (status, rotate):
            _add_json(action, default=SUPPRESS)  # keeps what was given before the action
            accept_django_options(action)

    def handle(self, *, action: str | None, as_json: bool, verbosity: int, **options: Any) -> None:
        """Count or convert, for each tenant."""
        if action != _ROTATE:
            counts = self._for_each_tenant(self._count, _form_lines, as_json=as_json)
            _refuse_unreadable(sum(forms[StoredForm.UNREADABLE] for each in counts for forms in each.values()))
            return
        to_plain, dry_run = options["decrypt"], options["dry_run"]
        self._require_key(to_plain=to_plain)
        if to_plain and not dry_run:
            confirm(_("This stores the secrets in plain text. Continue? [y/N] "), no_input=options["no_input"])
        show = self._progress(is_quiet=as_json or not verbosity)

        def carry_out(alias: str) -> dict[str, int]:
            done = convert(alias, to_plain=to_plain, dry_run=dry_run, progress=show)
            return {"dry_run": dry_run} | _numbers(done)

        def lines(numbers: dict[str, int]) -> list[str]:
            return _conversion_lines(numbers, to_plain=to_plain, dry_run=dry_run)

        found = self._for_each_tenant(carry_out, lines, as_json=as_json)
        _refuse_unreadable(sum(numbers["unreadable"] for numbers in found))

    def _require_key(self, *, to_plain: bool) -> None:
        """Raise `CommandError` if nothing can be encrypted."""
        _require_extra()
        try:
            encryption.is_enabled()
        except ImproperlyConfigured as error:
            if not to_plain:
                raise CommandError(str(error)) from None

    def _for_each_tenant(
        self, work: Callable[[str], Any], lines: Callable[[Any], list[str]], *, as_json: bool
    ) -> list[Any]:
        """Do the work in each tenant and print what it returns; return all of it."""
        alias = router.db_for_write(Webhook)
        found: dict[str, Any] = {}
        for tenant in tenants.every():
            with tenants.activate(tenant):
                try:
                    found[tenant] = work(alias)
                except Error as error:
                    text = _("The database failed (%(error)s). Run the command again: it continues with the rest.")
                    raise CommandError(text % {"error": type(error).__name__}) from None
            if not as_json:
                if tenant != tenants.NO_TENANT:
                    self.stdout.write(self.style.MIGRATE_HEADING(tenant))
                for line in lines(found[tenant]):
                    self.stdout.write(line)
        if as_json:
            self.stdout.write(json.dumps(by_tenant(found)))
        return list(found.values())

    def _count(self, alias: str) -> dict[str, dict[str, int]]:
        return {kind.value: _of_each_form(counts) for kind, counts in count_forms(alias).items()}

    def _progress(self, *, is_quiet: bool) -> Callable[[Conversion], None]:
        printed_at = time.monotonic()

        def show(found: Conversion) -> None:
            nonlocal printed_at
            if not is_quiet and time.monotonic() - printed_at >= PROGRESS_SECONDS:
                printed_at = time.monotonic()
                words = {"read": number_format(found.looked_at), "converted": number_format(found.converted)}
                self.stdout.write(_("Read %(read)s, converted %(converted)s") % words)

        return show


def _require_extra() -> None:
    """Raise `CommandError` if nothing can be encrypted or decrypted, because the extra is missing."""
    if not encryption.is_installed():
        text = _('The extra "encryption" is not installed. Install it: pip install "nateq-webhooks[encryption]"')
        raise CommandError(text)


def _refuse_unreadable(unreadable: int) -> None:
    """Raise `CommandError` if there are values that no key decrypts."""
    if not unreadable:
        return
    _require_extra()
    text = ngettext(
        "%(number)s value can't be decrypted, and stays as it is. Add its key to SECRET_KEYS, after the new "
        "one (or the former SECRET_KEY to SECRET_KEY_FALLBACKS), and run this again.",
        "%(number)s values can't be decrypted, and stay as they are. Add their key to SECRET_KEYS, after the "
        "new one (or the former SECRET_KEY to SECRET_KEY_FALLBACKS), and run this again.",
        unreadable,
    )
    raise CommandError(text % {"number": number_format(unreadable)})


def _add_json(parser: ArgumentParser, *, default: Any) -> None:
    """Add the option that is accepted before and after the action."""
    parser.add_argument(
        "--json", action="store_true", dest="as_json", default=default, help="Print the numbers as JSON."
    )


_FORMS: Final = (*StoredForm, REFERENCE)


def _of_each_form(counts: Counter[str]) -> dict[str, int]:
    return {str(form): counts[form] for form in _FORMS}


def _numbers(found: Conversion) -> dict[str, int]:
    return {"converted": found.converted, "unchanged": found.unchanged, "unreadable": found.unreadable}


def _form_lines(found: dict[str, dict[str, int]]) -> list[str]:
    """Return how many secrets are stored in which form, a line for each form that there is."""
    titles = {
        Kind.WEBHOOKS: _("Secrets of webhooks"),
        Kind.OLDER_SECRETS: _("Other secrets of webhooks"),
        Kind.UNREDACTED_BODIES: _("Bodies that are kept until their receivers have run"),
    }
    forms = {
        StoredForm.NEWEST_KEY: _("encrypted with the newest key"),
        StoredForm.OLDER_KEY: _("encrypted with an older key"),
        StoredForm.PLAIN: _("in plain text"),
        StoredForm.UNREADABLE: _("encrypted, and no key decrypts them"),
        REFERENCE: _("in environment variables"),
    }
    lines = []
    for kind, title in titles.items():
        shown = [f"{number_format(found[kind][form])} {text}" for form, text in forms.items() if found[kind][form]]
        lines.append(f"{title}: {', '.join(shown) or _('none')}")
    return lines


def _conversion_lines(numbers: dict[str, int], *, to_plain: bool, dry_run: bool) -> list[str]:
    """Return what was done, or would be."""
    number = numbers["converted"]
    if dry_run:
        text = ngettext("%(number)s value would be converted.", "%(number)s values would be converted.", number)
    elif to_plain:
        text = ngettext("%(number)s value was decrypted.", "%(number)s values were decrypted.", number)
    else:
        text = ngettext(
            "%(number)s value was encrypted with the newest key.",
            "%(number)s values were encrypted with the newest key.",
            number,
        )
    same = ngettext("%(number)s value stays as it is.", "%(number)s values stay as they are.", numbers["unchanged"])
    return [text % {"number": number_format(number)}, same % {"number": number_format(numbers["unchanged"])}]
