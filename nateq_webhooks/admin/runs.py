"""The admin of runs: each receiver's work on each delivery."""
# ruff: noqa: ARG002 - the signatures are Django's

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists.base import RecordAdmin
from nateq_webhooks.admin.changelists.filters import ReceiverFilter, StatusFilter
from nateq_webhooks.admin.changelists.period_filter import PeriodFilter
from nateq_webhooks.admin.changelists.spec import ListSpec
from nateq_webhooks.admin.hold_text import hold_texts, mark_held, receiver_url
from nateq_webhooks.admin.pages import AdminPage
from nateq_webhooks.admin.permissions import PermittedRows, may_replay, may_see_payload
from nateq_webhooks.admin.receivers.control import ResumePage
from nateq_webhooks.admin.receivers.page import ReceiverPage, ReceiversPage
from nateq_webhooks.admin.retry.filters import PARAMETERS, ErrorFilter, FailureFilter, HeldFilter, ReplayFilter
from nateq_webhooks.admin.retry.page import AcknowledgePage, RetryPage
from nateq_webhooks.dispatch.failed_tries import failed_tries
from nateq_webhooks.models import Delivery, Replay, Run
from nateq_webhooks.models.delivery import with_delivery_id
from nateq_webhooks.models.redaction import mask_errors
from nateq_webhooks.models.run_try import MAX_TRIES_KEPT, RunTry

_FOR_PAYLOAD_READERS: Final = frozenset({"shown_error", "shown_traceback", "shown_failed_tries"})


def _search_alternatives(term: str) -> list[Q]:
    """Search by the exact id of the delivery, whose keys are read first: runs have an index on them."""
    deliveries = with_delivery_id(Delivery.objects.all(), term)
    return [Q(delivery__in=list(deliveries.values_list("pk", flat=True)))]


def _mark_hidden_replays(runs: Sequence[Run], permitted: PermittedRows) -> None:
    """Remove the number of a replay that the project hides from the user."""
    if permitted.hides(Replay):
        shown = permitted.shown(Replay, {run.round for run in runs if run.is_replay})
        for run in runs:
            if run.is_replay and run.round not in shown:
                run.is_replay_hidden = True  # type: ignore[attr-defined]
                run.round = 0  # part of the run's name; the admin never saves a run


@admin.register(Run)
class RunAdmin(RecordAdmin[Run]):
    """Runs, read-only: the receiver, the outcome, and the traceback of a failure."""

    list_display = (
        "shown_receiver",
        "shown_status",
        "tries",
        "shown_delivery",
        "shown_started_at",
        "shown_duration",
    )
    actions: Any = ("retry_selected",)
    list_filter = (
        ("status", StatusFilter),
        ReceiverFilter,
        ("created_at", PeriodFilter),
        ErrorFilter,
        FailureFilter,
        ReplayFilter,
        HeldFilter,
    )
    list_select_related = ("delivery",)
    list_spec = ListSpec(
        index=("status", "receiver"),
        parameters=frozenset({"status__exact", "receiver", "created_at__gte", "created_at__lt"}),
        narrow_parameters=frozenset({"delivery__id__exact"}),
        facet_columns=("status", "receiver", "created_at"),
        date_column="created_at",
        deferred=("error", "traceback"),
        search_alternatives=_search_alternatives,
        mark_hidden=_mark_hidden_replays,
        complete=mark_held,
    )
    search_fields = ("delivery__delivery_id",)
    search_help_text = _("Searches for a delivery id, exactly as Nateq sent it.")
    links: ClassVar[Any] = {"shown_delivery": ("nateq_webhooks.view_delivery", "named_delivery")}
    fields = readonly_fields = (
        "shown_receiver",
        "shown_delivery",
        "shown_round",
        "shown_status",
        "tries",
        "shown_created_at",
        "shown_started_at",
        "shown_finished_at",
        "shown_duration",
        "shown_next_try_at",
        "shown_hold",
        "shown_error",
        "shown_traceback",
        "shown_failed_tries",
    )
    pages: ClassVar[Sequence[type[AdminPage]]] = (
        ReceiversPage,
        ReceiverPage,
        ResumePage,
        RetryPage,
        AcknowledgePage,
    )

    def get_urls(self) -> list[URLPattern]:
        """Return the URLs of Django's pages and ours."""
        return [*(page.url_pattern(self) for page in self.pages), *super().get_urls()]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow the filters that no index has, too: their time is limited."""
        return lookup in PARAMETERS or super().lookup_allowed(lookup, value, request)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may have receivers run again."""
        return may_replay(request) and PermittedRows(self.admin_site, request).may_view(Delivery)

    @admin.action(description=_("Retry the failed ones of the selected runs"), permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse:
        """Ask, with the filter and the number."""
        return RetryPage.for_action(self, request, queryset)

    @admin.display(description=_("receiver"))
    def shown_receiver(self, run: Run) -> SafeString | None:
        """Return the receiver's name."""
        return formatting.name_link("", run.receiver)

    @admin.display(description=_("status"))
    def shown_status(self, run: Run) -> str:
        """Return the status with its symbol, and in the list what holds the run back."""
        word, sentence = getattr(run, "held_text", ("", ""))
        status = formatting.badge(run)
        held = format_html(' <span class="nateq-quiet-text" title="{}">{}</span>', sentence, word) if word else ""
        return format_html("{}{}", status, held)

    @admin.display(description=_("delivery"))
    def shown_delivery(self, run: Run) -> str:
        """Return the delivery as a link to its page."""
        return formatting.link(self.page_of(run.delivery), _name_of_delivery(run))

    @admin.display(description=_("delivery"))
    def named_delivery(self, run: Run) -> str:
        """Return the delivery without a link, for users who may not open its page."""
        return formatting.link("", _name_of_delivery(run))

    @admin.display(description=_("round"))
    def shown_round(self, run: Run) -> str:
        """Return whether the run was created for the delivery's receipt or for a replay."""
        if getattr(run, "is_replay_hidden", False):
            return str(_("Replay"))
        return str(_("Replay %(number)s") % {"number": run.round} if run.round else _("First"))

    @admin.display(description=_("created"))
    def shown_created_at(self, run: Run) -> str | None:
        """Return when the run was created."""
        return formatting.moment(run.created_at)

    @admin.display(description=_("started"))
    def shown_started_at(self, run: Run) -> str | None:
        """Return when the last try began."""
        return formatting.moment(run.started_at) or self.get_empty_value_display()

    @admin.display(description=_("finished"))
    def shown_finished_at(self, run: Run) -> str | None:
        """Return when the last try ended."""
        return formatting.moment(run.finished_at) or self.get_empty_value_display()

    @admin.display(description=_("duration"))
    def shown_duration(self, run: Run) -> str | None:
        """Return how long the last try took."""
        return formatting.duration(run.duration) or self.get_empty_value_display()

    @admin.display(description=_("next try"))
    def shown_next_try_at(self, run: Run) -> str | None:
        """Return when the run is tried again; nothing for one that waits for its receiver, whose column is a marker."""
        return (None if run.is_parked else formatting.moment(run.next_try_at)) or self.get_empty_value_display()

    @admin.display(description=_("held back"))
    def shown_hold(self, run: Run) -> SafeString | str:
        """Return what holds the run back: which hold, by whom, since when and why."""
        text, url = getattr(run, "shown_hold", ("", ""))
        if not text:
            return self.get_empty_value_display()
        return format_html('{} <a href="{}">{}</a>', text, url, _("Show")) if url else text

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Run | None:
        """Return the run of a page, with what holds it back."""
        run = super().get_object(request, object_id, from_field)
        if run is not None:
            hold = hold_texts([run], self.admin_site, request).get(run.pk)
            run.shown_hold = (hold.text, hold.url) if hold else ("", "")  # type: ignore[attr-defined]
            mask_errors(str(run._state.db), [run])  # noqa: SLF001 - where the run was read
        return run

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Link to the page of the run's receiver."""
        run = context.get("original")
        if run is not None:
            context["receiver_url"] = receiver_url(self.admin_site, request, run.receiver)
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description=_("error"))
    def shown_error(self, run: Run) -> str | None:
        """Return the exception of the last try."""
        return formatting.text(run.error) or self.get_empty_value_display()

    @admin.display(description=_("traceback"))
    def shown_traceback(self, run: Run) -> SafeString | str:
        """Return the traceback of the last try."""
        if not run.traceback:
            return self.get_empty_value_display()
        return format_html('<pre class="nateq-code" dir="ltr" tabindex="0">{}</pre>', formatting.visible(run.traceback))

    @admin.display(description=_("failed tries"))
    def shown_failed_tries(self, run: Run) -> SafeString | str:
        """Return the tries that failed, the latest first: when, how long, and the error."""
        return self._failed_tries(run, with_errors=True)

    @admin.display(description=_("failed tries"))
    def hidden_failed_tries(self, run: Run) -> SafeString | str:
        """Return the tries that failed without their errors."""
        return self._failed_tries(run, with_errors=False)

    def _failed_tries(self, run: Run, *, with_errors: bool) -> SafeString | str:
        alias = str(run._state.db)  # noqa: SLF001 - where the run was read
        tries = failed_tries(alias, [run], MAX_TRIES_KEPT, with_errors=with_errors)
        if not tries:
            return self.get_empty_value_display()
        if with_errors:
            mask_errors(alias, [run], tries)
        lines = ((_try_line(each), formatting.text(each.error) or "" if with_errors else "") for each in tries)
        return format_html('<ol class="nateq-tries">{}</ol>', format_html_join("", "<li>{} {}</li>", lines))

    def get_fields(self, request: HttpRequest, obj: Run | None = None) -> Any:
        """Return the fields; an error and its traceback may contain what customers wrote."""
        names = super().get_fields(request, obj)
        if may_see_payload(request):
            return names
        shown = [name for name in names if name not in _FOR_PAYLOAD_READERS]
        return [*shown, "hidden_failure", "hidden_failed_tries"]

    @admin.display(description=_("error and traceback"))
    def hidden_failure(self, run: Run) -> str:
        """Return the text that users without the permission see instead of the error and the traceback."""
        return str(_("Hidden, because they may contain what customers wrote. You need the permission to see payloads."))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """Return the runs whose delivery the user may see, with the delivery's small columns."""
        rows = super().get_queryset(request).select_related("delivery")
        rows = PermittedRows(self.admin_site, request).with_delivery(rows)
        return rows.defer("delivery__body", "delivery__payload", "delivery__headers", "delivery__notes")


def _try_line(failed: RunTry) -> SafeString:
    """Return the number of a try, when it ended and how long it took."""
    parts = [
        gettext("try %(number)s") % {"number": formatting.number(failed.number)},
        formatting.moment(failed.finished_at),
        formatting.duration(failed.duration),
    ]
    return format_html_join(" · ", "{}", ((part,) for part in parts if part is not None))


def _name_of_delivery(run: Run) -> str:
    return str(run.delivery).strip() or f"#{run.delivery_id}"
