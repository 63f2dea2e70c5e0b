"""Finding a person in a body, in text as it may be quoted, and the body without the person."""

import json
from typing import Any

import pytest

from nateq_webhooks.protocol import erasing
from nateq_webhooks.protocol.examples import example_envelope
from nateq_webhooks.protocol.quotes import Quotes
from tests.protocol.test_quoted_text import FORMS


def found(document: Any, path: str, *values: str) -> erasing.Match | None:
    return erasing.find(document, {erasing.parse_path(path): values})


@pytest.mark.parametrize(
    ("data", "path", "value"),
    [
        ({"id": "usr_9"}, "data.id", "usr_9"),
        ({"id": 9}, "data.id", "9"),
        ({"id": 1.5}, "data.id", "1.5"),
        ({"a": [{"b": {"id": "x"}}, {"b": {"id": "usr_9"}}]}, "data.a.b.id", "usr_9"),
        ({"a": [{"b": {"id": "usr_9"}}]}, "data.a.*.b.id", "usr_9"),
        ({"a": {"any": {"id": "usr_9"}}}, "data.a.*.id", "usr_9"),
        ({"emails": ["a@example.com", "B@example.com"]}, "data.emails", "b@example.com"),
        ([[{"id": "usr_9"}]], "data.id", "usr_9"),
    ],
)
def test_a_value_is_found_at_its_path(data: Any, path: str, value: str) -> None:
    assert found({"data": data}, path, value) is not None


@pytest.mark.parametrize(
    ("data", "path", "value"),
    [
        ({"id": "usr_90"}, "data.id", "usr_9"),
        ({"id": "USR_9"}, "data.id", "usr_9"),
        ({"id": True}, "data.id", "1"),
        ({"id": None}, "data.id", "null"),
        ({"other": "usr_9"}, "data.id", "usr_9"),
        ({"id": {"id": "usr_9"}}, "data.id", "usr_9"),
        ("usr_9", "data.id", "usr_9"),
    ],
)
def test_another_value_or_another_path_is_not_the_person(data: Any, path: str, value: str) -> None:
    assert found({"data": data}, path, value) is None


def test_what_stands_beside_the_value_identifies_the_person_too() -> None:
    document = {"data": {"who": {"id": "usr_9", "e-mail": "a@example.com", "firstName": "Sara", "plan": "gold plan"}}}

    match = found(document, "data.who.id", "usr_9")

    assert match is not None
    assert match.person.distinct == {"usr_9", "a@example.com"}
    assert match.person.others == {"Sara"}


def test_the_id_is_the_persons_if_an_address_was_searched_for() -> None:
    document = {"data": {"who": {"id": "usr_9", "email": "a@example.com"}}}

    match = found(document, "data.who.email", "a@example.com")

    assert match is not None
    assert match.person.distinct == {"usr_9", "a@example.com"}


def test_only_the_object_of_the_person_is_blanked() -> None:
    document = {"data": {"id": "tkt_1", "who": {"id": "usr_9", "n": 5, "tags": ["x"], "ok": True}, "note": "x"}}

    match = found(document, "data.who.id", "usr_9")
    assert match is not None
    match.blank_person()

    assert document["data"] == {
        "id": "tkt_1",
        "who": {"id": "[erased]", "n": None, "tags": ["[erased]"], "ok": None},
        "note": "x",
    }


def test_the_envelope_is_no_person() -> None:
    document = {"event": "x", "organization_id": "org_1", "data": {}}

    match = found(document, "organization_id", "org_1")
    assert match is not None
    match.blank_person()

    assert document == {"event": "x", "organization_id": "[erased]", "data": {}}


def test_texts_keys_and_whole_numbers_are_blanked_where_they_quote_the_person() -> None:
    document: Any = {"a": ["call +966500000101 now", {"sara@example.com": 1}], "n": 12345, "m": 123456}

    assert erasing.blank_quotes(document, Quotes(["+966500000101", "sara@example.com", "12345"]))
    assert document == {"a": ["call [erased] now", {"[erased]": 1}], "n": None, "m": 123456}


@pytest.mark.parametrize(
    "text",
    [
        "usr_9x1 failed",
        "KeyError: 'usr_9x1'",
        '{"id":"usr_9x1"}',
        "GET /?id%3Dusr_9x1&b=1",
        "line\\nusr_9x1",
        "USR_9X1",
        r"\x00usr_9x1",
    ],
)
def test_an_id_is_found_in_text(text: str) -> None:
    assert "9x1" not in Quotes(["usr_9x1"]).blanked(text).lower()


@pytest.mark.parametrize("text", ["usr_9x10", "xusr_9x1", "usr_9x1_b", "usr-9x1"])
def test_a_longer_id_is_another_one(text: str) -> None:
    assert Quotes(["usr_9x1"]).blanked(text) == text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "value",
    ["سارة الحربي", "Zoë Müller", "James O'Connor", 'a"b <c>&d', "😀 smile", "sara+1@example.com", "+966500000101"],
)
def test_a_value_is_found_however_it_is_escaped(form: str, value: str) -> None:
    blanked = Quotes([value]).blanked(f"before {FORMS[form](value)} after")

    assert "[erased]" in blanked
    assert blanked.startswith("before ")
    assert blanked.endswith(" after")
    assert Quotes([value]).blanked(f"و{value}؟") == "و[erased]؟"


def test_an_escape_elsewhere_in_a_text_makes_no_longer_address_the_persons() -> None:
    text = r"\u0633 other+ali@example.com, omar.ali@example.com, ali@example.com.sa"

    assert Quotes(["ali@example.com"]).blanked(text) == text


def test_a_phone_number_is_found_without_its_plus() -> None:
    assert Quotes(["+966500000101"]).blanked("tel:966500000101;") == "tel:[erased];"


def test_pieces_of_a_value_at_the_ends_of_a_text_that_was_cut_are_blanked() -> None:
    quotes = Quotes(["sara.harbi@example.com"])
    text = "harbi@example.com said: ask sara.har"

    assert quotes.blanked(text) == text
    assert quotes.blanked(text, limit=len(text)) == "[erased] said: ask [erased]"


def test_short_values_are_not_searched_for_in_text() -> None:
    assert not Quotes(["12", "Li"])
    assert erasing.person_of("12", "id").others == {"12"}


def test_a_body_with_escapes_is_read_before_it_is_said_to_quote_nobody() -> None:
    body = rb'{"data": {"t": "ask \u0073ara@example.com"}}'

    assert erasing.quotes_in(body, Quotes(["sara@example.com"]))


def test_a_doubled_key_hides_nothing() -> None:
    assert erasing.quotes_in(b'{"a": "sara@example.com", "a": 1}', Quotes(["sara@example.com"]))


def test_a_body_is_offered_by_what_identifies_a_person_in_it() -> None:
    body = json.dumps(example_envelope("ticket.updated", number=4, delivery_id="d")).encode()

    offered = dict(erasing.offered(body))

    assert list(offered) == [
        *("data.requester.id", "data.requester.name", "data.requester.email"),
        *("data.assignee.id", "data.assignee.name", "data.assignee.email"),
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"data": 1}'])
def test_other_bodies_offer_nothing(body: bytes) -> None:
    assert erasing.offered(body) == []


@pytest.mark.parametrize(
    "value", ["Élodie Durand", "ÖZGÜR@example.com", "СЕРГЕЙ ИВАНОВ", "ΟΔΥΣΣΕΥΣ ΠΑΠΑΣ", "İBRAHİM DEMİR"]
)
def test_a_body_has_a_value_with_capitals_of_any_script(value: str) -> None:
    for is_ascii in (False, True):
        body = json.dumps({"data": {"who": {"id": value}}}, ensure_ascii=is_ascii).encode()
        assert erasing.may_have(body, {value})
        assert erasing.quotes_in(body, Quotes([value]))
    assert Quotes([value]).are_in(f"of {value}\u03c3, and {value}.")


def test_the_case_of_an_e_mail_address_does_not_count_in_any_script() -> None:
    assert erasing.may_have('{"data": {"id": "özgür@example.com"}}'.encode(), {"ÖZGÜR@example.com"})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.id", "a\nb\r\nc"),
        ("data.id", '"quoted"'),
        ("data.id", "a=b"),
        ("data.x", "\0"),
        ("data.x", "\ud800"),
        ("a", "plain"),
    ],
)
def test_a_pair_is_read_again_from_a_forms_field(path: str, value: str) -> None:
    text = erasing.pair_of(path, value)

    assert erasing.pair_from(text) == (path, value)
    assert erasing.is_sent_back(text)


@pytest.mark.parametrize("text", ["", "x", "a=", '="', 'a="x'])
def test_any_pair_of_a_form_can_be_read(text: str) -> None:
    assert len(erasing.pair_from(text)) == 2


def test_no_path_is_offered_that_could_not_be_read_again() -> None:
    body = json.dumps(
        {"data": {"who": {"e=mail": "a@x.com", " mail": "b@x.com", "*": {"mail": "c@x.com"}, "mail": "d@x.com"}}}
    )

    assert erasing.offered(body.encode()) == [("data.who.mail", "d@x.com")]


@pytest.mark.parametrize(
    ("key", "value", "is_distinct"),
    [
        ("id", "usr_9x", True),
        ("user_id", "Sara Ali", True),
        ("userId", "abcdef", True),
        ("UUID", "abcdef", True),
        ("ids", "abcdef", True),
        ("paid", "in full", False),
        ("work_email", "nobody", True),
        ("contact", "a@example.com", True),
        ("contact", "ask a@example.com", False),
        ("contact", "+966 50 000 0101", True),
        ("born", "1990-01-31", False),
        ("name", "Sara Ali", False),
        ("username", "sara@example.com", True),
        ("", "abcdef", False),
    ],
)
def test_ids_and_addresses_are_one_persons_and_nothing_else_is(key: str, value: str, *, is_distinct: bool) -> None:
    person = erasing.person_of(value, key)

    assert person == (erasing.Person(frozenset({value})) if is_distinct else erasing.Person(names=frozenset({value})))


@pytest.mark.parametrize(
    "text",
    [
        "omar.ali@example.com",
        "x-ali@example.com",
        "sara+ali@example.com",
        "ali@example.com.sa",
        "ali@example.com-x",
        "ali@example.community",
        "?m=omar.ali%40example.com",
        "?m=ali%40example.com.sa",
    ],
)
def test_an_address_inside_a_longer_one_is_somebody_elses(text: str) -> None:
    assert Quotes(["ali@example.com"]).blanked(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "<ali@example.com>",
        "ali@example.com.",
        "ALI@EXAMPLE.COM, and",
        "'ali@example.com'",
        "mailto:ali@example.com",
        "-ali@example.com",
        "...ali@example.com...",
        "?q=ask+ali%40example.com",
        "?m%3Dali%40example.com%26",
        "\\nali@example.com\\n",
    ],
)
def test_an_address_is_found_between_other_characters(text: str) -> None:
    assert "ali" not in Quotes(["ali@example.com"]).blanked(text).lower()


@pytest.mark.parametrize("value", ["12345", "20260630", "123456789", "1234567890"])
def test_a_short_number_is_not_one_persons(value: str) -> None:
    assert bool(erasing.person_of(value, "id").distinct) is (len(value) == 10)


def test_a_value_is_found_in_json_in_json_and_in_its_repr() -> None:
    name = 'سارة "الحربي"'
    text = json.dumps({"in": json.dumps({"name": name})})

    for each in (text, repr(json.dumps({"name": name})), json.loads(text)["in"]):
        assert Quotes([name]).are_in(each), each
        assert "\\u0633" not in Quotes([name]).blanked(each)


@pytest.mark.parametrize("number", [966500000101, 966500000101.5, -966500000101])
def test_what_is_found_as_a_number_is_blanked(number: float) -> None:
    document = {"data": {"n": number, "t": "00966500000101"}}
    quotes = Quotes(["+966500000101"])

    assert erasing.quotes_in(json.dumps(document).encode(), quotes)
    assert erasing.blank_quotes(document, quotes)
    assert document == {"data": {"n": None, "t": "[erased]"}}
    assert not erasing.quotes_in(json.dumps(document).encode(), quotes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_a_body_in_any_encoding_of_json_is_searched(encoding: str) -> None:
    body = '{"who": "usr_9x1 سارة"'.encode(encoding)

    assert erasing.quotes_in(body, Quotes(["usr_9x1"]))
    assert erasing.may_have(body, {"usr_9x1"})


def test_a_body_that_only_looks_like_another_encoding_is_searched() -> None:
    assert erasing.quotes_in(b'\0{"who": "usr_9x1"', Quotes(["usr_9x1"]))
