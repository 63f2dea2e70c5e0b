"""Standard input of a command."""

from io import StringIO


class Terminal(StringIO):
    """Stands for a person at a terminal, who types this."""

    def isatty(self) -> bool:
        return True
