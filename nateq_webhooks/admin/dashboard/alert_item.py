"""One line of the list "Needs attention"."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertItem:
    """One thing that needs attention: how bad it is, what it is, and where to look."""

    level: str
    symbol: str
    title: str
    text: str
    url: str = ""
    link: str = ""
    is_blocker: bool = False
    "Whether it keeps receivers from running, so that it is shown before the failures."
    resume_url: str = ""
    "Where a pause is resumed with one click; empty if it is no pause, or the user may not."
    hold: int = 0
    "The key of a pause's hold."
