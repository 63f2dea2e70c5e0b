"""What a replay selects, in words: on the pages that ask, and on the replay's own page."""

from collections.abc import Iterator

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Delivery, Run, Webhook

Condition = tuple[str, str | SafeString | None]
"""A condition: what it is about, and its value."""


def selection_in_words(selection: Selection, permitted: PermittedRows) -> Iterator[Condition]:
    """Yield the conditions that are given. A webhook that the user may not see is left out."""
    if selection.deliveries:
        yield _("Chosen one by one"), formatting.number(len(selection.deliveries))
    if selection.runs:
        yield _("Number of failed runs"), formatting.number(len(selection.runs))
    if selection.webhook and (name := _webhook(selection.webhook, permitted)):
        yield _("Webhook"), formatting.text(name)
    if selection.event:
        yield _("Event"), formatting.text(selection.event)
    if selection.status:
        yield _("Status"), str(Delivery.Status(selection.status).label)
    if selection.organization:
        yield _("Organization"), formatting.text(selection.organization)
    if selection.resource:
        yield _("Resource id"), formatting.text(selection.resource)
    if selection.since:
        yield _("Received at or after"), formatting.moment(selection.since)
    if selection.until:
        yield _("Received before"), formatting.moment(selection.until)
    yield from _of_runs(selection)


def _of_runs(selection: Selection) -> Iterator[Condition]:
    if selection.receiver:
        yield _("Receiver that failed"), formatting.text(selection.receiver)
    if selection.run_status:
        yield _("Status of the run"), str(Run.Status(selection.run_status).label)
    if selection.error:
        yield _("The error contains"), formatting.text(selection.error)
    if selection.runs_since:
        yield _("Run created at or after"), formatting.moment(selection.runs_since)
    if selection.runs_until:
        yield _("Run created before"), formatting.moment(selection.runs_until)


def _webhook(key: str, permitted: PermittedRows) -> str:
    """Return a webhook's name, or its key if it was deleted; empty if it may be hidden."""
    name = permitted.of(Webhook).filter(pk=key).values_list("name", flat=True).first()
    return name or ("" if permitted.hides(Webhook) else key)
