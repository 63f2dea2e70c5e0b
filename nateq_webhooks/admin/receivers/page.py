"""The page of one receiver, and the list of all: the connected ones, and those with unfinished runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import audit_section, formatting
from nateq_webhooks.admin.dashboard.failure_lines import failure_lines
from nateq_webhooks.admin.dashboard.failures import MAX_RUNS_READ, failures
from nateq_webhooks.admin.dashboard.summary import EMPTY, Figure, processing, span
from nateq_webhooks.admin.hold_text import pause_sentence, pause_text, rate_text
from nateq_webhooks.admin.pages import AdminPage, PauseForm, admin_url
from nateq_webhooks.admin.permissions import PermittedRows, may_pause, may_resume, may_see_payload
from nateq_webhooks.admin.receivers.control import MAX_DROPPED, drop, is_of_receiver, pause
from nateq_webhooks.admin.receivers.figures import CappedCount, ReceiverFigures, counts, known_receivers, read_figures
from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.holds import HoldState, read_holds
from nateq_webhooks.dispatch.pauses import webhook_names
from nateq_webhooks.models import Run, Webhook
from nateq_webhooks.models.hold import Hold, receiver_scope, scope_parts
from nateq_webhooks.receivers import ANY_EVENT, MAX_NAME, registry

MAX_LISTED: Final = 100
"""Receivers of the list; a site has a few, and its code names all but those of unfinished runs."""

LISTED_STATUSES: Final = (Run.Status.WAITING, Run.Status.RUNNING, Run.Status.FAILED, Run.Status.DEAD)
"""The statuses that the list counts: what is still to be done, and what failed for good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PauseLine:
    """A pause that holds a receiver's runs back."""

    label: str
    "Whether it holds all of the receiver's runs back, or those of one webhook."
    text: SafeString
    hold: Hold
    may_resume: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusLine:
    """How many of a receiver's runs have a status, with the address of their list."""

    label: str
    symbol: str
    level: str
    number: str
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiverLine:
    """A receiver in the list."""

    name: str
    url: str
    is_connected: bool
    events: str
    counts: Sequence[StatusLine]
    has_failed: bool
    "Whether runs have failed for good."
    pauses: Sequence[PauseLine]


class _ReceiversPage(AdminPage):
    """What both pages have in common: they are for users who may see runs."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Check the permission before any method runs."""
        if not self.model_admin.has_view_permission(request):
            raise PermissionDenied
        self.site = self.model_admin.admin_site
        self.permitted = PermittedRows(self.site, request)
        return super().dispatch(request, *args, **kwargs)

    def pauses(self, state: HoldState, receiver: str) -> list[PauseLine]:
        """Return the pauses that hold a receiver's runs back; of webhooks those that the user may see."""
        holds = [hold for hold in state.paused if is_of_receiver(hold, receiver)]
        sees = self.permitted.may_view(Webhook)
        names = webhook_names(self.permitted.of(Webhook), holds) if sees else {}
        shown = [hold for hold in holds if scope_parts(hold.scope)[0] in {"", *names}]
        return [self._pause_line(hold, names) for hold in shown]

    def _pause_line(self, hold: Hold, names: dict[str, str]) -> PauseLine:
        webhook, _receiver = scope_parts(hold.scope)
        name = names.get(webhook, "")
        return PauseLine(
            label=_("Partly paused") if webhook else _("Paused"),
            text=pause_text(pause_sentence(hold, name), hold),
            hold=hold,
            may_resume=may_resume(hold.scope, self.permitted, self.request),
        )

    def status_lines(self, by_status: dict[str, CappedCount], receiver: str) -> list[StatusLine]:
        """Return a line for each status, in the order of the model."""
        return [self._status_line(Run.Status(status), count, receiver) for status, count in by_status.items()]

    def _status_line(self, status: Run.Status, count: CappedCount, receiver: str) -> StatusLine:
        style = formatting.STATUS_STYLES[status]
        return StatusLine(
            label=str(status.label),
            symbol=style.symbol,
            level=style.level,
            number=formatting.capped(count.number, is_capped=count.is_capped),
            url=admin_url(self.site, Run, "changelist", status__exact=status, receiver=receiver),
        )


class ReceiversPage(_ReceiversPage):
    """The list of all receivers."""

    route = "receivers/"
    name = "receivers"

    def get(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002
        """Show each receiver with its unfinished runs, those that failed for good, and what holds it back."""
        rows = self.permitted.of(Run).order_by().select_related(None)
        state = read_holds(router.db_for_write(Hold))
        names = known_receivers(rows)
        lines = [self._line(rows, state, name) for name in names[:MAX_LISTED]]
        return self.render(
            "receiver/list",
            _("Receivers"),
            lines=lines,
            has_failed=any(line.has_failed for line in lines),
            has_more=len(names) > MAX_LISTED,
        )

    def _line(self, rows: Any, state: HoldState, name: str) -> ReceiverLine:
        by_status = counts(rows, name, *LISTED_STATUSES)
        return ReceiverLine(
            name=formatting.visible(name),
            url=self.url("receiver", name=name),
            is_connected=registry.get(name) is not None,
            events=_events(name),
            counts=self.status_lines(by_status, name),
            has_failed=Run.Status.DEAD in by_status,
            pauses=self.pauses(state, name),
        )


class ReceiverPage(_ReceiversPage):
    """The page of one receiver; `name` in the address is its name."""

    route = "receiver/"
    name = "receiver"
    manages_transactions = True  # each run is dropped in a transaction of its own

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show what it gets, how its runs go, what waits and what holds it back."""
        return self._show(PauseForm(), is_asking="drop" in request.GET)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Pause the receiver, or drop what waits for it while it is unknown."""
        if not may_pause(self.permitted, request):
            raise PermissionDenied
        match request.POST.get("action"):
            case "pause":
                form = PauseForm(request.POST)
                if not form.is_valid():
                    return self._show(form)
                pause(request, self._receiver(), form)
            case "drop" if request.POST.get("confirmed") == "yes":
                drop(request, self._receiver())
            case "drop":
                return self._show(PauseForm(), is_asking=True)
            case _:
                return self._show(PauseForm())
        return HttpResponseRedirect(self.url("receiver", name=self._receiver()))

    def _receiver(self) -> str:
        """Return the name in the address. Raises `Http404` if no receiver and no run has it."""
        name = self.request.GET.get("name", "")
        if not name or len(name) > MAX_NAME or "\0" in name:
            raise Http404(_("There is no such receiver."))
        has_runs = self.permitted.of(Run).order_by().filter(status__in=Run.Status.values, receiver=name).exists()
        is_held = Hold.objects.using(router.db_for_write(Hold)).filter(scope=receiver_scope(name)).exists()
        if registry.get(name) is None and not has_runs and not is_held:
            raise Http404(_("There is no such receiver."))
        return name

    def _show(self, form: PauseForm, *, is_asking: bool = False) -> HttpResponse:
        name = self._receiver()
        state = read_holds(router.db_for_write(Hold))
        figures = read_figures(self.permitted.of(Run), name, timezone.now(), state.paused_pks)
        groups = failures(with_text=may_see_payload(self.request), among=self.permitted, receiver=name)
        pauses = self.pauses(state, name)
        may = may_pause(self.permitted, self.request)
        return self.render(
            "receiver/page",
            formatting.visible(name),
            facts=list(_facts(name)),
            is_connected=registry.get(name) is not None,
            figures=list(_figures(figures)),
            counts=self.status_lines(dict(figures.by_status), name),
            failures=groups,
            failure_lines=failure_lines(groups, self.site, self.request),
            failure_limit=formatting.number(MAX_RUNS_READ),
            pauses=pauses,
            form=form,
            may_pause=may and all(line.hold.scope != receiver_scope(name) for line in pauses),
            may_drop=may and bool(figures.parked),
            is_asking=is_asking and may and bool(figures.parked),
            parked=formatting.number(figures.parked),
            drop_limit=formatting.number(MAX_DROPPED),
            page_url=self.url("receiver", name=name),
            audit=audit_section.of_receiver(name, self.site, self.permitted),
        )


def _facts(name: str) -> list[tuple[str, str]]:
    """Return what the code and the settings say about a receiver: label and text."""
    known, conf = registry.get(name), settings()
    facts = [(_("Events"), _events(name))]
    if known is not None:
        facts.append(
            (
                _("Transaction"),
                _("Its work and its result are committed together.")
                if known.atomic
                else _("It runs outside a transaction (atomic=False)."),
            )
        )
    facts.append((_("Order"), _("By %(path)s") % {"path": conf.ordered_by} if conf.ordered_by else _("none")))
    rate = conf.rate_limits.get(name)
    facts.append((_("Rate limit"), rate_text(rate) if rate is not None else _("none")))
    facts.append((_("Circuit breaker"), _breaker(conf.breaker_after)))
    return facts


def _breaker(after: int) -> str:
    if not after:
        return _("off")
    words = {"number": formatting.number(after), "time": span(settings().breaker_pause)}
    return _("after %(number)s failures in a row; then one run every %(time)s") % words


def _events(name: str) -> str:
    if registry.get(name) is None:
        return EMPTY
    events = registry.events_of(name)
    return _("every event") if ANY_EVENT in events else _(", ").join(sorted(map(formatting.visible, events)))


def _figures(figures: ReceiverFigures) -> list[Figure]:
    now, times = timezone.now(), figures.times
    timed = (
        _("From starting the receiver until it ended; its newest %(number)s finished runs.")
        % {"number": formatting.number(times.number)}
        if times
        else _("No run has finished.")
    )
    oldest = _("The oldest for %(time)s.") % {"time": span(now - figures.oldest)} if figures.oldest else ""
    parts = [
        Figure(label=_("Due"), value=formatting.capped(figures.due, is_capped=figures.is_capped), meaning=oldest),
        Figure(label=_("To be tried later"), value=formatting.capped(figures.later, is_capped=figures.is_capped)),
        *([_held(figures)] if figures.held else []),
        Figure(label=_("Duration, p50"), value=processing(times, "median"), meaning=timed),
        Figure(label=_("Duration, p95"), value=processing(times, "p95"), meaning=timed),
    ]
    if figures.parked:
        parts.append(
            Figure(label=str(_WAITS), value=formatting.capped(figures.parked, is_capped=figures.is_capped), level="bad")
        )
    return parts


def _held(figures: ReceiverFigures) -> Figure:
    number = formatting.capped(figures.held, is_capped=figures.is_capped)
    meaning = _("By a pause, or an earlier delivery of the same key.")
    return Figure(label=_("Held back"), value=number, meaning=meaning, level="bad")


_WAITS: Final = gettext_lazy("Waits for an unknown receiver")
