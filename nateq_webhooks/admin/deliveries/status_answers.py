"""The answers at the top of a delivery's page: was it received, was it genuine, what ran, what failed."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries import signature_check
from nateq_webhooks.admin.deliveries.signature_check import SignatureState
from nateq_webhooks.admin.deliveries.timeline import History
from nateq_webhooks.admin.formatting import STATUS_STYLES, StatusStyle
from nateq_webhooks.admin.hold_text import pause_of_everything, pause_sentence, pause_text
from nateq_webhooks.models import Delivery, Run

MAX_NAMED: Final = 5
"""Receivers that an answer names; the timeline has all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusAnswer:
    """A question and its answer, with the style of its status."""

    question: str
    style: StatusStyle
    text: str | SafeString


def status_answers(history: History, signature: SignatureState) -> Iterator[StatusAnswer]:
    """Yield the four answers. If a receiver ran more than once, only its newest run counts."""
    latest = history.newest()
    yield _received(history.delivery)
    yield StatusAnswer(
        question=_("Was it genuine?"),
        style=signature_check.STATUS_STYLES[signature],
        text=signature_check.sentence(signature),
    )
    yield _ran(history.delivery, latest)
    yield _failed(history.delivery, latest)


def _received(delivery: Delivery) -> StatusAnswer:
    seen = delivery.attempts_seen
    times = ngettext("%(number)s attempt", "%(number)s attempts", seen) % {"number": seen}
    text = format_html("{} {} · {}", _("Yes:"), formatting.moment(delivery.received_at), times)
    return StatusAnswer(question=_("Was it received?"), style=StatusStyle("✓", "good"), text=text)


def _ran(delivery: Delivery, latest: Mapping[str, Run]) -> StatusAnswer:
    """Return how many receivers are in which status, or why there are none."""
    question = _("What ran?")
    if not latest:
        return StatusAnswer(
            question=question, style=STATUS_STYLES[Delivery.Status.IGNORED], text=_why_nothing_ran(delivery)
        )
    counts = Counter(_status_text(run) for run in latest.values())
    text = " · ".join(f"{status}: {number}" for status, number in counts.most_common())
    found = {run.status for run in latest.values()}
    worst = next(status for status in _WORST_FIRST if status in found)
    return StatusAnswer(question=question, style=STATUS_STYLES[worst], text=text)


_WORST_FIRST: Final = (
    Run.Status.DEAD,
    Run.Status.FAILED,
    Run.Status.RUNNING,
    Run.Status.WAITING,
    Run.Status.DROPPED,
    Run.Status.SUCCEEDED,
)


def _status_text(run: Run) -> str:
    return _("Waits for an unknown receiver") if run.is_parked else run.get_status_display()


def _failed(delivery: Delivery, latest: Mapping[str, Run]) -> StatusAnswer:
    """Return the receivers whose newest run failed, with its status."""
    question = _("What failed?")
    failing = [run for run in latest.values() if run.status in Run.FAILING]
    if delivery.status == Delivery.Status.INVALID:
        return StatusAnswer(
            question=question,
            style=STATUS_STYLES[Delivery.Status.INVALID],
            text=_("It could not be parsed; the notes say why."),
        )
    if not failing and (
        delivery.dispatch_at is not None or any(run.status in Run.UNFINISHED for run in latest.values())
    ):
        return StatusAnswer(question=question, style=STATUS_STYLES[Run.Status.WAITING], text=_("Nothing so far."))
    if not failing:
        return StatusAnswer(question=question, style=StatusStyle("✓", "good"), text=_("Nothing."))
    named = format_html_join(
        _(", "),
        "<bdi>{}</bdi> ({})",
        ((formatting.visible(run.receiver), run.get_status_display()) for run in failing[:MAX_NAMED]),
    )
    more = len(failing) - MAX_NAMED
    if more > 0:
        named = format_html(
            "{} {}", named, ngettext("and %(number)s more", "and %(number)s more", more) % {"number": more}
        )
    is_dead = any(run.status == Run.Status.DEAD for run in failing)
    return StatusAnswer(
        question=question, style=STATUS_STYLES[Run.Status.DEAD if is_dead else Run.Status.FAILED], text=named
    )


def _why_nothing_ran(delivery: Delivery) -> str | SafeString:
    """Return why a delivery has no runs."""
    if delivery.status == Delivery.Status.INVALID:
        return _("It could not be read, so no receiver ran.")
    if delivery.status == Delivery.Status.IGNORED:
        return _("The webhook does not list this event, so no receiver ran.")
    if delivery.dispatch_at is not None:
        text, pause = _("Its receivers have not been started yet."), pause_of_everything()
        return text if pause is None else format_html("{} {}", text, pause_text(pause_sentence(pause), pause))
    return _("No receiver was connected to this event.")
