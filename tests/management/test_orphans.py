"""`manage.py nateq_orphans`: what is parked is shown, given to another receiver or dropped."""

import importlib
import sys
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import CommandError
from django.db import connection

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import PARKED_UNTIL
from nateq_webhooks.runners.worker import drain
from tests.commands import Terminal, output
from tests.dispatch.scene import Connect, Deliver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def parked(deliver: Deliver, connect: Connect) -> Run:
    """A run of a receiver that is gone."""
    connect(signals.ticket_created, lambda **kwargs: None, "shop.new")
    delivery = deliver()
    Delivery.objects.update(dispatch_at=None)
    return Run.objects.create(delivery=delivery, receiver="shop.old", next_try_at=PARKED_UNTIL)


def orphans(*arguments: str, **options: Any) -> str:
    return output("nateq_orphans", *arguments, **options)


def test_it_says_when_every_receiver_is_connected() -> None:
    assert orphans() == "No runs are parked: every receiver is connected.\n"


def test_a_dropped_run_stays_and_finalizes_its_delivery(parked: Run) -> None:
    orphans("drop", "shop.old")

    parked.refresh_from_db()
    assert parked.status == Run.Status.DROPPED
    assert Delivery.objects.get().status == Delivery.Status.PROCESSED


def test_a_person_is_asked_and_may_say_no(parked: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))

    with pytest.raises(CommandError, match=r"Nothing was changed\."):
        orphans("drop", "shop.old")

    parked.refresh_from_db()
    assert parked.status == Run.Status.WAITING


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--dry-run", "drop", "shop.old"], {}),
        (["drop", "shop.old", "--dry-run"], {}),
        (["drop", "--dry-run", "shop.old"], {}),
        (["drop", "shop.old"], {"dry_run": True}),
        (["reassign", "shop.old", "shop.new", "--dry-run"], {}),
        (["reassign", "--no-input", "shop.old", "--dry-run", "shop.new", "--verbosity", "2", "--no-color"], {}),
        (["--dry-run", "reassign", "shop.old", "shop.new", "--no-input"], {}),
    ],
    ids=str,
)
def test_a_dry_run_changes_nothing_wherever_the_option_is(
    parked: Run, arguments: list[str], options: dict[str, Any]
) -> None:
    assert "1 run of shop.old" in orphans(*arguments, **options)

    parked.refresh_from_db()
    assert parked.status == Run.Status.WAITING


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["drop", "shop.odl"], "No runs of 'shop.odl' are parked. Parked: shop.old. Did you mean 'shop.old'?"),
        (["reassign", "shop.old", "shop.nwe"], 'No receiver called "shop.nwe" is connected.'),
        (["reassign", "shop.old", "shop.nwe"], "Did you mean 'shop.new'?"),
    ],
)
def test_an_invalid_option_is_refused_with_a_suggestion(parked: Run, arguments: list[str], complaint: str) -> None:
    with pytest.raises(CommandError) as raised:
        orphans(*arguments)

    assert complaint in str(raised.value)


def test_a_run_is_not_given_to_a_receiver_that_has_a_pending_one(parked: Run) -> None:
    """A replay may have asked for it in the meantime, in a round of its own."""
    Run.objects.create(delivery=parked.delivery, receiver="shop.new", round=7, status="failed")

    orphans("reassign", "shop.old", "shop.new")

    parked.refresh_from_db()
    assert (parked.receiver, parked.status) == ("shop.old", Run.Status.DROPPED)


def test_more_than_one_batch_is_dropped(parked: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("nateq_webhooks.dispatch.orphans"), "BATCH_SIZE", 2)
    for number in range(1, 6):
        Run.objects.create(delivery=parked.delivery, receiver="shop.old", round=number, next_try_at=PARKED_UNTIL)

    assert orphans("drop", "shop.old").endswith(": 6\n")

    assert set(Run.objects.values_list("status", flat=True)) == {Run.Status.DROPPED}


def test_it_lists_and_reassigns_parked_runs_without_a_cursor_on_the_server(
    parked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler that hands out a connection for each transaction knows nothing of it in the next one."""

    monkeypatch.setattr(connection, "chunked_cursor", Mock(side_effect=AssertionError("a cursor on the server")))

    assert orphans().split() == ["1", "shop.old"]
    orphans("reassign", "shop.old", "shop.new")
    drain()

    parked.refresh_from_db()
    assert (parked.receiver, parked.status) == ("shop.new", Run.Status.SUCCEEDED)
