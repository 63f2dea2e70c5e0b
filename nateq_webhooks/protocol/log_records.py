"""One filter for every line that the package logs: nobody's text forges a line or steers a terminal."""

import logging
import traceback
from typing import Final

from nateq_webhooks.protocol.unseen import one_line, visible

LOGGERS: Final = (
    "nateq_webhooks",
    "nateq_webhooks.client.limits",
    "nateq_webhooks.client.transport",
    "nateq_webhooks.sandbox",
)
"""The loggers of the package. A logger's filter does not see what is logged to the ones below it."""

_INDENT: Final = "    "


class OneLine(logging.Filter):
    """Keeps a record's message on one line, and the lines of a traceback indented; what can't be seen is escaped.

    A sender chooses event names, ids and headers, a person with few permissions a webhook's name and a pause's reason,
    and exceptions repeat either. What is harmless already is left as it is, so that records are still grouped by their
    message.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where it has to be. Lets every record pass."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - logging's handlers report a message that can't be put together
            return True
        if (safe := one_line(message)) != message:
            record.msg, record.args = safe, None
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None and not record.exc_text:
            record.exc_text = _indented(record.exc_info[1])
        return True


def _indented(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except Exception as problem:  # noqa: BLE001 - an exception's own text may raise anything
        text = f"{type(error).__qualname__} (its traceback can't be shown: {type(problem).__qualname__})"
    lines = text.rstrip("\n").split("\n")
    return "\n".join(_INDENT + visible(line).replace("\t", "\\t") for line in lines)


def install() -> None:
    """Filter every logger of the package. Doing it again changes nothing."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)


_FILTER: Final = OneLine()
