"""The replays: who asked for what to run again, when and why, and how far that got."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern
from django.utils.html import format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists.base import RecordAdmin
from nateq_webhooks.admin.changelists.spec import ListSpec
from nateq_webhooks.admin.hold_text import pause_hint
from nateq_webhooks.admin.pages import AdminPage, admin_url
from nateq_webhooks.admin.permissions import PermittedRows, may_replay
from nateq_webhooks.admin.selection_text import Condition, selection_in_words
from nateq_webhooks.dispatch.holds import read_holds
from nateq_webhooks.dispatch.progress import (
    Progress,
    ReplayState,
    missing_worker_advice,
    progress,
    state_in_words,
    with_left,
)
from nateq_webhooks.dispatch.replays import advance_for, cancel
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.dispatch.status import has_workers
from nateq_webhooks.models import Delivery, Replay, Run

SECONDS_AT_ONCE: Final = 2.0
"""How long "Continue now" works in one request."""


RELOAD_SECONDS: Final = 3
"""How often the page of a replay that is under way reloads."""

SHARE_OF_TIME: Final = 10
"""A page whose count takes long is loaded less often: counting takes a tenth of the time at most."""


def seconds_to_reload(counting: float) -> int:
    """Return the number of seconds until the page reloads, given how long the count took."""
    return max(RELOAD_SECONDS, math.ceil(SHARE_OF_TIME * counting))


class ReplayControlForm(forms.Form):
    """What a button of the replay's page does."""

    do = forms.ChoiceField(choices=[("cancel", "cancel"), ("go on", "go on")])


class ReplayControlPage(AdminPage):
    """Cancels a replay, or makes some of its runs within the request."""

    route = "<int:pk>/steer/"
    name = "steer"
    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Do what the button names; nothing if it names nothing."""
        if not may_replay(request) or not self.model_admin.has_view_permission(request):
            raise PermissionDenied
        replay = get_object_or_404(self.model_admin.get_queryset(request), pk=pk)
        if not self.model_admin.has_view_permission(request, replay):
            raise PermissionDenied
        form = ReplayControlForm(request.POST)
        if form.is_valid() and form.cleaned_data["do"] == "cancel":
            if cancel(router.db_for_write(Replay), pk):
                self.model_admin.log_change(request, replay, _("Cancelled."))
        elif form.is_valid():
            advance_for(router.db_for_write(Delivery), replay, SECONDS_AT_ONCE)
        return HttpResponseRedirect(self.url("change", pk))


@dataclass(frozen=True, kw_only=True, slots=True)
class CountedRuns:
    """A number of a replay's runs, with the list of them."""

    label: str
    number: str
    url: str
    "Empty if the user may not see runs, or if there are none."


@dataclass(frozen=True, kw_only=True, slots=True)
class CountedGroup:
    """What became of a replay's runs: a heading and its numbers."""

    label: str
    counts: Sequence[CountedRuns]


def _groups(found: Progress, url_of: Callable[[dict[str, str]], str]) -> Iterator[CountedGroup]:
    """Yield the numbers of a replay's runs: succeeded, failed, left."""

    def counted(label: str, number: int, **query: str) -> CountedRuns:
        url = url_of(query) if number else ""
        return CountedRuns(label=label, number=formatting.number(number), url=url)

    yield CountedGroup(label=_("Succeeded"), counts=[counted("", found.succeeded, status__exact=Run.Status.SUCCEEDED)])
    yield CountedGroup(label=_("Failed for good"), counts=[counted("", found.failed, status__exact=Run.Status.DEAD)])
    yield CountedGroup(
        label=_("Left"),
        counts=[
            counted(_("retrying"), found.retrying, status__exact=Run.Status.FAILED, held="no"),
            counted(_("waiting"), found.waiting, status__exact=Run.Status.WAITING, held="no"),
            counted(_("running"), found.running, status__exact=Run.Status.RUNNING),
            counted(_("held by a pause or a limit"), found.held, held="yes"),
            *([counted(_("waiting for an unknown receiver"), found.parked, held="parked")] if found.parked else []),
        ],
    )


@admin.register(Replay)
class ReplayAdmin(RecordAdmin[Replay]):
    """Replays, to read: who wanted what run again, when and why, and how far that got."""

    list_spec = ListSpec(annotate=with_left)
    list_display = (
        "__str__",
        "shown_created_at",
        "shown_by",
        "shown_reason",
        "deliveries",
        "runs",
        "brought_forward",
        "shown_percent",
    )
    fields = readonly_fields = (
        "shown_created_at",
        "shown_by",
        "shown_reason",
        "shown_receivers",
        "shown_filters",
        "deliveries",
        "runs",
        "brought_forward",
        "already_running",
        "skipped",
        "without_content",
        "disconnected",
        "shown_finished_at",
    )
    change_form_template = "admin/nateq_webhooks/replay/change_form.html"

    @admin.display(description=gettext_lazy("requested"))
    def shown_created_at(self, replay: Replay) -> str | None:
        """Return when it was asked for."""
        return formatting.moment(replay.created_at)

    @admin.display(description=gettext_lazy("by"))
    def shown_by(self, replay: Replay) -> str | None:
        """Return who asked for it."""
        return formatting.text(replay.by) or self.get_empty_value_display()

    @admin.display(description=gettext_lazy("reason"))
    def shown_reason(self, replay: Replay) -> str | None:
        """Return why."""
        return formatting.text(replay.reason) or self.get_empty_value_display()

    @admin.display(description=gettext_lazy("receivers"))
    def shown_receivers(self, replay: Replay) -> str:
        """Return who runs again."""
        named = formatting.visible(_(", ").join(replay.receivers or ()))
        if replay.only_failed:
            return (
                _("%(names)s, if the last run failed") % {"names": named} if named else _("those whose last run failed")
            )
        return named or _("all that are connected to the event")

    @admin.display(description=gettext_lazy("selection"))
    def shown_filters(self, replay: Replay) -> str:
        """Return what the deliveries have in common."""
        conditions: Sequence[Condition] = replay.conditions  # type: ignore[attr-defined]
        shown = format_html_join("", "<div>{}: {}</div>", conditions)
        if replay.is_of_given_deliveries:
            return shown or _("the deliveries that were named")
        return shown or _("none: every delivery, or those that were named")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Replay | None:
        """Return the replay of a page, with its selection in words, as far as the user may see it."""
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            selection = Selection.from_json(found.filters)
            words = selection_in_words(selection, PermittedRows(self.admin_site, request))
            found.conditions = list(words)  # type: ignore[attr-defined]
        return found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Replay]:
        """Return the replays where they are written: a replica may not have the one that was just asked for."""
        return super().get_queryset(request).using(router.db_for_write(Replay))

    @admin.display(description=gettext_lazy("progress"))
    def shown_percent(self, replay: Replay) -> str:
        """Return how much is done, for the list."""
        return state_in_words(replay, replay.left)  # type: ignore[attr-defined]

    @admin.display(description=gettext_lazy("all runs created"))
    def shown_finished_at(self, replay: Replay) -> str | None:
        """Return when the last run was made."""
        return formatting.moment(replay.finished_at) or self.get_empty_value_display()

    def get_urls(self) -> list[URLPattern]:
        """Return the URLs of Django's pages and ours."""
        return [ReplayControlPage.url_pattern(self), *super().get_urls()]

    def _runs_url(self, request: HttpRequest, replay: Replay) -> Callable[[dict[str, str]], str]:
        """Return what makes the address of a list of the replay's runs; an empty one if the user may not see it."""
        may_see = PermittedRows(self.admin_site, request).may_view(Run)

        def url_of(query: dict[str, str]) -> str:
            return admin_url(self.admin_site, Run, "changelist", replay=replay.pk, **query) if may_see else ""

        return url_of

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,  # noqa: FBT001, FBT002
        change: bool = False,  # noqa: FBT001, FBT002
        form_url: str = "",
        obj: Replay | None = None,
    ) -> HttpResponse:
        """Show the progress above the fields."""
        if obj is not None:
            alias = router.db_for_write(Replay)
            start = time.monotonic()
            found = progress(alias, obj)
            seconds = seconds_to_reload(time.monotonic() - start)
            context["seconds_to_reload"] = str(seconds)
            context["is_slow_to_count"] = seconds > RELOAD_SECONDS
            is_being_made = found.state is ReplayState.CREATING
            is_stopped = is_being_made and read_holds(alias).is_paused
            context["is_being_made"] = is_being_made
            context["pause_hint"] = pause_hint(self.admin_site, request) if is_stopped or found.paused else None
            context["needs_worker"] = is_being_made and not is_stopped and not has_workers(alias)
            context["is_under_way"] = not found.is_done
            context["is_empty"] = found.is_done and not obj.is_cancelled and not obj.has_runs
            context["may_steer"] = may_replay(request)
            context["has_workers"] = has_workers(alias)
            context["missing_worker_advice"] = missing_worker_advice(alias, found)
            context["progress"] = found
            context["progress_groups"] = list(_groups(found, self._runs_url(request, obj)))
        return super().render_change_form(request, context, add, change, form_url, obj)
