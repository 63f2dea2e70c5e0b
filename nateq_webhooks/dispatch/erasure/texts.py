"""Texts of other tables that quote the person: which rows do, and the rows without it."""

from collections.abc import Collection, Sequence
from typing import Any

from django.db import connections

from nateq_webhooks.dispatch.erasure.deliveries import Finder, Quoted, read_deliveries
from nateq_webhooks.dispatch.erasure.tables import TextTable, database_of
from nateq_webhooks.models import OtherContent
from nateq_webhooks.protocol.erasing import blank_quotes, quotes_in
from nateq_webhooks.protocol.quotes import Quotes
from nateq_webhooks.retention.removal import remember_contents


class TextEraser:
    """Blanks the rows of one table.

    In the rows of a delivery a name alone is not enough: it may be the name of somebody else, whose delivery it is.
    """

    def __init__(self, table: TextTable, alias: str, finder: Finder, spared: Collection[int]) -> None:
        self._table = table
        self._alias = alias
        self._finder = finder
        self._spared = spared
        "Rows whose body is kept for now: they tell who the person is, and are emptied last."

    def quotes_person(self, row: dict[str, Any]) -> bool:
        """Return whether a row is to be blanked."""
        return bool(self._blanked(row))

    def quotes_name(self, row: dict[str, Any]) -> bool:
        """Return whether a row that is not blanked quotes a name of the person."""
        return self._table.delivery != "" and self._has(row, self._finder.own_quotes)

    def goes_with_delivery(self, pk: int) -> bool:
        """Return whether a row is changed together with the delivery that it belongs to."""
        if not self._table.delivery:
            return False
        rows = self._table.rows(self._alias).filter(pk=pk)
        deliveries = read_deliveries(self._alias, list(rows.values_list(self._table.delivery, flat=True)))
        return any(
            self._finder.match(delivery) is not None
            or (self._table.is_of_runs and self._finder.quoted_by(delivery) is Quoted.PERSON)
            for delivery in deliveries
        )

    def blank(self, pks: Sequence[int]) -> None:
        """Blank rows, inside the caller's transaction."""
        alias = database_of(self._table, self._alias)
        rows = self._table.model._meta.base_manager.using(alias)
        locked = rows.filter(pk__in=pks).order_by("pk")
        if connections[alias].features.has_select_for_update:
            locked = locked.select_for_update()
        for row in locked.values("pk", *self._table.all_columns):
            if changes := self._blanked(row):
                rows.filter(pk=row["pk"]).update(**changes)
        if self._table.body:
            remember_emptied(self._alias, pks)

    def _blanked(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the columns of a row that quote the person, without what they quote."""
        finder = self._finder
        changes: dict[str, Any] = {}
        is_anybodys = self._table.delivery and not self._has(row, finder.quotes)
        quotes = finder.quotes if is_anybodys else finder.own_quotes
        for name, limit in self._table.columns.items():
            value: Any = row[name]
            if isinstance(value, str):
                blanked = quotes.blanked(value, limit=limit)
                if blanked != value:
                    changes[name] = blanked
            elif isinstance(value, (dict, list)) and blank_quotes(value, quotes, has_numbers=False):
                changes[name] = value  # its numbers are keys of rows
        body = self._table.body
        if body and row[body] and row["pk"] not in self._spared and finder.concerns(row[body]):
            changes[body] = b""
        return changes

    def _has(self, row: dict[str, Any], quotes: Quotes) -> bool:
        """Return whether a row of a delivery quotes one of the values."""
        texts = ((row[name], limit) for name, limit in self._table.columns.items())
        if any(quotes.blanked(text, limit=limit) != text for text, limit in texts):
            return True
        body = row[self._table.body] if self._table.body else b""
        return bool(body) and quotes_in(body, quotes)


def remember_emptied(alias: str, pks: Collection[int]) -> None:
    """Remember other contents that were emptied: the same content is not stored under an id of its own."""
    emptied = OtherContent.objects.using(alias).filter(pk__in=pks, body=b"")
    remember_contents(alias, emptied.values_list("delivery__webhook_id", "content_hash"))
