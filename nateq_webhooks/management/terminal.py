"""The output of the commands: text from senders and other people can't send control sequences to the terminal."""

import getpass
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, TextIO

from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.db import Error
from django.utils.translation import gettext as _

from nateq_webhooks import audit
from nateq_webhooks.management.unapplied_migrations import has_unapplied_migrations, unapplied_text
from nateq_webhooks.protocol.invisible_chars import one_line, visible

Style = Callable[[str], str]

_HINT: Final = "\n\tHINT: "
"""What Django puts between the message of a system check and its hint."""


class Lines(str):
    """Text of several lines written by the command itself, such as a JSON document: its line breaks stay."""

    __slots__ = ()


class _Styled(str):
    """Text that has been escaped, and coloured by the command's own style."""

    __slots__ = ()


class _Styles:
    """Django's styles, which escape what they colour. `is_checking`: it is the message of a system check."""

    def __init__(self, styles: Any) -> None:
        self._styles = styles
        self.is_checking = False

    def __getattr__(self, role: str) -> Any:
        style = getattr(self._styles, role)
        return (lambda text: _Styled(style(self._safe(str(text))))) if callable(style) else style

    def _safe(self, text: str) -> str:
        message, hint, rest = text.rpartition(_HINT) if self.is_checking else ("", "", text)
        return _safe(message) + hint + _safe(rest)


class Terminal(OutputWrapper):
    """Writes one line at a time, with invisible characters escaped."""

    def write(  # type: ignore[override]
        self, msg: str = "", style_func: Style | None = None, ending: str | None = None
    ) -> None:
        """Write a line. Only `Lines` and what Django styles itself (its report of checks) may have line breaks."""
        safe = visible(msg) if style_func is not None else _safe(msg)
        super().write(safe, style_func, ending)


def _safe(text: str) -> str:
    """Return the text escaped, except for line breaks at its ends, which the command adds."""
    if isinstance(text, _Styled):
        return text
    if isinstance(text, Lines):
        return visible(text)
    bare = text.strip("\n")
    start, end = text[: len(text) - len(text.lstrip("\n"))], text[len(text.rstrip("\n")) :] if bare else ""
    return start + one_line(bare) + end


class TerminalCommand(BaseCommand):
    """Base of every command of the package: all output, errors too, goes through `Terminal`.

    The audit log names the system's user for what the command does.
    """

    audit_source: ClassVar[audit.Source] = audit.Source.COMMAND

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command from a command line; refuse an empty argument.

        In a script `--webhook "$NAME"` with an unset variable would otherwise apply to all webhooks.
        """
        if (empty := _first_empty(argv[2:])) is not None:
            self._called_from_command_line = True  # as Django's own method does: the error ends the process
            text = _("%(argument)s is empty. Check the variable that it comes from, or leave it out.")
            self.create_parser(argv[0], argv[1]).error(text % {"argument": empty})
        super().run_from_argv(argv)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command; if it fails because `migrate` was not run, say that instead."""
        try:
            with audit.acting(self.audit_source, user_name()):
                return super().execute(*args, **options)
        except (Error, CommandError) as error:
            cause = error.__context__ if isinstance(error, CommandError) else error
            if not isinstance(cause, Error) or not has_unapplied_migrations():
                raise
            raise CommandError(unapplied_text()) from error

    def __setattr__(self, name: str, value: Any) -> None:
        """Replace the streams and styles, which Django sets in several places, by ones that escape."""
        if name in ("stdout", "stderr") and not isinstance(value, Terminal):
            safe = Terminal(_stream(value), value.ending)
            safe.style_func = value.style_func
            value = safe
        if name == "style" and not isinstance(value, _Styles):
            value = _Styles(value)
        super().__setattr__(name, value)

    def check(self, *args: Any, **kwargs: Any) -> Any:
        """Check as Django does; a hint stays on its own line."""
        styles: Any = self.style
        styles.is_checking = True
        try:
            return super().check(*args, **kwargs)
        finally:
            styles.is_checking = False


def usage_error(message: str) -> CommandError:
    """Return the error of a command line that is wrong whatever is stored: with exit code 2, as argparse's own."""
    return CommandError(message, returncode=2)


def _first_empty(arguments: Sequence[str]) -> str | None:
    """Return the option whose value is empty, or "An argument" for one without an option; None if there is none."""
    before = ""
    for argument in arguments:
        option, is_joined, value = argument.partition("=")
        if option.startswith("--") and is_joined and not value.strip():
            return option
        if not argument.strip():
            return before if before.startswith("--") else _("An argument")
        before = argument
    return None


def user_name() -> str:
    """Return the system's name of the user who runs the command; empty if it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def accept_django_options(parser: ArgumentParser) -> None:
    """Accept Django's own options after a subcommand, too; one that was given before it keeps its value."""
    parser.add_argument("-v", "--verbosity", type=int, choices=[0, 1, 2, 3], default=SUPPRESS, help=SUPPRESS)
    for name in ("--settings", "--pythonpath"):
        parser.add_argument(name, default=SUPPRESS, help=SUPPRESS)
    for name in ("--traceback", "--no-color", "--force-color", "--skip-checks"):
        parser.add_argument(name, action="store_true", default=SUPPRESS, help=SUPPRESS)


def _stream(wrapper: OutputWrapper) -> TextIO:
    stream: TextIO = wrapper._out  # type: ignore[assignment]  # noqa: SLF001 - Django has no public name for it
    return stream
