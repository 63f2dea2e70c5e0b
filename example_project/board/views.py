from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from nateq_webhooks.models import Delivery

from .models import Ticket

CARDS_PER_COLUMN = 30
TROUBLED = (Delivery.Status.FAILED, Delivery.Status.DEAD)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the board: the newest tickets of a status, and how many there are in all."""

    status: Ticket.Status
    total: int
    tickets: list[Ticket]


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """How many deliveries stand in a status in which somebody should look at them."""

    status: Delivery.Status
    deliveries: int


@require_safe
def board(request: HttpRequest) -> HttpResponse:
    """The board; with `?live=1` the page loads itself anew every few seconds."""
    context = {
        "columns": [_column(status) for status in Ticket.Status],
        "live": request.GET.get("live") == "1",
        "deliveries": Delivery.objects.count(),
        "troubles": [trouble for status in TROUBLED if (trouble := _trouble(status)).deliveries],
    }
    return render(request, "board/board.html", context)


def _column(status: Ticket.Status) -> Column:
    tickets = Ticket.objects.filter(status=status)
    return Column(status=status, total=tickets.count(), tickets=list(tickets[:CARDS_PER_COLUMN]))


def _trouble(status: Delivery.Status) -> Trouble:
    return Trouble(status=status, deliveries=Delivery.objects.filter(status=status).count())
