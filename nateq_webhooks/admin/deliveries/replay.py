"""The page that has one delivery run again: by every receiver, by those that failed, or by one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django import forms
from django.db import router, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from nateq_webhooks import dispatch
from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries.view import DeliveryView, title_of
from nateq_webhooks.admin.hold_text import pause_hint
from nateq_webhooks.admin.pages import ReasonField
from nateq_webhooks.admin.permissions import may_replay
from nateq_webhooks.admin.replay_report import held_back, outcome_text, show_report
from nateq_webhooks.dispatch.create import connected_receivers
from nateq_webhooks.dispatch.progress import outcome, progress
from nateq_webhooks.dispatch.replay_steps import start_here
from nateq_webhooks.models import Delivery, Replay, Run
from nateq_webhooks.models.unredacted_body import UnredactedBody

ALL = "all"
FAILED = "failed"
ONE = "one"

MAX_RUNS_READ = 1_000
"""The newest runs of a delivery that are read to find the receivers that failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiverChoice:
    """Which receivers are to run again."""

    which: str
    names: Sequence[str]
    "The receivers that are connected to the event."
    disconnected: Sequence[str] = ()
    "The receivers that failed and are not connected any more."
    pending: Sequence[Run] = ()
    "The runs that have not finished: their receivers are not run again."

    @property
    def may_start(self) -> bool:
        """Whether one of the pending runs has not started, so that a button of the delivery's page may start it."""
        return any(run.status in Run.PENDING for run in self.pending)


class ReplayForm(forms.Form):
    """Which receivers run again, and why."""

    which = forms.ChoiceField(required=False, choices=[(name, name) for name in ("", ALL, FAILED, ONE)])
    receiver = forms.CharField(required=False, strip=False)
    reason = ReasonField(
        required=False,
        label=gettext_lazy("Why (kept with the replay)"),
        widget=forms.TextInput(
            {"class": "vTextField", "id": "nateq-reason", "dir": "auto", "maxlength": ReasonField.MAX_LENGTH}
        ),
    )


class ReplayPage(DeliveryView):
    """The page that asks before a delivery runs again."""

    route = "<int:pk>/replay/"
    name = "replay"
    manages_transactions = True  # with DISPATCH = "inline" the receivers run in this request, after the commit

    def is_allowed(self, request: HttpRequest) -> bool:
        """Return whether the user may have receivers run again."""
        return may_replay(request)

    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask: `which` is `all`, `failed` or `one`, whose name is `receiver`."""
        delivery = self.get_delivery(pk)
        return self._confirm(delivery, _receiver_choice(delivery, ReplayForm(request.GET)))

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Replay the delivery, if there is a receiver to run. A form that does not say which means none, not all."""
        delivery = self.get_delivery(pk)
        form = ReplayForm(request.POST)
        if not request.POST.get("which"):
            raise Http404
        choice = _receiver_choice(delivery, form)
        if not choice.names:
            return self._confirm(delivery, choice)
        self._replay(delivery, choice, form.cleaned_data["reason"])
        return HttpResponseRedirect(self.url("change", pk))

    def _confirm(self, delivery: Delivery, choice: ReceiverChoice) -> HttpResponse:
        return self.render(
            "delivery/replay",
            _("Run it again"),
            name=title_of(delivery),
            original=delivery,
            gets_masked=_gets_masked(delivery),
            choice=choice,
            receivers=[formatting.visible(name) for name in choice.names],
            disconnected=[formatting.visible(name) for name in choice.disconnected],
            pending=[(formatting.visible(run.receiver), formatting.badge(run)) for run in choice.pending],
            form=ReplayForm(),
            pause_hint=pause_hint(self.model_admin.admin_site, self.request, choice.names) if choice.names else None,
        )

    def _replay(self, delivery: Delivery, choice: ReceiverChoice, reason: str) -> None:
        """Make the runs and the entry in the history, both or neither, and report the outcome."""
        alias, by = router.db_for_write(Delivery), self.request.user.get_username()
        with transaction.atomic(using=alias):
            # By name, not all: what runs is what the page has listed.
            replay = dispatch.replay(
                [delivery.pk], choice.names, by=by, reason=reason, only_failed=choice.which == FAILED
            )
            entry = _("Replayed with %(receivers)s (replay %(number)s: %(outcome)s). %(reason)s") % {
                "receivers": _(", ").join(map(formatting.visible, choice.names)),
                "number": replay.pk,
                "outcome": outcome(replay),
                "reason": formatting.visible(reason),
            }
            self.model_admin.log_change(self.request, delivery, entry.strip())
        start_here(alias, replay.pk)
        found = progress(alias, replay)
        show_report(self.request, found, outcome_text(found))


def _gets_masked(delivery: Delivery) -> bool:
    """Return whether receivers get masked values: they were masked before storing, and the whole body is gone."""
    if delivery.content_change != Delivery.ContentChange.REDACTION:
        return False
    return not UnredactedBody.objects.using(router.db_for_write(Delivery)).filter(delivery=delivery.pk).exists()


class TryNowForm(forms.Form):
    """Whose pending run is brought forward; nobody named: that of each receiver."""

    receiver = forms.CharField(required=False, strip=False)


class TryNowPage(DeliveryView):
    """The button "Try now": brings pending runs forward, and makes no run. The runner may run them in this request."""

    route = "<int:pk>/try-now/"
    name = "try_now"
    manages_transactions = True
    http_method_names = ["post"]

    def is_allowed(self, request: HttpRequest) -> bool:
        """Return whether the user may have receivers run again."""
        return may_replay(request)

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Bring the runs forward, and say how many; a run that has finished meanwhile does not run again."""
        delivery = self.get_delivery(pk)
        form = TryNowForm(request.POST)
        if not form.is_valid():
            raise Http404
        name = form.cleaned_data["receiver"]
        if name and name not in connected_receivers(delivery):
            raise Http404
        alias, names = router.db_for_write(Delivery), [name] if name else None
        with transaction.atomic(using=alias):
            replay = dispatch.try_now([delivery.pk], names, by=request.user.get_username())
            text = _tried_now(replay) + held_back(progress(alias, replay))
            self.model_admin.log_change(request, delivery, text)
        start_here(alias, replay.pk)
        show_report(request, progress(alias, replay), text)
        return HttpResponseRedirect(self.url("change", pk))


def _tried_now(replay: Replay) -> str:
    if not replay.brought_forward:
        others = outcome(replay) if replay.already_running or replay.disconnected else ""
        text = _("Try now: no run waits for a try any more (%(others)s).")
        return text % {"others": others} if others else _("Try now: no run waits for a try any more.")
    text = ngettext(
        "Try now: the next try of %(number)s run is now.",
        "Try now: the next try of %(number)s runs is now.",
        replay.brought_forward,
    )
    return text % {"number": formatting.number(replay.brought_forward)}


def given_up(newest_runs: Mapping[str, Run]) -> list[str]:
    """Return the receivers whose newest run failed for good."""
    return [name for name, run in newest_runs.items() if run.status == Run.Status.DEAD]


def again(names: Sequence[str], newest_runs: Mapping[str, Run]) -> list[str]:
    """Return those of the receivers that may run again: their newest run has finished, or there is none."""
    return [name for name in names if name not in newest_runs or newest_runs[name].status in Run.FINISHED]


def _receiver_choice(delivery: Delivery, form: ReplayForm) -> ReceiverChoice:
    """Return who is to run. Raises `Http404` if the form names no receiver that there is."""
    if not form.is_valid():
        raise Http404
    which, receiver = form.cleaned_data["which"] or ALL, form.cleaned_data["receiver"]
    connected = connected_receivers(delivery)
    newest: dict[str, Run] = {}
    for run in delivery.runs.order_by("-round", "pk").only("receiver", "status")[:MAX_RUNS_READ]:
        newest.setdefault(run.receiver, run)
    names = again(connected, newest)
    failed = given_up(newest)
    disconnected = [name for name in failed if name not in connected]
    if which == FAILED:
        return ReceiverChoice(which=which, names=[name for name in names if name in failed], disconnected=disconnected)
    if which == ONE:
        if receiver not in connected:
            raise Http404
        names, connected, disconnected = [name for name in names if name == receiver], [receiver], []
    pending = [newest[name] for name in connected if name not in names]
    return ReceiverChoice(which=which, names=names, disconnected=disconnected, pending=pending)
