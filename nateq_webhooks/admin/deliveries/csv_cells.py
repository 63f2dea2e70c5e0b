"""CSV for spreadsheets: no cell can be taken for a formula, whatever separator the spreadsheet uses.

Spreadsheets skip white space and invisible characters before a formula, and some accept full-width signs. If the
separator is a semicolon or a tab, a part of our cell becomes a cell.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

_SIGNS: Final = (
    "".join(char for char in map(chr, range(0x10000)) if unicodedata.normalize("NFKC", char) in ("=", "+", "-", "@"))
    + "\N{MINUS SIGN}"
)
"""The characters that begin a formula, with their full-width, small, superscript and subscript forms."""

_ALWAYS: Final = ("\t", "\r", "\n")
"""A cell that begins with one of these is always marked: some programs begin a new cell or row there."""

_INSIDE: Final = re.compile(
    r"([;|\t\r\n\v\f\x85\u2028\u2029][\s\"']*+)"  # all of it at once: a long row of spaces is read once
    rf"((?=[{re.escape(_SIGNS)}])(?![-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?:[\s,\]}}]|$)))?"
)
"""A separator of other programs before a sign. A plain number in a text of several lines is not marked."""


def safe_cell(value: object) -> str:
    """Return a value as the text of a cell, with an apostrophe before each place where a formula could begin."""
    text = "" if value is None else str(value)
    marked = _INSIDE.sub(lambda found: found[1] if found[2] is None else f"{found[1]}'", text)
    return f"'{marked}" if text.startswith(_ALWAYS) or _begins_formula(text) else marked


def csv_lines(rows: Iterable[Iterable[object]]) -> bytes:
    """Return rows as CSV in UTF-8 with safe cells; characters that UTF-8 can't encode are escaped."""
    out = io.StringIO()
    csv.writer(out).writerows([safe_cell(value) for value in row] for row in rows)
    return out.getvalue().encode("utf-8", "backslashreplace")


def _begins_formula(text: str) -> bool:
    """Return whether the first visible character, after quotes and separators, begins a formula."""
    first = next((char for char in text if not _is_skipped(char)), "")
    return bool(first) and first in _SIGNS


def _is_skipped(char: str) -> bool:
    return char in ";,|\"'`" or unicodedata.category(char)[0] in "ZC"
