"""Management commands in a test: what they write, and somebody who answers them."""

from io import StringIO
from typing import Any

from django.core.management import call_command


class Terminal(StringIO):
    """Stands for a person at a terminal, who types this."""

    def isatty(self) -> bool:
        return True


def output(command: str, *arguments: str, **options: Any) -> str:
    """Run a command and return what it writes to standard output."""
    written = StringIO()
    call_command(command, *arguments, stdout=written, **options)
    return written.getvalue()
