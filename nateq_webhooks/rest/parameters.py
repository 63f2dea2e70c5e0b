"""The parameters of a query, and their errors by name: nothing unknown, doubled or impossible is taken for another."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from nateq_webhooks.protocol.api import MAX_PAGE_SIZE, PAGE_SIZE
from nateq_webhooks.protocol.api_answers import invalid, shown, whole_number


class WholeNumberField(serializers.Field):
    """A whole number in decimal digits, within a range."""

    def __init__(self, least: int, most: int, **options: Any) -> None:
        super().__init__(**options)
        self.least, self.most = least, most

    def to_internal_value(self, data: Any) -> int:
        """Return the number."""
        try:
            return whole_number(str(data), self.least, self.most)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None

    def to_representation(self, value: Any) -> Any:
        """Return the number."""
        return value


class TextField(serializers.CharField):
    """A text that is compared exactly; a number in a JSON body is none."""

    def __init__(self, max_length: int, **options: Any) -> None:
        super().__init__(max_length=max_length, trim_whitespace=False, required=False, **options)

    def to_internal_value(self, data: Any) -> str:
        """Return the text."""
        if not isinstance(data, str):
            self.fail("invalid")
        text: str = super().to_internal_value(data)
        return text


class OneOfField(serializers.ChoiceField):
    """One of several words; the error lists them."""

    def __init__(self, choices: Sequence[str], **options: Any) -> None:
        said = {"invalid_choice": f"must be one of: {', '.join(choices)}."}
        super().__init__(choices=choices, error_messages=said, **options)


class FlagField(serializers.BooleanField):
    """`true` or `false` of a JSON body; no text or number stands for them."""

    def to_internal_value(self, data: Any) -> bool:
        """Return the value."""
        if data is not True and data is not False:
            self.fail("invalid", input=data)
        return bool(data)


class Parameters(serializers.Serializer):
    """The parameters of an operation; a subclass adds its own."""

    @classmethod
    def read(cls, request: Any) -> dict[str, Any]:
        """Return the values. Raises `RequestError` (422) that names what is unknown, doubled or invalid."""
        query = request.query_params
        doubled = {name: "is given more than once." for name in query if len(query.getlist(name)) > 1}
        return cls._values(query, doubled, "parameters")

    @classmethod
    def read_body(cls, request: Any) -> dict[str, Any]:
        """Return the values of the body's fields. Raises `RequestError` (400, 422) as `read` does."""
        return cls._values(request.data, {}, "fields")

    @classmethod
    def _values(cls, given: Any, problems: dict[str, str], what: str) -> dict[str, Any]:
        known = cls().fields
        problems |= {shown(name): _unknown(known, what) for name in given if name not in known}
        reader = cls(data={name: given[name] for name in given if name in known})
        if not reader.is_valid():
            problems |= {name: _first(complaints) for name, complaints in reader.errors.items()}
        if problems:
            raise invalid(problems, what)
        return dict(reader.validated_data)


class LimitParameters(Parameters):
    """The parameters of every list."""

    limit = WholeNumberField(1, MAX_PAGE_SIZE, default=PAGE_SIZE, help_text="How many to return at most.")


class OffsetParameters(LimitParameters):
    """The parameters of a list that is paged by offset (Nateq's SDK)."""

    offset = WholeNumberField(0, 2**31, default=0, help_text="How many to skip.")


def _unknown(known: Any, what: str) -> str:
    names = ", ".join(sorted(known))
    return f"is not one of the {what} of this operation: {names}." if names else f"This operation has no {what}."


def _first(complaints: Any) -> str:
    """Return the first complaint; those about the items of a list are by their numbers."""
    while isinstance(complaints, dict | list):
        complaints = next(iter(complaints.values() if isinstance(complaints, dict) else complaints))
    return str(complaints)
