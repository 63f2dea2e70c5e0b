"""Django's paginator without a count of the whole table, for autocompletion."""

from typing import TYPE_CHECKING, Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

if TYPE_CHECKING:
    _Paginator = Paginator[Any]
else:  # Django's paginator is generic for the type checker only
    _Paginator = Paginator


class CappedPaginator(_Paginator):
    """A paginator over the first `limit` rows."""

    limit = 10_000

    @cached_property
    def count(self) -> int:
        """The number of rows, at most `limit`."""
        rows: QuerySet[Any] = self.object_list[: self.limit]  # type: ignore[assignment]
        return rows.count()
