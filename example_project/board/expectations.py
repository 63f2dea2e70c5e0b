"""What each event should cause in this project; the demo's audit compares the database with it."""

from django.db.models import TextChoices

from nateq_webhooks.models import Delivery

EVENT_THAT_FAILS = "broadcast.failed"
"""The event for which the CRM's receiver raises, on purpose."""


class Receiver(TextChoices):
    """The receivers that store an `Effect`."""

    BOARD = "board", "Board"
    JOURNAL = "journal", "Journal"
    CRM = "crm", "CRM"


def receivers_of(event: str) -> set[Receiver]:
    """The receivers that succeed for an event."""
    expected = {Receiver.JOURNAL}
    if event.startswith("ticket."):
        expected.add(Receiver.BOARD)
    if event == "lead.created":
        expected.add(Receiver.CRM)
    return expected


def statuses_of(event: str) -> set[str]:
    """The possible statuses of a delivery of an event after its receivers have run."""
    if event == EVENT_THAT_FAILS:
        return {Delivery.Status.FAILED, Delivery.Status.DEAD}
    return {Delivery.Status.PROCESSED}
