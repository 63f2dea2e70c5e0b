"""The search for any text: it is looked for in payloads, and the page says how far."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from nateq_webhooks import payload_index
from nateq_webhooks.admin import DeliveryAdmin
from nateq_webhooks.admin.changelists.search import IdSearch, PayloadSearch
from nateq_webhooks.admin.changelists.text_search import likely_paths
from nateq_webhooks.admin.deliveries.payload_fields import PAYLOAD_FIELDS
from nateq_webhooks.database.keyset.bounded_scan import Budget
from nateq_webhooks.database.keyset.time_limit import TookTooLongError
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.protocol.examples import example_data
from tests.admin.listing import LIST, RUNS, link, listed, pks, statements
from tests.builders import store_deliveries, store_run

pytestmark = pytest.mark.django_db

PERSON = {"email": "Sara.O@Example.com", "name": "سارة O'Connor", "phone": "+966500000101", "id": "cus_77"}


def store_with(webhook: Webhook, data: Any, *, is_ascii: bool = False, **over: Any) -> Delivery:
    """Store a delivery with this `data` as its sender may have written it."""
    body = json.dumps({"data": data}, ensure_ascii=is_ascii)
    return store_deliveries(webhook, body=body.encode(), payload={"data": data}, **over)[0]


def shown(client: Client, query: str) -> str:
    return " ".join(client.get(f"{LIST}?{query}").content.decode().split())


@pytest.mark.parametrize("is_ascii", [True, False])
@pytest.mark.parametrize(
    "term",
    [
        "Sara.O@Example.com",
        "sara.o@example.com",
        "سارة",
        "O'Connor",
        "o'connor",
        "+966500000101",
        "00966500000101",
        "+966 50 000 0101",
        "500000101",
        "cus_77",
        ' cus_77" ',
    ],
)
def test_any_text_of_a_customer_finds_the_deliveries(boss: Client, webhook: Webhook, term: str, is_ascii: bool) -> None:
    person = PERSON | {"email": PERSON["email"].lower()} if term.islower() else PERSON
    wanted = store_with(webhook, {"requester": person, "note": 'cus_77"'}, is_ascii=is_ascii)
    store_with(webhook, {"requester": {"email": "else@example.com"}})

    response = boss.get(LIST, {"q": term})

    assert [row.pk for row in response.context["cl"].result_list] == [wanted.pk]
    assert "Looked through 2 deliveries, which is all. 1 delivery was found." in response.content.decode()


@pytest.mark.parametrize("stored", ["Sara.O@example.com", "Sara.o@example.com", "sara.o@example.com"])
@pytest.mark.parametrize("term", ["sara.o@example.com", "SARA.O@EXAMPLE.COM", "sara.o@Example.COM"])
def test_an_e_mail_address_is_found_with_the_capital_letters_that_people_write(
    boss: Client, webhook: Webhook, stored: str, term: str
) -> None:
    wanted = store_with(webhook, {"email": stored})

    assert pks(boss, f"q={term}") == [wanted.pk]


def test_nothing_found_says_what_would_not_be_found(boss: Client, webhook: Webhook) -> None:
    store_with(webhook, {"phone": "+966 50 123 4567"})
    hint = "A value that is stored with other spaces, or with capital letters at other places, is not found"

    assert hint in shown(boss, "q=%2B966501234567")
    assert hint not in shown(boss, "q=123 4567")
    assert hint not in shown(boss, "q=data.phone=1")


@pytest.mark.parametrize(
    "written", [r"O\u0027Connor", r"\u0633\u0627\u0631\u0629", r"\u0633\u0627\u0631\u0629".replace("a", "A"), r"a\/b"]
)
def test_what_a_sender_escapes_is_found_as_people_type_it(boss: Client, webhook: Webhook, written: str) -> None:
    (wanted,) = store_deliveries(webhook, body=f'{{"data": "{written}"}}'.encode(), payload=None)

    assert pks(boss, f"q={json.loads(chr(34) + written + chr(34))}") == [wanted.pk]


def test_an_id_is_found_at_once_and_the_payloads_are_one_click_away(boss: Client, webhook: Webhook) -> None:
    by_text = store_with(webhook, {"ticket": "abc"}, resource_id="r1")
    by_id = store_with(webhook, {}, resource_id="abc")

    found = listed(boss, "q=abc")
    further = found.text_link()

    assert [row.pk for row in found.result_list] == [by_id.pk]
    assert isinstance(found.list_query.search, IdSearch)
    assert not any('"body"' in sql for sql in statements(boss, "q=abc"))
    assert further.label == "Search the payloads for it, too"
    assert pks(boss, further.url.removeprefix("?")) == [by_text.pk]
    assert "in_payload" not in shown(boss, further.url.removeprefix("?")).split("changelist-search")[1].split("form")[0]


def test_zero_is_never_without_what_was_looked_at(boss: Client, webhook: Webhook) -> None:
    store_run(store_deliveries(webhook, resource_id="abc", body=b'{"data": "x"}')[0])

    nothing = shown(boss, "q=nobody@example.com")
    filtered = shown(boss, "q=nobody@example.com&status__exact=processed")
    excluded = shown(boss, "q=abc&status__exact=dead")
    only_filters = shown(boss, "status__exact=dead")
    runs = " ".join(boss.get(f"{RUNS}?q=dlv_none").content.decode().split())

    assert "Looked through 1 delivery, which is all. Nothing was found there." in nothing
    assert "Nothing was found there. Only deliveries that the filters leave were looked at." in filtered
    assert "There are rows with this id, but the filters exclude them." in excluded
    assert "Nothing fits all of the filters." in only_filters
    assert "Clear all filters</a></p>" in excluded
    assert "Nothing has exactly this id." in runs


def test_who_may_not_see_payloads_reads_that_they_were_not_searched(
    staff: Callable[..., Client], webhook: Webhook
) -> None:
    store_with(webhook, {"requester": PERSON}, resource_id="abc")
    client = staff("view_delivery")

    for query in ("q=cus_77", "q=cus_77&in_payload=1", "q=cus_77&in_payload=1&cursor=99"):
        assert pks(client, query) == []
        assert "A search through payloads needs the permission" in shown(client, query)
        assert not any("INSTR" in sql or "position" in sql for sql in statements(client, query))
    assert listed(client, "q=abc").text_link() is None


def test_the_page_offers_the_fields_that_such_a_value_may_be_in(boss: Client, webhook: Webhook) -> None:
    wanted = store_with(webhook, {"requester": {"email": "a@b.example"}}, status="dead")
    store_with(webhook, {"note": "write to a@b.example"}, status="dead")

    found = listed(boss, "q=a@b.example&status__exact=dead")
    fields = {field.label: field.url.removeprefix("?") for field in found.reach.fields()}

    assert len(found.result_list) == 2
    assert next(iter(fields)) == "data.requester.email"
    assert all(label.endswith("email") for label in fields)
    assert pks(boss, fields["data.requester.email"]) == [wanted.pk]
    assert "status__exact=dead" in fields["data.requester.email"]


def test_a_project_adds_its_own_fields(boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeliveryAdmin, "payload_fields", (*DeliveryAdmin.payload_fields, "data.order.email"))

    fields = listed(boss, "q=a@b.example").reach.fields()

    assert fields[-1].label == "data.order.email"


@pytest.mark.parametrize(
    ("term", "path"),
    [
        ("a@b.example", "data.sender.email"),
        ("+966 500", "data.requester.phone"),
        ("cus_1", "data.customer.id"),
        ("سارة", "data.requester.name"),
    ],
)
def test_the_kind_of_a_value_decides_which_fields_are_offered(term: str, path: str) -> None:
    assert path in likely_paths(term, PAYLOAD_FIELDS)
    assert likely_paths(term, ["data.other"]) == ["data.other"]


def test_the_fields_are_those_that_identify_somebody_in_the_examples() -> None:
    def has(data: Any, keys: list[str]) -> bool:
        return not keys or (isinstance(data, dict) and keys[0] in data and has(data[keys[0]], keys[1:]))

    examples = [example_data(event, number=number) for event in EVENTS for number in range(8)]

    for path in PAYLOAD_FIELDS:
        assert any(has({"data": each}, path.split(".")) for each in examples), path


@pytest.fixture
def _four_then_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nateq_webhooks.admin.changelists.changelist.FIRST_BUDGET", Budget(4, 60))
    monkeypatch.setattr("nateq_webhooks.admin.changelists.changelist.FURTHER_BUDGET", Budget(8, 60))
    monkeypatch.setattr("nateq_webhooks.database.keyset.bounded_scan.FIRST_BATCH", 4)


@pytest.mark.usefixtures("_four_then_eight")
def test_searching_further_reads_more_rows_and_goes_on_where_the_page_ended(boss: Client, webhook: Webhook) -> None:
    old = store_with(webhook, {"requester": PERSON})
    store_deliveries(webhook, 11)

    first, further = listed(boss, "q=cus_77"), listed(boss, "q=cus_77").reach.further_link()
    second = further.url.removeprefix("?")

    assert first.result_list == []
    assert "Looked through the 4 newest deliveries, back to 20" in shown(boss, "q=cus_77")
    assert "Nothing was found there. The rest was not looked at." in shown(boss, "q=cus_77")
    assert further.label == "Search further back"
    assert pks(boss, second) == [old.pk]
    assert "Looked through 8 further deliveries, up to the end of the list." in shown(boss, second)
    assert isinstance(listed(boss, second).list_query.search, PayloadSearch)
    assert pks(boss, link(boss, second, "prev") or "") == []


def test_a_full_page_counts_the_rows_up_to_its_last_one(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeliveryAdmin, "list_per_page", 2)
    stored = [store_with(webhook, {"requester": PERSON}).pk for _ in range(5)]

    assert pks(boss, "q=cus_77") == stored[:2:-1]
    assert "Looked through the 2 newest deliveries" in shown(boss, "q=cus_77")
    assert pks(boss, link(boss, "q=cus_77", "next") or "") == stored[2:0:-1]


@pytest.fixture
def _index(transactional_db: None) -> Iterator[None]:
    call_command("nateq_payload_index", "create", no_input=True, verbosity=0)
    yield
    with connection.cursor() as cursor:
        cursor.execute(payload_index.drop_sql("default"))


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's index")
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_index", "_four_then_eight")
def test_the_optional_index_finds_an_exact_value_however_old(boss: Client, webhook: Webhook) -> None:
    old = store_with(webhook, {"requester": PERSON})
    store_with(webhook, {"requester": PERSON | {"id": "cus_777"}})
    store_deliveries(webhook, 12)

    assert pks(boss, "q=cus_77") == [old.pk]
    assert pks(boss, "q=sara.o@example.com") == []  # the index compares what was typed, in a few spellings
    page = shown(boss, "q=cus_77")
    assert "Older ones were searched through the index, for exactly this value in one of the fields below." in page
    assert "nateq_payload_index create" not in page


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's index")
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_index", "_four_then_eight")
def test_an_index_that_took_too_long_is_not_said_to_have_been_searched(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(*arguments: Any, **options: Any) -> list[int]:
        raise TookTooLongError

    monkeypatch.setattr("nateq_webhooks.admin.changelists.payload_search._keys_by_index", give_up)
    store_deliveries(webhook, 12)

    page = shown(boss, "q=cus_77")

    assert "through the index" not in page
    assert "Nothing was found there. The rest was not looked at." in page


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's index")
def test_the_page_says_that_an_index_would_help(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook)

    assert "With the optional index (manage.py nateq_payload_index create)" in shown(boss, "q=x")
