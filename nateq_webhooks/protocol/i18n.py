"""Marks texts for translation: the protocol does not import Django; the code that shows a text translates it."""


def gettext_noop(text: str) -> str:
    """Return the text unchanged; `makemessages` finds calls of this name."""
    return text
