"""Having one delivery run again: by every receiver, by those that failed, or by one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from nateq_webhooks import dispatch
from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries.payload_pages import PayloadPageAdmin, title_of
from nateq_webhooks.admin.deliveries.timeline import FAILING
from nateq_webhooks.admin.permissions import may_replay
from nateq_webhooks.dispatch.deliveries import event_name
from nateq_webhooks.dispatch.progress import nobody_runs, outcome
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.receivers import registry

ALL = "all"
FAILED = "failed"
ONE = "one"

MAX_REASON = 500
"""Characters that the column holds."""

MAX_RUNS_READ = 1_000
"""Newest runs of a delivery that are looked at to tell which receivers failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which receivers are to run again."""

    which: str
    names: Sequence[str]
    "Those that are connected to the event."
    gone: Sequence[str] = ()
    "Those that failed, and are connected no more."


class ReplayPageAdmin(PayloadPageAdmin):
    """The page that asks before a delivery runs again. It needs `replay_delivery`."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page that asks."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_replay"
        return [path("<int:pk>/replay/", self.admin_site.admin_view(self.replay_view), name=name), *super().get_urls()]

    def replay_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask (GET), or have it run again (POST): `which` is `all`, `failed` or `one`, whose name is `receiver`."""
        if not self.has_view_permission(request) or not may_replay(request):
            raise PermissionDenied
        delivery = get_object_or_404(self.get_queryset(request).defer("payload"), pk=pk)
        if not self.has_view_permission(request, delivery):
            raise PermissionDenied
        asked = request.POST if request.method == "POST" else request.GET
        choice = _choice(delivery, asked.get("which", ALL), asked.get("receiver", ""))
        if request.method == "POST" and choice.names:
            self._replay(request, delivery, choice, asked.get("reason", "").replace("\0", "").strip()[:MAX_REASON])
            return HttpResponseRedirect(self.url_of("change", pk))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Run it again"),
            "name": title_of(delivery),
            "original": delivery,
            "opts": self.opts,
            "choice": choice,
            "receivers": [formatting.visible(name) for name in choice.names],
            "gone": [formatting.visible(name) for name in choice.gone],
            "max_reason": MAX_REASON,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/nateq_webhooks/delivery/replay.html", context)

    def _replay(self, request: HttpRequest, delivery: Delivery, choice: Choice, reason: str) -> None:
        """Make the runs and the entry in the history, both or neither, and tell."""
        by = request.user.get_username()
        with transaction.atomic(using=router.db_for_write(Delivery)):
            # Named, not "all": what runs is what the page that asked has listed.
            replay = dispatch.replay([delivery.pk], choice.names, by=by, reason=reason)
            told = _("Had it run again by %(receivers)s (replay %(number)s: %(outcome)s). %(reason)s") % {
                "receivers": ", ".join(map(formatting.visible, choice.names)),
                "number": replay.pk,
                "outcome": outcome(replay),
                "reason": formatting.visible(reason),
            }
            self.log_change(request, delivery, told.strip())
        text = _("Replay %(number)s: %(outcome)s.") % {"number": replay.pk, "outcome": outcome(replay)}
        level = messages.SUCCESS if replay.runs or replay.brought_forward else messages.WARNING
        self.message_user(request, text, level)
        if advice := nobody_runs(router.db_for_write(Delivery), [replay]):
            self.message_user(request, advice, messages.WARNING)


def connected(delivery: Delivery) -> list[str]:
    """Return the names of the receivers that can run for a delivery; none for one that can't be read."""
    if delivery.status == Delivery.Status.INVALID:
        return []
    return [receiver.name for receiver in registry.for_event(event_name(delivery))]


def failing(newest_runs: Mapping[str, Run]) -> list[str]:
    """Return the receivers whose newest run has failed."""
    return [name for name, run in newest_runs.items() if run.status in FAILING]


def _choice(delivery: Delivery, which: str, receiver: str) -> Choice:
    """Return who is to run. Raises `Http404` for a choice that there is not."""
    names = connected(delivery)
    if which == ALL:
        return Choice(which=which, names=names)
    if which == ONE and receiver in names:
        return Choice(which=which, names=[receiver])
    if which != FAILED:
        raise Http404
    newest: dict[str, Run] = {}
    for run in delivery.runs.order_by("-round", "pk").only("receiver", "status")[:MAX_RUNS_READ]:
        newest.setdefault(run.receiver, run)
    failed = failing(newest)
    return Choice(
        which=which,
        names=[name for name in names if name in failed],
        gone=[name for name in failed if name not in names],
    )
