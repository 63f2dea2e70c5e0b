"""The pages that retry failed runs and acknowledge a group of failures."""

from collections.abc import Callable
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.dashboard.acknowledgements import acknowledge
from nateq_webhooks.admin.dashboard.failures import Failure, find_group
from nateq_webhooks.admin.hold_text import pause_hint
from nateq_webhooks.admin.pages import AdminPage, ReasonField, admin_url
from nateq_webhooks.admin.permissions import (
    PermittedRows,
    has_object_permissions,
    may_acknowledge,
    may_replay,
    may_see_payload,
)
from nateq_webhooks.admin.replay_report import done_text, outcome_text, show_report
from nateq_webhooks.admin.retry.selection import (
    RunSelectionForm,
    SelectedRuns,
    from_action,
    from_group,
    select,
    selectable,
)
from nateq_webhooks.admin.selection_text import selection_in_words
from nateq_webhooks.database.keyset.time_limit import MAX_SECONDS, TookTooLongError, limited
from nateq_webhooks.dispatch.api import request_replay
from nateq_webhooks.dispatch.progress import progress
from nateq_webhooks.dispatch.replay_steps import start_here
from nateq_webhooks.dispatch.replays import advance_for
from nateq_webhooks.models import Delivery, Replay, Run

SECONDS_IN_REQUEST: Final = 2.0
"""How long the request itself creates runs; workers, or "Continue now", go on with what is left."""

MAX_IN_REQUEST: Final = 500
"""Runs that are retried within the request; more are left to workers."""


class RetryForm(forms.Form):
    """Why failed runs are retried."""

    reason = ReasonField(
        required=False,
        label=gettext_lazy("Reason"),
        widget=forms.TextInput(
            {"class": "vTextField", "id": "nateq-reason", "maxlength": ReasonField.MAX_LENGTH, "dir": "auto"}
        ),
    )


class GroupForm(forms.Form):
    """A group of failures."""

    failure = forms.CharField()
    receiver = forms.CharField(required=False, strip=False)


class FailedRunsPage(AdminPage):
    """A page about failed runs, for users who may have receivers run again."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Check the permissions before any method runs."""
        may_view = self.model_admin.has_view_permission(request) and self.permitted_of(request).may_view(Delivery)
        if not (may_view and may_replay(request)):
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    def permitted_of(self, request: HttpRequest) -> PermittedRows:
        """Return the rows that the user of a request may see."""
        return PermittedRows(self.model_admin.admin_site, request)

    @property
    def permitted(self) -> PermittedRows:
        """The rows that the user may see."""
        return self.permitted_of(self.request)

    def group(self, form: GroupForm) -> Failure | None:
        """Return the group that the address names; None if it is gone."""
        if not form.is_valid():
            return None
        return find_group(
            form.cleaned_data["failure"],
            with_text=may_see_payload(self.request),
            among=self.permitted,
            receiver=form.cleaned_data["receiver"] or None,
        )


class RetryPage(FailedRunsPage):
    """The page that asks before failed runs are retried. `failure` in its address names a line of the failures."""

    route = "retry/"
    name = "retry"
    manages_transactions = True  # with DISPATCH = "inline" the receivers run in this request, after the commit

    @classmethod
    def for_action(cls, model_admin: "ModelAdmin[Run]", request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse:
        """Ask about the rows that were selected in the list."""
        page = cls(model_admin=model_admin)
        page.setup(request)
        if not (page.permitted.may_view(Delivery) and may_replay(request)):
            raise PermissionDenied
        return page._ask(lambda: from_action(model_admin, request, queryset, page.runs))

    def get(self, request: HttpRequest) -> HttpResponse:
        """Ask about a group of failures, or the runs that the address names."""
        form = GroupForm(request.GET)
        if not form.is_valid():
            return self._ask(lambda: select(RunSelectionForm(request.GET).selection, self.runs))
        group = self.group(form)
        kind = (
            formatting.visible(group.error or group.exception) or _("none: its worker died")
            if group is not None
            else ""
        )
        return self._ask(lambda: from_group(group, self.runs), kind=kind)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Retry the runs that were confirmed, and show the replay."""
        found = self._find(lambda: select(RunSelectionForm(request.POST).selection, self.runs))
        if isinstance(found, HttpResponse):
            return found
        form = RetryForm(request.POST)
        if not form.is_valid():
            return self._show(found, form)
        try:
            if not (found.count.total or found.count.is_capped):
                raise LookupError(_("None of these runs is to be retried any more."))
            replay = request_replay(
                found.for_job(),
                reason=form.cleaned_data["reason"],
                by=request.user.get_username(),
                only_failed=True,
            )
        except LookupError as error:
            form.add_error(None, str(error))
            return self._show(found, form)
        alias = router.db_for_write(Delivery)
        if not _is_job(found):
            advance_for(alias, replay, SECONDS_IN_REQUEST)
            start_here(alias, replay.pk)
        self.model_admin.log_change(request, replay, _("Requested a retry of %(words)s.") % {"words": found.count_text})
        if url := self._replay_url(replay):  # which shows what is held back, and whether a worker is missing
            messages.success(request, done_text(replay))
            return HttpResponseRedirect(url)
        done = progress(alias, replay)
        show_report(request, done, outcome_text(done))
        return HttpResponseRedirect(self.url("changelist"))

    @property
    def runs(self) -> QuerySet[Run]:
        """The runs that the user may retry. Raises `PermissionDenied` where a project decides on each delivery."""
        rows = selectable(self.permitted)
        delivery_admin = self.permitted.admin_of(Delivery)
        if delivery_admin is None or not has_object_permissions(delivery_admin):
            return rows
        raise PermissionDenied

    def _replay_url(self, replay: Replay) -> str:
        """Return the replay's page; empty if the user may not see it, and on a site that does not have it."""
        may_see = self.permitted.may_view(Replay, replay) and self.permitted.shows(replay)
        return admin_url(self.model_admin.admin_site, Replay, "change", replay.pk) if may_see else ""

    def _ask(self, find: Callable[[], SelectedRuns], *, kind: str = "") -> HttpResponse:
        found = self._find(find)
        return found if isinstance(found, HttpResponse) else self._show(found, RetryForm(), kind=kind)

    def _find(self, find: Callable[[], SelectedRuns]) -> SelectedRuns | HttpResponse:
        """Return what `find` does, or a page that says what is wrong."""
        try:
            with limited(self.permitted.of(Run).db):
                return find()
        except ValidationError as error:
            return self._page(400, selection_errors=error.messages)
        except TookTooLongError:
            text = _("Counting these runs takes longer than %(seconds)d seconds. Choose fewer, by a filter.")
            return self._page(400, selection_errors=[text % {"seconds": MAX_SECONDS}])

    def _show(self, selected: SelectedRuns, form: forms.Form, *, kind: str = "") -> HttpResponse:
        """Ask; `kind` is the newest error of a group of failures."""
        filters = list(selection_in_words(selected.selection, self.permitted)) or [
            (_("Filter"), _("none: everything that has failed"))
        ]
        if kind:
            filters.append((_("Failed like this"), kind))
        return self._page(
            400 if form.errors else 200,
            selected=selected,
            filters=filters,
            hidden=selected.form_fields,
            form=form,
            is_job=_is_job(selected),
            has_nothing_to_do=not selected.count.total and not selected.count.is_capped,
            pause_hint=pause_hint(self.model_admin.admin_site, self.request, _named(selected.selection.receiver)),
        )

    def _page(self, status: int, **context: Any) -> HttpResponse:
        media = self.model_admin.media
        return self.render("run/retry", _("Retry failed runs"), status=status, media=media, **context)


def _named(receiver: str) -> list[str]:
    return [receiver] if receiver else []


def _is_job(selected: SelectedRuns) -> bool:
    """Return whether there are too many to retry within the request."""
    return selected.count.total > MAX_IN_REQUEST or selected.count.is_capped


class AcknowledgePage(FailedRunsPage):
    """The button that acknowledges a group of failures: it is left out until it grows."""

    route = "acknowledge/"
    name = "acknowledge"
    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Store who has seen the group, and how large it was; then go back."""
        if not may_acknowledge(self.permitted, request):
            raise PermissionDenied
        group = self.group(GroupForm(request.GET))
        if group is None:
            messages.warning(request, _("No runs have failed like this, or not any more."))
        else:
            acknowledge(group.sizes, request.user.get_username())
            messages.success(request, _("Acknowledged. It is shown again when it grows."))
        address = request.POST.get("next", "")
        is_ours = url_has_allowed_host_and_scheme(address, allowed_hosts=None) and address.startswith("/")
        return HttpResponseRedirect(address if is_ours else self.url("changelist"))
