"""Erasing a person: nothing of the person is left in any table, and nothing of others is lost."""

import contextlib
import itertools
import json
import random
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from nateq_webhooks import dispatch
from nateq_webhooks.dispatch.erasure import Criteria, Erasure
from nateq_webhooks.errors import ErasureError
from nateq_webhooks.models import AuditEntry, Delivery, OtherContent, Replay, Run, Webhook
from nateq_webhooks.models.erasure_progress import ErasureProgress
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from tests.emptying import empty_tables
from tests.erasure.people import OMAR, Scene, dump, store_scene, ticket, traces

WHERE = {
    "data.requester.id": "cus_sara9",
    "data.messages.author.id": "cus_sara9",
}

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_scene_quotes_the_person_in_every_table_that_is_looked_through(scene: Scene) -> None:
    from nateq_webhooks.dispatch.erasure.tables import text_tables

    tables = {table for table, _trace in traces()}

    assert tables == {Delivery._meta.db_table, *(table.model._meta.db_table for table in text_tables())}


@pytest.mark.parametrize("blank", [False, True])
def test_a_dump_of_every_table_has_nothing_of_an_erased_person(scene: Scene, *, blank: bool) -> None:
    report = dispatch.erase(WHERE, blank=blank)

    assert traces() == []
    assert report.is_complete
    assert not ErasureProgress.objects.exists()
    assert (report.deliveries, report.quoting) == (5, 1)


def test_the_deliveries_are_deleted_and_their_identities_stay(scene: Scene) -> None:
    report = dispatch.erase(WHERE)

    assert list(Delivery.objects.order_by("pk")) == [*scene.others, scene.quoting]
    removed = RemovedDelivery.objects.filter(reason="erasure", expires_at=None).values_list("identity", flat=True)
    assert {each.identity for each in scene.tickets} <= set(removed)
    assert report.tables["delivery"].deleted == 5
    assert report.tables["run"].deleted == 2


def test_blanked_deliveries_stay_without_what_they_say_of_the_person(scene: Scene) -> None:
    dispatch.erase(WHERE, blank=True)

    kept = Delivery.objects.get(pk=scene.tickets[1].pk)
    document = json.loads(kept.body)
    assert document["data"]["id"] == "tkt_2"
    assert document["data"]["subject"] == "Help"
    assert set(document["data"]["requester"].values()) == {"[erased]"}
    assert kept.payload == document
    assert kept.content_change == "erasure"
    assert kept.content_hash == scene.tickets[1].content_hash
    assert kept.identity == scene.tickets[1].identity
    messages = json.loads(Delivery.objects.get(pk=scene.tickets[3].pk).body)["data"]["messages"]
    assert messages[0]["author"] == OMAR


@pytest.mark.parametrize("blank", [False, True])
def test_what_others_say_stays(scene: Scene, *, blank: bool) -> None:
    before = [bytes(each.body) for each in scene.others]

    dispatch.erase(WHERE, blank=blank)

    assert [bytes(Delivery.objects.get(pk=each.pk).body) for each in scene.others] == before
    assert not Delivery.objects.filter(pk__in=[each.pk for each in scene.others], content_change="erasure").exists()
    quoting = json.loads(Delivery.objects.get(pk=scene.quoting.pk).body)
    assert quoting["data"] == {
        "id": "tkt_20",
        "subject": "Ask [erased], please",
        "requester": OMAR,
        "score": 3,
    }
    assert Replay.objects.get().reason == "for [erased]"
    assert Run.objects.get(delivery=scene.others[0], status="dead").error == (
        "ValueError: no mail to [erased] of GET /?id%3D[erased]&mail=[erased]"
    )


@pytest.mark.parametrize("blank", [False, True])
def test_a_dry_run_changes_nothing_and_says_what_the_erasure_then_does(scene: Scene, *, blank: bool) -> None:
    before = dump()

    planned = dispatch.erase(WHERE, blank=blank, dry_run=True)

    assert dump() == before
    done = dispatch.erase(WHERE, blank=blank)
    assert planned.tables.keys() == done.tables.keys()
    for name, table in done.tables.items():
        assert (planned.tables[name].deleted, planned.tables[name].blanked) == (table.deleted, table.blanked), name
    assert (planned.deliveries, planned.quoting, planned.runs_dropped) == (
        done.deliveries,
        done.quoting,
        done.runs_dropped,
    )


@pytest.mark.parametrize("blank", [False, True])
def test_every_process_looks_repeats_up_before_the_first_row_is_changed(
    scene: Scene, monkeypatch: Any, *, blank: bool
) -> None:
    known: list[tuple[Any, int]] = []

    def announce(alias: str, webhooks: Any) -> None:
        known.append((webhooks, Delivery.objects.filter(content_change=None).count()))

    monkeypatch.setattr("nateq_webhooks.dispatch.erasure.steps.announce_removals", announce)

    dispatch.erase(WHERE, blank=blank)

    assert known == [({scene.webhook.pk}, 9)]


def test_the_audit_log_has_who_erased_and_paths_and_numbers_but_no_value(scene: Scene) -> None:
    dispatch.erase(WHERE, by="sara's lawyer")

    begun, done = AuditEntry.objects.filter(action="erased").order_by("pk")
    assert (begun.source, begun.actor, begun.target) == ("code", "sara's lawyer", "person")
    assert begun.details == {"state": "begun", "how": "delete", "paths": sorted(WHERE)}
    assert done.details == {
        **begun.details,
        "state": "done",
        "deliveries": 5,
        "quoting": 1,
        "names_left": 0,
        "rows": done.details["rows"],
    }


def test_a_dry_run_is_not_in_the_audit_log(scene: Scene) -> None:
    dispatch.erase(WHERE, dry_run=True)

    assert not AuditEntry.objects.filter(action="erased").exists()


@pytest.mark.parametrize("steps", [0, 2, 6])
def test_two_processes_with_the_same_erasure_harm_nothing(scene: Scene, steps: int) -> None:
    one, other = Erasure(Criteria.of(WHERE)), Erasure(Criteria.of(WHERE))
    for _ in range(steps):
        assert one.advance()
        assert other.advance()
    while one.advance():
        pass

    with contextlib.suppress(ErasureError):
        while other.advance():
            pass

    assert traces() == []
    assert list(Delivery.objects.order_by("pk")) == [*scene.others, scene.quoting]


def test_a_second_erasure_finds_nothing(scene: Scene) -> None:
    dispatch.erase(WHERE, blank=True)

    again = dispatch.erase(WHERE, blank=True)

    assert (again.found, again.deliveries) == (0, 0)
    assert again.tables["delivery"].looked_at == 9


def test_since_leaves_older_deliveries_alone(scene: Scene) -> None:
    dispatch.erase({"data.requester.id": "cus_sara9"}, since=timezone.now() - timedelta(days=2, hours=1))

    assert Delivery.objects.filter(pk=scene.tickets[0].pk).exists()
    assert not Delivery.objects.filter(pk__in=[each.pk for each in scene.tickets[1:3]]).exists()


def test_an_organization_is_erased_whole(scene: Scene) -> None:
    other = ticket(scene.webhook, 40, OMAR, organization_id="org_2")
    other.body = other.body.replace(b"org_1", b"org_2")
    other.save()

    dispatch.erase(organization="org_1")

    assert list(Delivery.objects.filter(organization_id="org_1")) == []
    assert list(Delivery.objects.exclude(status="invalid")) == [other]


def test_an_organization_narrows_down_the_person(scene: Scene) -> None:
    report = dispatch.erase(WHERE, organization="org_2")

    assert report.deliveries == 0
    assert Delivery.objects.filter(pk__in=[each.pk for each in scene.tickets]).count() == 4


def test_the_bytes_of_other_contents_are_gone_and_their_hash_stays(scene: Scene) -> None:
    dispatch.erase(WHERE)

    kept = OtherContent.objects.get(delivery=scene.others[0])
    assert bytes(kept.body) == b""
    assert kept.content_hash


@pytest.mark.parametrize("blank", [False, True])
def test_unfinished_runs_of_an_erased_delivery_are_dropped(scene: Scene, *, blank: bool) -> None:
    pending = Run.objects.create(delivery=scene.tickets[1], receiver="shop.send")
    Delivery.objects.filter(pk=scene.tickets[2].pk).update(dispatch_at=timezone.now(), status="received")

    report = dispatch.erase(WHERE, blank=blank)

    assert report.runs_dropped == 2
    assert not Delivery.objects.filter(pk__in=[each.pk for each in scene.tickets], dispatch_at__isnull=False).exists()
    run = Run.objects.filter(pk=pending.pk).first()
    assert (run is not None) is blank
    if run is not None:
        assert (run.status, run.error, run.next_try_at) == (
            "dropped",
            "Dropped: the content of the delivery was erased.",
            None,
        )


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({}, "Say whose data"),
        ({"data..id": "x"}, "a key is empty"),
        ({"": "x"}, "a key is empty"),
        ({"*": "x"}, "names no key"),
        ({"data.id": ""}, "The value of data.id is empty"),
        ({"data.id": None}, "neither text nor a number"),
    ],
)
def test_unusable_criteria_are_refused(where: dict[str, Any], says: str) -> None:
    with pytest.raises(ErasureError, match=says):
        dispatch.erase(where)


def test_criteria_that_many_people_meet_are_refused_before_anything_is_changed(scene: Scene, monkeypatch: Any) -> None:
    monkeypatch.setattr("nateq_webhooks.dispatch.erasure.steps.MAX_SOURCES", 1)
    before = dump()

    with pytest.raises(ErasureError, match="More than 1 different people"):
        dispatch.erase({"data.requester.id": "cus_sara9", "data.requester.email": "omar@example.net"})

    assert dump() == before


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.long, id="each"), pytest.param(5, id="some")])
def test_an_erasure_that_ends_at_any_statement_is_continued_by_the_next_call(
    webhook: Webhook, monkeypatch: Any, *, blank: bool, step: int
) -> None:
    monkeypatch.setattr("nateq_webhooks.dispatch.erasure.steps.MAX_PAUSE", 0)
    store_scene(webhook)
    expected = _numbers(_erase(blank=blank)), _state()
    for number in itertools.count(random.randint(1, step), step):
        empty_tables("default")
        webhook.save(force_insert=True)
        store_scene(webhook)
        with contextlib.suppress(Killed), connection.execute_wrapper(KilledAt(number)):
            _erase(blank=blank)
            break
        is_ended = traces() == []
        report = _erase(blank=blank)

        assert traces() == [], number
        assert (expected[0] if is_ended else _numbers(report), _state()) == expected, number


class Killed(BaseException):
    """As a process that ends: nothing catches it."""


class KilledAt:
    """Ends at the statement with this number."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise Killed
        return execute(sql, *args)


def _erase(*, blank: bool) -> Any:
    return dispatch.erase(WHERE, blank=blank)


def _numbers(report: Any) -> Any:
    return {
        name: (table.deleted, table.blanked) for name, table in report.tables.items() if table.deleted or table.blanked
    }, (report.deliveries, report.quoting, report.runs_dropped)


def _state() -> Any:
    """Return what is left, once workers have finalized what was dropped."""
    dispatch.run_due()
    deliveries = Delivery.objects.order_by("pk").values_list("delivery_id", "body", "content_change", "status")
    runs = Run.objects.order_by("pk").values_list("receiver", "status", "error", "traceback")
    removed = RemovedDelivery.objects.order_by("identity").values_list("identity", "reason")
    return list(deliveries), list(runs), list(removed), ErasureProgress.objects.count()
