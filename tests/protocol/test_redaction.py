"""Masking values by paths: in JSON text, in parsed documents, and in other texts."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nateq_webhooks.protocol.redaction import MASK, MAX_VALUES, Redaction, TextMask, masked_body, parse_path

KEYS = st.sampled_from(["data", "a", "b", "*", "0", "1", "", "email", "سارة", 'q"', "\\"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS, lambda children: st.lists(children, max_size=3) | st.dictionaries(KEYS, children, max_size=3)
    ),
    max_size=4,
)
PATHS = st.lists(st.lists(KEYS.filter(bool), min_size=1, max_size=4).map(tuple), max_size=4)

BUSY = settings(suppress_health_check=[HealthCheck.too_slow])
"""A busy machine takes seconds for the first document."""


def redaction(*paths: str) -> Redaction:
    parsed = [parse_path(path) for path in paths]
    return Redaction(path for path in parsed if path is not None)


@pytest.mark.parametrize(
    ("path", "document", "masked"),
    [
        ("data.email", {"data": {"email": "s", "id": 1}}, {"data": {"email": MASK, "id": 1}}),
        ("data.email", {"data": {"email": {"work": ["s"]}}}, {"data": {"email": MASK}}),
        ("data.email", {"data": {"email": None}}, {"data": {"email": MASK}}),
        ("data.email", {"data": "s"}, {"data": "s"}),
        ("data.email", {"data": {}, "email": "s"}, {"data": {}, "email": "s"}),
        (
            "data.email",
            {"data": [{"email": "s"}, [{"email": "t"}], 7]},
            {"data": [{"email": MASK}, [{"email": MASK}], 7]},
        ),
        ("data.*.email", {"data": [{"email": "s"}]}, {"data": [{"email": MASK}]}),
        ("data.*.email", {"data": {"a": {"email": "s"}}}, {"data": {"a": {"email": MASK}}}),
        ("data.1", {"data": ["s", "t"]}, {"data": ["s", MASK]}),
        ("data.1", {"data": {"1": "s"}}, {"data": {"1": MASK}}),
        ("data.*", {"data": ["s", {"a": 1}]}, {"data": [MASK, MASK]}),
        ("data", {"data": {"id": 1}, "event": "e"}, {"data": MASK, "event": "e"}),
        ("data.م", {"data": {"م": "s"}}, {"data": {"م": MASK}}),
    ],
)
def test_what_is_at_a_path_is_masked_as_a_whole(path: str, document: Any, masked: Any) -> None:
    before = json.dumps(document)

    assert redaction(path).masked(document) == masked
    assert json.loads(redaction(path).masked_json(json.dumps(document))) == masked
    assert json.dumps(document) == before


def test_everything_else_of_a_text_is_exactly_as_it_was() -> None:
    number = "9" * 5000
    inner = '"email" :"s\\u0061" , "n":1e22,"email":[ 1, 2 ]'
    text = f'\t{{ "a" : 1.50, "d\\u0061ta" :{{{inner}}}, "x":"\\/", "x": {number} }}'

    masked = redaction("data.email").masked_json(text)

    assert masked == text.replace('"s\\u0061"', f'"{MASK}"').replace("[ 1, 2 ]", f'"{MASK}"')


def test_a_body_in_bytes() -> None:
    mask = redaction("data.email")

    assert (
        masked_body(mask, b'\xef\xbb\xbf{"data": {"email": "\xc3\xa9"}}')
        == b'\xef\xbb\xbf{"data": {"email": "[redacted]"}}'
    )
    assert masked_body(mask, b"{}") == b"{}"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"no JSON", b"\xff", b"[]", b'"s"', b"7", b'{"data": {"email": "s"', b'{"data": {"email": "s"}} s'),
        *(b'{"data" {"email": "s"}}', b'{"data": {"email": "s" "t"}}', b"{'data': 's'}", b'{"data": {"email": s}}'),
        *(b'{"data": {,}}', b'{"data": {"email": "s"},}', b'{"data": [1,]}', b'{"a": ' + b"[" * 100_000),
        b'{"data": ' * 100_000,
    ],
)
def test_a_body_that_is_not_a_json_object_can_not_be_masked(body: bytes) -> None:
    assert masked_body(redaction("data.email", "data.data.data"), body) is None


def test_deep_documents_are_masked_without_recursion() -> None:
    deep = '{"data":' * 400 + '"s"' + "}" * 400
    path = Redaction([("data",) * 400])

    assert json.loads(path.masked_json(deep)) == path.masked(json.loads(deep))
    assert '"s"' not in path.masked_json(deep)
    assert list(path.quoted_values(deep)) == ["s"]


@BUSY
@given(DOCUMENTS, PATHS)
def test_a_text_and_a_document_are_masked_alike(document: dict[str, Any], paths: list[tuple[str, ...]]) -> None:
    mask = Redaction(paths)
    text = json.dumps(document)

    masked = mask.masked(document)
    assert json.dumps(json.loads(mask.masked_json(text))) == json.dumps(masked)
    assert mask.masked_json(mask.masked_json(text)) == mask.masked_json(text)
    assert json.dumps(document) == text


@BUSY
@given(DOCUMENTS, PATHS)
def test_no_masked_value_is_left_at_its_place(document: dict[str, Any], paths: list[tuple[str, ...]]) -> None:
    mask = Redaction(paths)

    assert set(mask.quoted_values(json.dumps(mask.masked(document)))) <= {MASK}


@BUSY
@given(st.binary(), PATHS)
def test_any_bytes_are_masked_or_not_shown(body: bytes, paths: list[tuple[str, ...]]) -> None:
    masked = masked_body(Redaction(paths), body)

    assert masked is None or isinstance(json.loads(masked), dict)


@pytest.mark.parametrize(
    ("path", "is_covered"),
    [
        ("data.email", True),
        ("data.email.work", True),
        ("data.0.email", True),
        ("data", False),
        ("data.id", False),
        ("email", False),
        ("rows.5.name", True),
        ("rows.name", False),
        ("rows.any.name", True),
        ("rows.0.5.name", True),
    ],
)
def test_a_search_below_a_path_is_covered(path: str, *, is_covered: bool) -> None:
    assert redaction("data.email", "rows.*.name").covers(path.split(".")) == is_covered


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b"])
def test_a_path_has_no_empty_name(text: str) -> None:
    assert parse_path(text) is None


class TestOtherTexts:
    """An error that quotes values of the delivery."""

    def mask(self, *values: Any) -> TextMask:
        return redaction("v").text_mask(json.dumps({"v": list(values)}))

    @pytest.mark.parametrize(
        ("value", "text", "masked"),
        [
            ("sara@example.com", "KeyError: 'sara@example.com'", "KeyError: '[redacted]'"),
            ("سارة", "no سارة here", "no [redacted] here"),
            ("سارة", "no \\u0633\\u0627\\u0631\\u0629 here", "no [redacted] here"),
            ('a"b"c', 'text a\\"b\\"c', "text [redacted]"),
            ("line\nbreak", "'line\\nbreak'", "'[redacted]'"),
            (" padded ", "padded", MASK),
            (123456, "id 123456789", "id [redacted]789"),
            (42, "42 of 1420, 4.2", "[redacted] of 1420, 4.2"),
            ("a", "a cat", "[redacted] cat"),
            (True, "True", "True"),
            (None, "None", "None"),
            ("", "nothing", "nothing"),
            ({"sara@example.com": ["deep"], "key": 7}, "sara@example.com deep key", f"{MASK} {MASK} key"),
            ("sara@example.com", "it ends in sara@exa", "it ends in [redacted]"),
            ("sara@example.com", "ple.com is the end", "[redacted] is the end"),
        ],
    )
    def test_values_are_masked(self, value: Any, text: str, masked: str) -> None:
        assert self.mask(value).masked(text) == masked

    def test_the_longest_value_is_masked_first(self) -> None:
        assert self.mask("sara", "sara@example.com").masked("<sara@example.com>") == f"<{MASK}>"

    def test_a_text_is_masked_as_a_whole_if_there_are_too_many_values(self) -> None:
        assert self.mask(*range(MAX_VALUES + 1)).masked("anything") == MASK
        assert self.mask(*range(MAX_VALUES + 1)).masked("") == ""

    def test_a_number_of_too_many_digits_is_no_error(self) -> None:
        number = "9" * 5000

        assert redaction("v").text_mask(f'{{"v": {number}}}').masked(f"text {number}") == f"text {MASK}"

    @given(st.lists(SCALARS, max_size=4), st.text())
    def test_any_text_can_be_masked(self, values: list[Any], text: str) -> None:
        assert isinstance(self.mask(*values).masked(text), str)
