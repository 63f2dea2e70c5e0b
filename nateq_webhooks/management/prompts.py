"""The question that a command asks at the terminal before it changes something."""

import sys
from typing import Final

from django.core.management.base import CommandError
from django.utils.translation import gettext as _

_YES: Final = ("y", "yes")


def confirm(question: str, *, no_input: bool = False) -> None:
    """Ask a question, unless there is no terminal or `no_input`. Raises `CommandError` unless the answer is yes."""
    if not no_input and sys.stdin.isatty():
        require_yes(question)


def require_yes(question: str) -> None:
    """Ask a question. Raises `CommandError` unless the answer is yes; the end of the input is a no.

    Where the output goes to a file or a program, the question is in neither: it goes to the standard error output.
    """
    if not sys.stdout.isatty():
        sys.stderr.write(question)
        sys.stderr.flush()
        question = ""
    try:
        answer = input(question)
    except EOFError:
        answer = ""
    if answer.strip().lower() not in _YES:
        raise CommandError(_("Nothing was changed."))
