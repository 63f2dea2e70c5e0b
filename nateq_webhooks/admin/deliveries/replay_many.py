"""Having deliveries run once more from the admin: an action, the page that confirms it, one that shows the progress.

Few are replayed at once; many become a job that workers carry on, or whoever presses "Go on" where there is no worker.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks import dispatch
from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.biglist.base import RecordAdmin
from nateq_webhooks.admin.deliveries.confirmation import ConfirmingAdmin
from nateq_webhooks.admin.deliveries.selection import Chosen, from_action, from_failure
from nateq_webhooks.admin.permissions import Permitted
from nateq_webhooks.dispatch.backlog import has_workers
from nateq_webhooks.dispatch.progress import nobody_runs, percent, progress, with_left
from nateq_webhooks.dispatch.replays import advance
from nateq_webhooks.models import Delivery, Replay, ReplayedRun, Webhook
from nateq_webhooks.models.repetition import repeated
from nateq_webhooks.receivers import registry

MOST_AT_ONCE: Final = 500
"""Deliveries that are replayed within the request; more become a job."""

MOST_LOGGED: Final = 100
"""Deliveries whose own history says that they were replayed."""

SECONDS_AT_ONCE: Final = 2.0
"""How long "Go on" works in one request."""

PERMISSION: Final = "nateq_webhooks.replay_delivery"


class ReplayActions(ConfirmingAdmin):
    """Adds the action "Replay" to the list of deliveries, and the page that confirms it."""

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Say whether the user may have deliveries run again."""
        return request.user.has_perm(PERMISSION)

    @admin.action(description=gettext_lazy("Replay the selected deliveries"), permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponseBase:
        """Ask which receivers, and why."""
        return self.about(
            request,
            lambda: from_action(request, queryset, self.choosable(request)),
            lambda which: self._confirm_replay(request, which),
        )

    def get_urls(self) -> list[URLPattern]:
        """Add the page that confirms."""
        view = self.admin_site.admin_view(self.replay_many_view)
        return [path("replay-many/", view, name="nateq_webhooks_delivery_replay_many"), *super().get_urls()]

    def replay_many_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show the confirmation page of what the address names (GET), or replay what was confirmed (POST).

        `failure` names a line of the dashboard's failures.
        """
        if not (self.has_replay_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied
        if request.method == "GET" and (key := request.GET.get("failure")):
            with_text = request.user.has_perm("nateq_webhooks.view_payload")
            permitted = Permitted(self.admin_site, request)
            return self.about(
                request,
                lambda: from_failure(key, self.choosable(request), permitted, with_text=with_text),
                lambda which: self._confirm_replay(request, which),
            )
        return self.confirmed(request, self._confirm_replay, self._replay_many)

    def _confirm_replay(self, request: HttpRequest, which: Chosen) -> HttpResponse:
        return self.confirmation(
            request,
            which,
            page="replay_many",
            title=_("Replay deliveries"),
            receivers=sorted({receiver.name for receiver in registry}),
            picked=which.selection.receiver,
            is_job=which.count > MOST_AT_ONCE,
        )

    def _replay_many(self, request: HttpRequest, which: Chosen) -> HttpResponse:
        names = request.POST.getlist("receivers") or None
        reason, by = request.POST.get("reason", "").replace("\0", "").strip(), request.user.get_username()
        try:
            if which.count > MOST_AT_ONCE:
                replay = dispatch.request_replay(which.for_later(), names, reason=reason, by=by)
            else:
                alias = router.db_for_write(Delivery)
                with transaction.atomic(using=alias):
                    replay = dispatch.replay(which.keys(MOST_AT_ONCE), names, reason=reason, by=by)
                    Replay.objects.using(alias).filter(pk=replay.pk).update(filters=which.selection.as_json())
                    self._note(request, alias, replay)
        except LookupError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(self._address("changelist"))
        self.log_change(request, replay, _("Asked to replay %(words)s.") % {"words": which.words})  # type: ignore[arg-type]
        return HttpResponseRedirect(self._progress_url(request, replay) or self._told(request, which))

    def _progress_url(self, request: HttpRequest, replay: Replay) -> str:
        """Return the replay's page; empty for who may not see it, and on a site that does not know replays."""
        permitted = Permitted(self.admin_site, request)
        if not (permitted.may_view(Replay, replay) and permitted.shows(replay)):
            return ""
        try:
            name = "admin:nateq_webhooks_replay_change"
            return reverse(name, args=[quote(replay.pk)], current_app=self.admin_site.name)
        except NoReverseMatch:
            return ""

    def _told(self, request: HttpRequest, which: Chosen) -> str:
        """Say that it was asked for, and return the list's address."""
        self.message_user(request, _("Asked to replay %(words)s.") % {"words": which.words}, messages.SUCCESS)
        return self._address("changelist")

    def _note(self, request: HttpRequest, alias: str, replay: Replay) -> None:
        """Write into the history of each delivery that it was replayed; some may have had no receiver to run.

        Read through the connection that has just written: another one, such as a replica's, can't see the rows yet.
        """
        rows = ReplayedRun.objects.using(alias).filter(replay=replay).order_by("run__delivery_id")
        keys = list(rows.values_list("run__delivery_id", flat=True).distinct()[:MOST_LOGGED])
        for delivery in Delivery.objects.using(alias).defer("payload", "headers", "body").filter(pk__in=keys):
            self.log_change(request, delivery, _("Replayed (replay %(number)d).") % {"number": replay.pk})

    def _address(self, what: str) -> str:
        return reverse(f"admin:nateq_webhooks_delivery_{what}", current_app=self.admin_site.name)


@admin.register(Replay)
class ReplayAdmin(RecordAdmin[Replay]):
    """Replays, to read: who wanted what run again, when and why, and how far that got."""

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
        "shown_finished_at",
    )
    change_form_template = "admin/nateq_webhooks/replay/change_form.html"

    @admin.display(description=gettext_lazy("asked for"))
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
        named = formatting.visible(", ".join(replay.receivers or ()))
        return named or _("all that are connected to the event")

    @admin.display(description=gettext_lazy("deliveries that"))
    def shown_filters(self, replay: Replay) -> str:
        """Return what the deliveries have in common."""
        kept = dispatch.Selection.from_json(replay.filters).as_json()
        kept.pop("deliveries", None)
        if getattr(replay, "is_webhook_hidden", False):
            kept.pop("webhook", None)
        shown = ", ".join(f"{name}={value}" for name, value in kept.items())
        return formatting.visible(shown) or _("were chosen one by one")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Replay]:
        """Return the replays where they are written: a replica may not have the one that was just asked for."""
        return super().get_queryset(request).using(router.db_for_write(Replay))

    def shown_rows(self, rows: QuerySet[Replay]) -> QuerySet[Replay]:
        """Return the rows of a page with how many of their runs have not finished."""
        return with_left(rows)

    @admin.display(description=gettext_lazy("progress"))
    def shown_percent(self, replay: Replay) -> str:
        """Return how much is done, for the list."""
        if replay.is_cancelled:
            return _("cancelled")
        return _("%(share)d %%") % {"share": percent(replay, replay.left)}  # type: ignore[attr-defined]

    @admin.display(description=gettext_lazy("all runs made"))
    def shown_finished_at(self, replay: Replay) -> str | None:
        """Return when the last run was made."""
        return formatting.moment(replay.finished_at) or self.get_empty_value_display()

    def mark_hidden(self, request: HttpRequest, records: Sequence[Replay]) -> None:
        """Mark the replays of a webhook that the project hides from the user: they don't tell its key."""
        permitted = Permitted(self.admin_site, request)
        for replay in records:
            key = dispatch.Selection.from_json(replay.filters).webhook
            if key:
                replay.is_webhook_hidden = not permitted.shows(Webhook(pk=key))  # type: ignore[attr-defined]

    def get_urls(self) -> list[URLPattern]:
        """Add the buttons' address."""
        view = self.admin_site.admin_view(self.steer_view)
        return [path("<int:pk>/steer/", view, name="nateq_webhooks_replay_steer"), *super().get_urls()]

    def steer_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Cancel a replay, or make some of its runs here."""
        if request.method != "POST" or not request.user.has_perm(PERMISSION) or not self.has_view_permission(request):
            raise PermissionDenied
        replay = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_view_permission(request, replay):
            raise PermissionDenied
        if request.POST.get("do") == "cancel":
            rows = Replay.objects.using(router.db_for_write(Replay))
            unfinished = rows.filter(pk=pk, finished_at__isnull=True, is_cancelled=False)
            if unfinished.update(is_cancelled=True):
                self.log_change(request, replay, _("Cancelled."))
        elif request.POST.get("do") == "go on":
            _go_on(replay)
        return HttpResponseRedirect(
            reverse("admin:nateq_webhooks_replay_change", args=[quote(pk)], current_app=self.admin_site.name)
        )

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
            found = progress(alias, obj)
            context["is_being_made"] = obj.finished_at is None and not obj.is_cancelled
            context["is_under_way"] = not found.is_done
            context["may_steer"] = request.user.has_perm(PERMISSION)
            context["has_workers"] = has_workers(alias)
            context["nobody_runs"] = nobody_runs(alias, [obj]) if found.left else ""
            context["progress"] = found
        return super().render_change_form(request, context, add, change, form_url, obj)


def _go_on(replay: Replay) -> None:
    """Make runs for a moment, so that a site without a worker gets on, too."""
    alias = router.db_for_write(Delivery)
    deadline = time.monotonic() + SECONDS_AT_ONCE
    while time.monotonic() < deadline and repeated(lambda: advance(alias, replay)):
        pass
