"""A filter for all log records of the package: untrusted text can't forge a line or control a terminal."""

import logging
import traceback
from typing import Final

from nateq_webhooks.protocol.invisible_chars import one_line, visible

LOGGERS: Final = (
    "nateq_webhooks",
    "nateq_webhooks.client.limits",
    "nateq_webhooks.client.transport",
    "nateq_webhooks.sandbox",
)
"""The loggers of the package. A logger's filter does not apply to records of its children."""

TRACEBACK_TEXT: Final = "traceback_text"
"""The attribute of a record with a traceback as text (`extra`): of an exception that handlers must not get."""

_INDENT: Final = "    "


class OneLine(logging.Filter):
    """Keeps a record's message on one line and indents the lines of a traceback; invisible characters are escaped.

    A sender chooses event names, ids and headers. A user with few permissions chooses a webhook's name and the reason
    of a pause. Exceptions repeat these texts. A harmless record is not changed, so that records are still grouped by
    their message.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape the record if necessary. Never drops a record."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - logging's handlers report a message that can't be formatted
            return True
        if (safe := one_line(message)) != message:
            record.msg, record.args = safe, None
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None and not record.exc_text:
            record.exc_text = _indented(_formatted(record.exc_info[1]))
        elif text := getattr(record, TRACEBACK_TEXT, ""):
            record.exc_text = _indented(text)  # as formatters write it
        return True


def _formatted(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception as problem:  # noqa: BLE001 - an exception's own text may raise anything
        return f"{type(error).__qualname__} (its traceback can't be shown: {type(problem).__qualname__})"


def _indented(text: str) -> str:
    lines = text.rstrip("\n").split("\n")
    return "\n".join(_INDENT + visible(line).replace("\t", "\\t") for line in lines)


def install() -> None:
    """Add the filter to every logger of the package. Safe to call again."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)


_FILTER: Final = OneLine()
