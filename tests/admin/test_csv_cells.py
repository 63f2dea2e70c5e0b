"""CSV that no spreadsheet takes for formulas, whichever character it splits cells at."""

import csv
import io
import re

import pytest

from nateq_webhooks.admin.deliveries.csv_cells import csv_lines, safe_cell

pytestmark = pytest.mark.any_database

STARTS = [
    *("", " ", "\n", "\r\n", "\t", "\r", "\v", "\x00", "\ufeff", "\u200b", "\u202e", "\xa0", "\u3000"),
    *(";", "\n;", '"'),
]
SIGNS = ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\ufe66", "\u2212"]


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("start", STARTS)
def test_a_cell_that_could_be_a_formula_begins_with_an_apostrophe(start: str, sign: str) -> None:
    assert safe_cell(f"{start}{sign}cmd|' /C calc'!A0").startswith("'")


@pytest.mark.parametrize("separator", [";", "\t", "|", "\n", "\r"])
@pytest.mark.parametrize("text", ["{}=1+1", "tkt{}=1+1", "tkt{} -cmd|x", 'a{}"@SUM(A1)', "1{}2{}+x"])
def test_a_cell_split_at_another_separator_is_not_a_formula(separator: str, text: str) -> None:
    written = csv_lines([["1", text.replace("{}", separator), "end"]]).decode()

    for cell in re.split(re.escape(separator), written):
        assert not cell.strip(' "\r\n').startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("text", ["\t", "\r\n", "\tplain", "\nplain"])
def test_a_cell_that_begins_with_a_line_break_or_a_tab_begins_with_an_apostrophe(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["tkt_1", "a=b", "سارة", "2026-06-30T12:00:00+00:00", '{"a": [1,-5]}', "[\n  -5,\n  1.5e3\n]", "a; b", ""]
)
def test_other_text_is_written_as_it_is(text: str) -> None:
    assert safe_cell(text) == text
    assert list(csv.reader(io.StringIO(csv_lines([[text, 7]]).decode(), newline=""))) == [[text, "7"]]


def test_half_of_a_surrogate_pair_is_written_as_an_escape() -> None:
    assert csv_lines([["\ud83d"]]) == b"\\ud83d\r\n"
