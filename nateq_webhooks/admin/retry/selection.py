"""Which failed runs are to be retried: a group of failures, those that were ticked, or all that the filters find."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists.filters import ReceiverFilter, StatusFilter
from nateq_webhooks.admin.changelists.period_filter import PeriodFilter
from nateq_webhooks.admin.dashboard.failures import Failure
from nateq_webhooks.admin.deliveries.selection_form import MAX_KEYS, KeysField, MomentField
from nateq_webhooks.admin.permissions import PermittedRows, is_narrowed
from nateq_webhooks.admin.retry.filters import ErrorFilter, FailureFilter
from nateq_webhooks.dispatch.failed_runs import RetryCount, count_to_retry, to_retry
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import MAX_ERROR_CHARS
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.receivers import registry

MAX_COUNTED: Final = 10_000
"""Runs that are counted before it is said to be more."""

FIELDS: Final = ("receiver", "run_status", "error", "runs_since", "runs_until")
"""The parts of a selection that the page hands on, as hidden fields; keys of runs, too."""

_EVERYTHING: Final = "everything"
"""The field that says that all failed runs are meant: a form without any field must not mean that."""

_IGNORED: Final = frozenset({"o", "p", "cursor", "_facets", "e"})
"""Query parameters of the list that leave no run out."""


class RunSelectionForm(forms.Form):
    """Which failed runs are meant. A form with no field set selects nothing."""

    receiver = forms.CharField(required=False, strip=False)
    run_status = forms.ChoiceField(required=False, choices=[("", ""), *((each, each) for each in Run.FAILING)])
    error = forms.CharField(required=False, strip=False)
    runs_since = MomentField(required=False)
    runs_until = MomentField(required=False)
    runs = KeysField(required=False)
    everything = forms.CharField(required=False)

    def clean(self) -> dict[str, Any]:
        """Refuse a form without any field."""
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and not any(cleaned.values()):
            raise ValidationError(_("No run is named."))
        return cleaned

    @property
    def selection(self) -> Selection:
        """The selection. Raises `ValidationError` if the form is not valid."""
        if not self.is_valid():
            raise ValidationError([_(", ").join(map(str, errors)) for errors in self.errors.values()])
        values = {name: value for name, value in self.cleaned_data.items() if name != _EVERYTHING}
        return Selection(**values | {"error": column_text(values["error"], MAX_ERROR_CHARS)})


@dataclass(frozen=True, slots=True)
class SelectedRuns:
    """Failed runs that are to be retried, among those that the user may see, and how many they are."""

    selection: Selection
    among: QuerySet[Run]
    count: RetryCount
    "Among `MAX_COUNTED` failed runs and one more."

    def for_job(self) -> Selection:
        """Return the selection for a job, which has no user: by keys if runs are hidden from the user.

        Raises `LookupError` when nothing is left to retry.
        """
        if not is_narrowed(self.among):
            return self.selection
        rows = to_retry(self.selection, self.among, _receivers())
        keys = tuple(rows.order_by("pk").values_list("pk", flat=True)[:MAX_KEYS])
        if not keys:
            raise LookupError(_("None of these runs is to be retried any more."))
        return Selection(runs=keys)

    @property
    def is_cut(self) -> bool:
        """Whether a job does not get all of them."""
        return self.count.is_capped and is_narrowed(self.among)

    @property
    def count_text(self) -> str:
        """How many are retried, in words."""
        if self.count.is_capped:
            least = min(self.count.total, MAX_COUNTED)
            return _("more than %(number)s failed runs") % {"number": formatting.number(least)}
        text = ngettext("%(number)s failed run", "%(number)s failed runs", self.count.total)
        return text % {"number": formatting.number(self.count.total)}

    @property
    def parts(self) -> Iterator[tuple[str, str]]:
        """What is done with them, each with its number."""
        count = self.count
        yield _("again, as new runs"), self._number(count.given_up)
        yield _("brought forward, because they wait for a try"), self._number(count.pending)
        yield _("left alone, because they were replayed since"), _capped(count.resolved)
        if count.without_content:
            yield _("left out, because the delivery's content was removed"), self._number(count.without_content)
        if count.disconnected:
            text = _("left alone, because their receiver is not connected to the event any more")
            yield text, self._number(count.disconnected)

    def _number(self, number: int) -> str:
        return formatting.capped(min(number, MAX_COUNTED), is_capped=self.count.is_capped)

    @property
    def form_fields(self) -> dict[str, str]:
        """The selection as the fields of a form."""
        kept = self.selection.as_json()
        fields: dict[str, str] = {name: str(kept[name]) for name in FIELDS if name in kept}
        if self.selection.runs:
            fields["runs"] = ",".join(map(str, self.selection.runs))
        return fields or {_EVERYTHING: "yes"}


def select(selection: Selection, among: QuerySet[Run]) -> SelectedRuns:
    """Return a selection with its numbers."""
    return SelectedRuns(selection, among, count_to_retry(selection, among, limit=MAX_COUNTED + 1))


def from_action(model_admin: Any, request: HttpRequest, queryset: QuerySet[Run], among: QuerySet[Run]) -> SelectedRuns:
    """Return what an action on the list is about. Raises `ValidationError` if that is nothing.

    What no selection can express (a search, a filter of the project's own) is taken by keys, up to `MAX_KEYS`.
    """
    if request.POST.get("select_across") != "1":
        return select(RunSelectionForm({"runs": ",".join(request.POST.getlist(ACTION_CHECKBOX_NAME))}).selection, among)
    changelist = model_admin.get_changelist_instance(request)
    selection, known = Selection(), set(_IGNORED)
    for each in changelist.filter_specs:
        if isinstance(each, StatusFilter) and each.selected_values():
            selection = replace(selection, run_status=_failing_status(each.selected_values()))
        elif isinstance(each, ReceiverFilter) and each.selected_values():
            selection = replace(selection, receiver=each.selected_values()[0])
        elif isinstance(each, ErrorFilter):
            selection = replace(selection, error=each.text)
        elif isinstance(each, PeriodFilter):
            selection = replace(selection, runs_since=each.period.since, runs_until=each.period.until)
        elif isinstance(each, FailureFilter) and each.value():
            selection = replace(selection, runs=_keys(each.group.runs if each.group is not None else ()))
        if isinstance(each, StatusFilter | ReceiverFilter | ErrorFilter | PeriodFilter | FailureFilter):
            known |= {name for name in each.expected_parameters() if name}
    if known >= {name for name, values in request.GET.lists() if any(values)}:
        return select(selection, among)
    failed = queryset.filter(status__in=Run.FAILING).order_by("-pk").values_list("pk", flat=True)
    return select(Selection(runs=_keys(tuple(failed[:MAX_KEYS]))), among)


def from_group(group: Failure | None, among: QuerySet[Run]) -> SelectedRuns:
    """Return the runs of a group of failures. Raises `ValidationError` if it is gone."""
    if group is None:
        return select(Selection(runs=_keys(())), among)
    return select(Selection(runs=_keys(group.runs), receiver=group.receiver), among)


def selectable(permitted: PermittedRows) -> QuerySet[Run]:
    """Return the runs that the user may retry: whose delivery the user may see, too."""
    rows: QuerySet[Run] = permitted.with_delivery(permitted.of(Run)) if permitted.hides(Delivery) else permitted.of(Run)
    return rows.order_by().select_related(None)


def _failing_status(values: list[str]) -> str:
    """Return the status of failed runs that the list shows; empty: both. Raises `ValidationError` if it shows none."""
    failing = [value for value in values if value in Run.FAILING]
    if not failing:
        raise ValidationError(_("The runs that this list shows have not failed, so there is nothing to retry."))
    return failing[0] if len(failing) == 1 else ""


def _keys(keys: tuple[int, ...]) -> tuple[int, ...]:
    """Return the keys. Raises `ValidationError` without any: a selection without keys means all."""
    if not keys:
        raise ValidationError(_("No runs have failed like this, or not any more."))
    return tuple(keys[:MAX_KEYS])


def _receivers() -> list[str]:
    return [receiver.name for receiver in registry]


def _capped(number: int) -> str:
    return formatting.capped(min(number, MAX_COUNTED), is_capped=number > MAX_COUNTED)
