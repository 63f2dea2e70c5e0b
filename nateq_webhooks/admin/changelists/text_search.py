"""The search for any text in payloads: an e-mail address, a name, a phone number, an id of another system.

Nateq does not publish where such a value is, so the scan looks for the text anywhere in the bytes that came. The
optional index finds only exact values at known paths: those that the model admin names.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import BinaryField, BooleanField, F, Func, Q, QuerySet, Value

from nateq_webhooks.admin.changelists.payload_search import PathValue, parse
from nateq_webhooks.conf import settings
from nateq_webhooks.models.redaction import shown_body

_PHONE: Final = re.compile(r"(?:\+|00)?[\d ()./-]{7,24}")

_WRITTEN_AS: Final = {"'": "\\u0027", "&": "\\u0026", "<": "\\u003c", ">": "\\u003e", "/": "\\/"}
"""What some JSON encoders escape although they need not."""


BODIES_AT_A_TIME: Final = 50
"""Bodies that are held in memory to mask values in them."""


class Contains(Func):
    """Whether a column of bytes has some other bytes in it."""

    output_field = BooleanField()
    template = "INSTR(%(expressions)s) > 0"

    def __init__(self, column: str, part: bytes) -> None:
        super().__init__(F(column), Value(part, output_field=BinaryField()))

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Return PostgreSQL's SQL, which has a function of another name for bytes."""
        return self.as_sql(compiler, connection, template='"position"(%(expressions)s) > 0', **context)


@dataclass(frozen=True, slots=True)
class PayloadText:
    """A text that is looked for anywhere in the body, and the fields in which the index can find it as a whole."""

    text: str
    fields: tuple[PathValue, ...]

    def matching(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return those of `rows` whose body, as it is shown (`REDACT`), has the text in it. Reads the body of each."""
        condition, parts = Q(), tuple(_written(self.text))
        for part in parts:
            condition |= Q(Contains("body", part))
        matching: QuerySet[Any] = rows.filter(condition)
        if not settings().redaction:
            return matching
        found = matching.order_by().values_list("pk", "body").iterator(chunk_size=BODIES_AT_A_TIME)
        return rows.filter(pk__in=[pk for pk, body in found if _has_any(shown_body(bytes(body)), parts)])

    def refusal(self) -> str:
        """Return nothing: a text is not found in values that are masked."""
        return ""

    def indexed(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return those of `rows` that have exactly this text in one of the fields, through the optional index."""
        condition = Q(pk__in=[])
        for field in self.fields:
            condition |= field.contained()
        return rows.filter(condition)


def payload_text(term: str, paths: Sequence[str]) -> PayloadText:
    """Return the search for a text, in the bodies and, through the index, at the paths."""
    text = term.strip()
    spellings = tuple(_spellings(text))
    fields = [parse(f"{path}=any") for path in paths]
    known = (PathValue(field.path, spellings) for field in fields if field is not None)
    return PayloadText(text, tuple(field for field in known if not field.refusal()))


def _has_any(body: bytes, parts: Sequence[bytes]) -> bool:
    return any(part in body for part in parts)


def _spellings(text: str) -> Iterator[str]:
    """Yield how the text may be written: in lower and upper case, with initials; a phone number without spaces.

    Of an e-mail address the initials are those of the name, or the first one.
    """
    found = {text: None, text.lower(): None, text.title(): None, text.upper(): None, text.capitalize(): None}
    name, at, host = text.partition("@")
    if at:
        found |= {f"{name}@{host.lower()}": None, f"{name.title()}@{host.lower()}": None}
    if _PHONE.fullmatch(text) and any(map(str.isdecimal, text)):
        digits = re.sub(r"\D", "", text)
        found |= {digits.removeprefix("00"): None, f"+{digits.removeprefix('00')}": None}
    yield from found


def _written(text: str) -> Iterator[bytes]:
    """Yield the bytes that each spelling may have in a JSON text."""
    found: dict[bytes, None] = {}
    for spelling in _spellings(text):
        plain = json.dumps(spelling, ensure_ascii=False)[1:-1]
        escaped = json.dumps(spelling)[1:-1]
        capital = re.sub(r"\\u[0-9a-f]{4}", lambda found: "\\u" + found.group()[2:].upper(), escaped)
        careful = "".join(_WRITTEN_AS.get(character, character) for character in escaped)
        found |= {each.encode(errors="surrogatepass"): None for each in (plain, escaped, capital, careful)}
    yield from found


_KINDS: Final = (
    (re.compile(r"\S*@\S*"), ("email",)),
    (_PHONE, ("phone", "number", "id")),
    (re.compile(r"[a-z]{2,6}_\w+"), ("id",)),
)
"""What a value looks like, and how the paths end at which such a value may be."""


def likely_paths(term: str, paths: Sequence[str]) -> list[str]:
    """Return those of the paths at which a value like `term` may be; all of them if none is more likely.

    Values at paths of `REDACT` are not searched.
    """
    endings = next((endings for pattern, endings in _KINDS if pattern.fullmatch(term.strip())), ())
    paths = [path for path in paths if not settings().redaction.covers(path.split("."))]
    return [path for path in paths if path.endswith(endings)] or paths
