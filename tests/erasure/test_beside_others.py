"""An erasure beside what else happens: deliveries of the person, a replay, another process's worker, other tenants."""

import contextlib
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import ProtectedError
from django.db.models.signals import pre_delete

from nateq_webhooks import dispatch, signals, tenants
from nateq_webhooks.dispatch import replays
from nateq_webhooks.dispatch.erasure import Criteria, Erasure
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Delivery, Replay, Run, Webhook
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from nateq_webhooks.retention import removal
from nateq_webhooks.runners.worker import drain
from tests.conftest import Connect, Sender, envelope, wait_until
from tests.dispatch.conftest import configure
from tests.dispatch.scene import Configure, names_written
from tests.erasure.people import OMAR, SARA, Scene, ticket, traces
from tests.runners.conftest import at_the_site
from tests.runners.processes import process, worker
from tests.tenancy import ALPHA, BETA, schemas

__all__ = ["at_the_site", "configure"]

WHERE = {"data.requester.id": "cus_sara9", "data.messages.author.id": "cus_sara9"}
COMMAND = ("-m", "django", "nateq_erase", "--no-input", "--where", "data.requester.id=cus_sara9")

MODES = pytest.mark.parametrize("blank", [False, True])

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _removals_are_known(webhook: Webhook) -> None:
    Webhook.objects.update(has_removed=True)


def about(person: dict[str, str], number: int | str) -> dict[str, Any]:
    document: dict[str, Any] = envelope(delivery_id=f"dlv_{number}", data={"id": f"tkt_{number}", "requester": person})
    return document


@MODES
def test_what_comes_while_it_works_is_stored_and_goes_with_the_next_one(
    webhook: Webhook, connect: Connect, configure: Configure, *, blank: bool
) -> None:
    configure(DISPATCH="worker")
    ran: Counter[str] = Counter()
    connect(signals.ticket_created, lambda *, event, **kwargs: ran.update([event.delivery_id]), "shop.receive")
    sender = Sender(webhook)
    for number in range(40):
        sender.post(about(SARA if number % 2 else OMAR, number))
    over = threading.Event()
    answers: list[int] = []
    posted: dict[str, str] = {}

    def send(name: str, person: dict[str, str]) -> None:
        try:
            number = 0
            while not over.is_set():
                number += 1
                posted[f"dlv_{name}{number}"] = person["id"]
                answers.append(Sender(webhook).post(about(person, f"{name}{number}")).status_code)
                over.wait(0.01)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as senders:
        jobs = [senders.submit(send, "s", SARA), senders.submit(send, "o", OMAR)]
        try:
            wait_until(lambda: len(answers) > 4)
            first = dispatch.erase(WHERE, blank=blank)
            reached = len(answers)
            wait_until(lambda: len(answers) > reached + 4)
        finally:
            over.set()
        for job in jobs:
            job.result()
    second = dispatch.erase(WHERE, blank=blank)
    drain()

    assert set(answers) == {200}
    assert first.deliveries >= 20
    assert second.deliveries >= 1
    assert traces() == []
    omars = {f"dlv_{number}" for number in range(0, 40, 2)} | {one for one, who in posted.items() if who == OMAR["id"]}
    assert ran == Counter(omars)
    assert set(Delivery.objects.filter(content_change=None).values_list("delivery_id", flat=True)) == omars


@MODES
@pytest.mark.parametrize("is_first", [False, True])
def test_a_replay_beside_it_runs_nothing_of_the_person(
    webhook: Webhook, connect: Connect, configure: Configure, monkeypatch: Any, *, blank: bool, is_first: bool
) -> None:
    configure(DISPATCH="worker")
    monkeypatch.setattr("nateq_webhooks.dispatch.replay_batches.BATCH_SIZE", 2)
    monkeypatch.setattr("nateq_webhooks.dispatch.erasure.steps.BATCH_SIZE", 3)
    ran: list[tuple[str, bool]] = []

    def receiver(*, event: Any, run: Run, **kwargs: Any) -> None:
        ran.append((event.delivery_id, run.is_replay))

    connect(signals.ticket_created, receiver, "shop.receive")
    for number in range(12):
        Sender(webhook).post(about(SARA if number % 2 else OMAR, number))
    drain()
    replay = replays.request_replay(Selection(event="ticket.created"), reason=f"for {SARA['email']}")
    erasure = Erasure(Criteria.of(WHERE), is_blank=blank)
    works: list[Any] = [lambda: replays.advance("default", replay), erasure.advance]
    works = works if is_first else works[::-1]
    while works:
        works = [work for work in works if work()]

    drain()

    again = sorted(one for one, is_replay in ran if is_replay)
    assert again == sorted(f"dlv_{number}" for number in range(0, 12, 2))
    stored = Replay.objects.get()
    assert (stored.reason, stored.finished_at is not None) == ("for [erased]", True)
    assert not Run.objects.unfinished().exists()
    assert traces() == []


def test_the_numbers_in_a_replays_filters_are_keys_and_stay(scene: Scene) -> None:
    """The person's number is the same as the key of somebody's delivery."""
    key = 1_000_000 + scene.others[0].pk
    replay = Replay.objects.create(filters={"deliveries": [key], "error": f"of {key}"})

    dispatch.erase({"data.requester.id": str(key)})

    replay.refresh_from_db()
    assert replay.filters == {"deliveries": [key], "error": "of [erased]"}


@MODES
def test_a_receiver_at_work_in_another_process_leaves_nothing(
    webhook: Webhook, configure: Configure, at_the_site: None, tmp_path: Path, *, blank: bool
) -> None:
    configure(DISPATCH="worker")
    sender = Sender(webhook)
    own = envelope("ticket.updated", delivery_id="dlv_1", data={"folder": str(tmp_path), "requester": SARA})
    assert sender.post(own).status_code == 200
    has_one_writer = connection.vendor == "sqlite"
    settings = {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    with worker():
        wait_until((tmp_path / "began").exists)
        with process(*COMMAND, *(("--blank",) if blank else ()), **settings) as erasing:
            if has_one_writer:
                (tmp_path / "go on").touch()
            assert erasing.wait_until_it_ends() == 0, erasing.output
        assert traces() == []
        (tmp_path / "go on").touch()
        wait_until(lambda: not Run.objects.exclude(next_try_at=None).exists())

    assert traces() == []
    if not has_one_writer:
        assert [name for name in names_written() if name.endswith(" wait")] == []
    assert not Run.objects.unfinished().exists()


@pytest.fixture
def protect() -> Iterator[set[int]]:
    """Keys of deliveries that rows of the project refer to."""
    keys: set[int] = set()

    def refuse(*, instance: Delivery, **kwargs: Any) -> None:
        if instance.pk in keys:
            raise ProtectedError("an order needs it", {instance})

    pre_delete.connect(refuse, sender=Delivery)
    yield keys
    pre_delete.disconnect(refuse, sender=Delivery)


def test_rows_that_the_project_protects_are_blanked(scene: Scene, monkeypatch: Any, protect: set[int]) -> None:
    monkeypatch.setattr(removal, "is_referenced_by_project", lambda: True)
    protect.add(scene.tickets[0].pk)

    report = dispatch.erase(WHERE)

    assert (report.protected, report.deliveries) == (1, 5)
    assert traces() == []
    kept = Delivery.objects.get(pk=scene.tickets[0].pk)
    assert kept.content_change == "erasure"
    assert not Run.objects.filter(delivery=kept).unfinished().exists()
    assert scene.tickets[0].identity not in RemovedDelivery.objects.values_list("identity", flat=True)
    assert dispatch.erase(WHERE).found == 0


def test_the_command_erases_in_every_tenant(webhook: Webhook, settings: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("Only PostgreSQL has schemas that a connection looks through.")
    settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "TENANTS": "tests.tenancy.Schemas"}
    out = io.StringIO()
    with schemas():
        for name, people in ((ALPHA, [SARA, OMAR]), (BETA, [SARA, SARA, OMAR])):
            with tenants.activate(name):
                own = Webhook.objects.create(name=name, has_removed=True)
                for number, person in enumerate(people):
                    ticket(own, number, person).save()

        call_command("nateq_erase", where=["data.requester.id=cus_sara9"], as_json=True, no_input=True, stdout=out)

        for name in (ALPHA, BETA):
            with tenants.activate(name):
                assert Delivery.objects.count() == 1
    reports = json.loads(out.getvalue())
    assert {name: report["deliveries"] for name, report in reports.items()} == {ALPHA: 1, BETA: 2}


def test_nothing_that_is_logged_or_reported_has_the_person(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    out, err = io.StringIO(), io.StringIO()
    with caplog.at_level("DEBUG"), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        where = [f"data.requester.{key}={value}" for key, value in SARA.items()]
        call_command("nateq_erase", where=where, as_json=True, no_input=True)
    report = json.loads(out.getvalue())

    said = (out.getvalue() + err.getvalue() + "".join(each.getMessage() for each in caplog.records)).lower()
    assert not [value for value in SARA.values() if value.lower() in said.replace("\\", "")]
    assert report["complete"] is True
    assert traces() == []
