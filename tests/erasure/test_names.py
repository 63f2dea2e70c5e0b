"""A name is not the person alone: other people's deliveries that quote it stay, and their runs run."""

import json
from typing import Any

import pytest

from nateq_webhooks import dispatch
from nateq_webhooks.models import AuditEntry, Delivery, OtherContent, Replay, Run, RunTry, Webhook
from nateq_webhooks.models.hold import Hold
from nateq_webhooks.models.run import PARKED_UNTIL
from tests.builders import build_run
from tests.erasure.people import body_of, dump, ticket

NAME = "Sara Ali Hassan"
SARA = {"id": "cus_sara9", "name": NAME, "email": "sara@example.com"}
NAMESAKE = {"id": "cus_other", "name": NAME, "email": "other@example.net"}
WHERE = {"data.requester.id": "cus_sara9"}

MODES = pytest.mark.parametrize("blank", [False, True])

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def namesake(webhook: Webhook) -> Delivery:
    """Store the delivery of somebody else of the same name, whose run has not finished, beside one of the person."""
    Webhook.objects.update(has_removed=True)
    ticket(webhook, 1, SARA, f"From {NAME}").save()
    other = ticket(webhook, 2, NAMESAKE, f"{NAME} asks")
    other.headers = {"X-From": NAME}
    other.save()
    run = build_run(other, Run.Status.FAILED, error=f"{NAME} has no account", traceback=f"KeyError: {NAME!r}")
    run.next_try_at = PARKED_UNTIL
    run.save()
    RunTry.objects.create(run=run, number=1, finished_at=other.received_at, error=f"{NAME} has no account")
    OtherContent.objects.create(
        delivery=other,
        content_hash="0" * 64,
        event="lead.created",
        received_at=other.received_at,
        secret_id="x",
        size=9,
        body=body_of("lead.created", {"id": "led_1", "requester": NAMESAKE}, "dlv_x"),
    )
    return other


def rows_of(delivery: Delivery) -> Any:
    runs = Run.objects.filter(delivery=delivery)
    return [
        list(rows.values())
        for rows in (
            Delivery.objects.filter(pk=delivery.pk),
            runs,
            RunTry.objects.filter(run__in=runs),
            OtherContent.objects.filter(delivery=delivery),
        )
    ]


@MODES
def test_a_namesake_keeps_every_row_and_the_report_counts_them(namesake: Delivery, *, blank: bool) -> None:
    before = rows_of(namesake)

    report = dispatch.erase(WHERE, blank=blank)

    assert rows_of(namesake) == before
    assert (report.deliveries, report.quoting, report.names_left, report.runs_dropped) == (1, 0, 1, 0)
    left = {name: table.left for name, table in report.tables.items() if table.left}
    assert left == {"delivery": 1, "run": 1, "runtry": 1, "othercontent": 1}
    assert AuditEntry.objects.get(details__state="done").details["names_left"] == 1


@MODES
def test_the_name_goes_everywhere_if_that_is_asked_for(namesake: Delivery, *, blank: bool) -> None:
    report = dispatch.erase(WHERE, blank=blank, names_everywhere=True)

    assert (report.quoting, report.names_left, report.runs_dropped) == (1, 0, 1)
    assert not any(NAME.lower() in row for rows in dump().values() for row in rows)
    assert AuditEntry.objects.get(details__state="done").details["names_everywhere"] is True


@MODES
@pytest.mark.parametrize("everywhere", [False, True])
def test_a_dry_run_says_the_same(namesake: Delivery, *, blank: bool, everywhere: bool) -> None:
    before = dump()
    planned = dispatch.erase(WHERE, blank=blank, names_everywhere=everywhere, dry_run=True)

    assert dump() == before
    done = dispatch.erase(WHERE, blank=blank, names_everywhere=everywhere)
    for name, table in done.tables.items():
        expected = (table.deleted, table.blanked, table.left)
        assert (planned.tables[name].deleted, planned.tables[name].blanked, planned.tables[name].left) == expected, name
    assert (planned.quoting, planned.names_left, planned.runs_dropped) == (
        done.quoting,
        done.names_left,
        done.runs_dropped,
    )


def test_a_name_that_is_searched_for_is_the_persons_at_its_path_only(namesake: Delivery, webhook: Webhook) -> None:
    third = ticket(webhook, 3, {"id": "cus_third", "name": "Omar"}, f"Ask {NAME}")
    third.save()

    report = dispatch.erase({"data.requester.name": NAME})

    assert (report.deliveries, report.names_left) == (2, 1)
    assert list(Delivery.objects.values_list("pk", "content_change")) == [(third.pk, None)]


@pytest.mark.parametrize("key", ["city", "born", "plan"])
def test_a_value_that_several_people_may_have_is_like_a_name(webhook: Webhook, key: str) -> None:
    Webhook.objects.update(has_removed=True)
    value = {"city": "Riyadh", "born": "1990-01-31", "plan": "gold plan"}[key]
    ticket(webhook, 1, SARA | {key: value}).save()
    other = ticket(webhook, 2, NAMESAKE, f"{value}, please")
    other.save()

    report = dispatch.erase({f"data.requester.{key}": value}, blank=True)

    assert (report.deliveries, report.quoting, report.names_left) == (1, 0, 1)
    assert bytes(Delivery.objects.get(pk=other.pk).body) == other.body


@MODES
def test_the_name_goes_from_whatever_quotes_the_persons_address_too(namesake: Delivery, *, blank: bool) -> None:
    """Its errors included: the name is not alone there."""
    quoting = ticket(namesake.webhook, 3, {"id": "cus_third"}, f"Ask {NAME}, sara@example.com")
    quoting.save()
    run = build_run(quoting, Run.Status.DEAD, error=f"no {NAME}")
    run.save()
    error = build_run(ticket_of_nobody(namesake.webhook), Run.Status.DEAD, error=f"{NAME} <sara@example.com>")
    error.save()

    report = dispatch.erase(WHERE, blank=blank)

    assert (report.quoting, report.names_left) == (1, 1)
    assert json.loads(Delivery.objects.get(pk=quoting.pk).body)["data"]["subject"] == "Ask [erased], [erased]"
    assert Run.objects.get(pk=run.pk).error == "no [erased]"
    assert Run.objects.get(pk=error.pk).error == "[erased] <[erased]>"


def ticket_of_nobody(webhook: Webhook) -> Delivery:
    delivery = ticket(webhook, 9, {"id": "cus_nobody"})
    delivery.save()
    return delivery


def test_the_name_goes_from_the_errors_of_the_persons_own_deliveries(webhook: Webhook) -> None:
    Webhook.objects.update(has_removed=True)
    own = ticket(webhook, 1, SARA)
    own.save()
    run = build_run(own, Run.Status.DEAD, error=f"{NAME}!", traceback=f"{NAME}?")
    run.save()
    RunTry.objects.create(run=run, number=1, finished_at=own.received_at, error=f"of {NAME}")

    dispatch.erase(WHERE, blank=True)

    kept = Run.objects.get(pk=run.pk)
    assert (kept.error, kept.traceback, RunTry.objects.get().error) == ("[erased]!", "[erased]?", "of [erased]")


@pytest.mark.parametrize("criteria", [{"where": WHERE}, {"where": (), "organization": "org_1"}])
def test_a_blanked_deliverys_own_errors_quote_nothing_that_it_says(webhook: Webhook, criteria: Any) -> None:
    Webhook.objects.update(has_removed=True)
    own = ticket(webhook, 1, SARA | {"city": "Riyadh", "contract": 88771122, "limit": 4312.75})
    own.save()
    run = build_run(own, Run.Status.DEAD, error="no 'Riyadh', 88771122", traceback="of 4312.75 in Riyadh")
    run.save()
    RunTry.objects.create(run=run, number=1, finished_at=own.received_at, error="88771122 in Riyadh")
    expected = dispatch.erase(**criteria, blank=True, dry_run=True)

    report = dispatch.erase(**criteria, blank=True)

    kept = Run.objects.get(pk=run.pk)
    assert (kept.error, kept.traceback) == ("no '[erased]', [erased]", "of [erased] in [erased]")
    assert RunTry.objects.get().error == "[erased] in [erased]"
    assert [(one.tables["run"].blanked, one.tables["runtry"].blanked) for one in (expected, report)] == [(1, 1)] * 2


def test_the_name_goes_from_what_the_site_wrote_itself(namesake: Delivery) -> None:
    Replay.objects.create(reason=f"for {NAME}", filters={"error": NAME})
    Hold.objects.create(scope="receiver:x", reason=f"until {NAME} answers")

    dispatch.erase(WHERE)

    assert (Replay.objects.get().reason, Replay.objects.get().filters) == ("for [erased]", {"error": "[erased]"})
    assert Hold.objects.get().reason == "until [erased] answers"


def test_a_body_that_is_not_json_is_not_the_persons_because_of_a_name(webhook: Webhook) -> None:
    Webhook.objects.update(has_removed=True)
    other = ticket(webhook, 1, NAMESAKE, status=Delivery.Status.INVALID)
    other.body = f'{{"data": {{"requester": "{NAME}"'.encode()
    other.payload = None
    other.save()

    report = dispatch.erase({"data.requester.name": NAME})

    assert (report.deliveries, report.names_left) == (0, 1)
    assert bytes(Delivery.objects.get().body) == other.body


@MODES
def test_others_keep_addresses_and_numbers_that_contain_the_persons(webhook: Webhook, *, blank: bool) -> None:
    Webhook.objects.update(has_removed=True)
    ticket(webhook, 1, {"id": 12345, "email": "ali@example.com"}).save()
    other = ticket(webhook, 2, {"id": "cus_other", "email": "omar.ali@example.com"}, "12345 SAR")
    other.save()
    run = build_run(other, Run.Status.WAITING, receiver="shop.later")
    run.save()

    report = dispatch.erase({"data.requester.id": 12345}, blank=blank)

    assert (report.deliveries, report.quoting, report.names_left, report.runs_dropped) == (1, 0, 1, 0)
    assert bytes(Delivery.objects.get(pk=other.pk).body) == other.body
    assert Run.objects.get(pk=run.pk).status == "waiting"


@MODES
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8"])
def test_a_body_that_is_not_json_in_another_encoding_goes(webhook: Webhook, encoding: str, *, blank: bool) -> None:
    Webhook.objects.update(has_removed=True)
    for number, text in enumerate(['{"data": {"id": "cus_sara9"', '{"x": "ask cus_sara9, please"', '{"x": "nobody"']):
        unreadable = ticket(webhook, number, {}, status=Delivery.Status.INVALID)
        unreadable.body, unreadable.payload = text.encode(encoding), None
        unreadable.save()

    report = dispatch.erase(WHERE, blank=blank)

    assert report.deliveries == 2
    kept = [bytes(body) for body in Delivery.objects.order_by("pk").values_list("body", flat=True)]
    assert kept == [*([b"", b""] if blank else []), '{"x": "nobody"'.encode(encoding)]
