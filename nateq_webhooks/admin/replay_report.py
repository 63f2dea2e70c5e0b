"""What the page that follows a replay says of it: what it did, what is held back, and who is missing for the rest."""

from django.contrib import messages
from django.db import router
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.dispatch.notify import leaves_to_workers, runs_elsewhere
from nateq_webhooks.dispatch.progress import Progress, ReplayState, missing_worker_advice, outcome
from nateq_webhooks.dispatch.status import has_workers
from nateq_webhooks.models import Delivery, Replay


def done_text(replay: Replay) -> str:
    """Return what a replay did."""
    return _("Replay %(number)s: %(outcome)s.") % {"number": replay.pk, "outcome": outcome(replay)}


def outcome_text(found: Progress) -> str:
    """Return what a replay did, and how many of its runs do not start yet."""
    return done_text(found.replay) + held_back(found)


def held_back(found: Progress) -> str:
    """Return a sentence about those runs of a replay that do not start yet, as something holds them; empty if none."""
    text = ngettext(
        "%(number)s is held back by a pause or a limit, and starts when that ends.",
        "%(number)s are held back by a pause or a limit, and start when that ends.",
        found.held,
    )
    return " " + text % {"number": formatting.number(found.held)} if found.held else ""


def show_report(request: HttpRequest, found: Progress, text: str) -> None:
    """Show what a replay did, and what is missing for the rest of its runs to be created and to start."""
    alias, replay = router.db_for_write(Delivery), found.replay
    is_creating = found.state is ReplayState.CREATING
    is_run_here = not (runs_elsewhere() or leaves_to_workers())
    if replay.has_runs and is_run_here and not is_creating:  # they have run by now, unless something holds them back
        text = _("%(report)s So far: %(numbers)s.") % {"report": text, "numbers": found.in_words}
    level = messages.SUCCESS if replay.has_runs or is_creating else messages.WARNING
    messages.add_message(request, level, text)
    if is_creating and not has_workers(alias):
        messages.warning(request, _("No worker was seen lately, so this does not continue by itself."))
    elif advice := missing_worker_advice(alias, found):
        messages.warning(request, advice)
