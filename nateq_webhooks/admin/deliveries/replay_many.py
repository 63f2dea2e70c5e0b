"""The page that replays many deliveries: a few within the request, more as a job that workers carry on."""

from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.db import router, transaction
from django.http import HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks import dispatch
from nateq_webhooks.admin.deliveries.confirmation import ConfirmationPage
from nateq_webhooks.admin.deliveries.selection import SelectedDeliveries
from nateq_webhooks.admin.hold_text import pause_hint
from nateq_webhooks.admin.pages import ReasonField, admin_url
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.admin.replay_report import outcome_text, show_report
from nateq_webhooks.admin.selection_text import selection_in_words
from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.progress import progress
from nateq_webhooks.dispatch.replay_steps import start_here
from nateq_webhooks.dispatch.replays import check_receivers
from nateq_webhooks.models import Delivery, Replay
from nateq_webhooks.models.replay import ReplayedRun
from nateq_webhooks.receivers import registry

MAX_IN_REQUEST: Final = 500
"""Deliveries that are replayed within the request; more become a job."""

MAX_LOGGED: Final = 100
"""Deliveries that get an entry in their own history."""


class ReceiversField(forms.MultipleChoiceField):
    """Names of connected receivers."""

    def validate(self, value: Any) -> None:
        """Refuse a name that no receiver has, in the words of `dispatch.replay`."""
        try:
            check_receivers(value)
        except LookupError as error:
            raise ValidationError(str(error)) from None


ALL: Final = "all"
FAILED: Final = "failed"
SOME: Final = "some"


class ReplayManyForm(forms.Form):
    """Which receivers run again, and why. A form that chooses none is refused: it does not mean all."""

    which = forms.ChoiceField(
        required=False,
        choices=[
            (ALL, gettext_lazy("every receiver that is connected to the event")),
            (FAILED, gettext_lazy("those whose last run failed")),
            (SOME, gettext_lazy("these:")),
        ],
    )
    receivers = ReceiversField(required=False)
    reason = ReasonField(
        required=False,
        label=gettext_lazy("Reason"),
        widget=forms.TextInput({"class": "vTextField", "id": "nateq-reason", "maxlength": ReasonField.MAX_LENGTH}),
    )

    def clean(self) -> dict[str, Any]:
        """Refuse a form that does not say which receivers are to run, or says two things."""
        cleaned = super().clean() or self.cleaned_data
        which, named = cleaned.get("which"), cleaned.get("receivers")
        if self.errors:
            return cleaned
        if named and which in (ALL, FAILED):
            raise ValidationError(_("Receivers are ticked, but others are chosen. Choose one or the other."))
        if not named and which not in (ALL, FAILED):
            raise ValidationError(_("Choose which receivers run again."))
        return cleaned


class ReplayManyPage(ConfirmationPage):
    """The page "Replay deliveries"."""

    route = "replay-many/"
    name = "replay_many"
    manages_transactions = True  # with DISPATCH = "inline" the receivers run in this request, after the commit
    permission = "nateq_webhooks.replay_delivery"
    title = gettext_lazy("Replay deliveries")
    form_class = ReplayManyForm

    def extra_context(self, selected: SelectedDeliveries) -> dict[str, Any]:
        """Return the receivers to choose from, and whether this becomes a job."""
        picked = self.request.POST.getlist("receivers") or list(filter(None, [selected.selection.receiver]))
        return {
            "receivers": sorted({receiver.name for receiver in registry}),
            "picked": picked,
            "which": self.request.POST.get("which") or (SOME if picked else ""),
            "choices": ReplayManyForm.base_fields["which"].choices,  # type: ignore[attr-defined]
            "filters": list(selection_in_words(selected.selection, self._permitted))
            or [(_("Filter"), _("none: every delivery"))],
            "is_job": selected.count > MAX_IN_REQUEST,
            "stores_masked": bool(settings().stored_redaction),
            "pause_hint": pause_hint(self.model_admin.admin_site, self.request, picked),
        }

    def perform(self, selected: SelectedDeliveries, form: ReplayManyForm) -> HttpResponse:
        """Replay the deliveries, and show the replay's page."""
        try:
            replay = self._replay(selected, form.cleaned_data)
        except LookupError as error:
            form.add_error(None, str(error))
            return self.show_form(selected, form)
        alias = router.db_for_write(Delivery)
        start_here(alias, replay.pk)
        entry = _("Requested a replay of %(words)s.") % {"words": selected.count_text}
        self.model_admin.log_change(self.request, replay, entry)
        if url := self._replay_url(replay):
            return HttpResponseRedirect(url)
        is_job, found = selected.count > MAX_IN_REQUEST, progress(alias, replay)
        show_report(self.request, found, entry if is_job else f"{entry} {outcome_text(found)}")
        return HttpResponseRedirect(self.url("changelist"))

    def _replay(self, selected: SelectedDeliveries, chosen: Mapping[str, Any]) -> Replay:
        """Replay a few at once, or request a replay of many. Raises `LookupError` if no delivery is left."""
        receivers = chosen["receivers"] or None
        words = {"reason": chosen["reason"], "by": self.request.user.get_username()}
        only_failed = chosen["which"] == FAILED
        if selected.count > MAX_IN_REQUEST:
            return api.request_replay(selected.for_job(), receivers, only_failed=only_failed, **words)
        alias = router.db_for_write(Delivery)
        with transaction.atomic(using=alias):
            # A queryset: a delivery whose content was removed is left out, and does not stop the others.
            some = Delivery.objects.using(alias).filter(pk__in=selected.keys(MAX_IN_REQUEST))
            replay = dispatch.replay(some, receivers, only_failed=only_failed, **words)
            Replay.objects.using(alias).filter(pk=replay.pk).update(filters=selected.selection.as_json())
            self._log(alias, replay)
        return replay

    def _replay_url(self, replay: Replay) -> str:
        """Return the replay's page; empty if the user may not see it, and on a site that does not have it."""
        may_see = self._permitted.may_view(Replay, replay) and self._permitted.shows(replay)
        return admin_url(self.model_admin.admin_site, Replay, "change", replay.pk) if may_see else ""

    @property
    def _permitted(self) -> PermittedRows:
        return PermittedRows(self.model_admin.admin_site, self.request)

    def _log(self, alias: str, replay: Replay) -> None:
        """Write into the history of each delivery that it was replayed, unless it had no receiver to run.

        Read through the connection that has just written: another one, such as a replica's, can't see the rows yet.
        """
        rows = ReplayedRun.objects.using(alias).filter(replay=replay).order_by("run__delivery_id")
        keys = list(rows.values_list("run__delivery_id", flat=True).distinct()[:MAX_LOGGED])
        entry = _("Replayed (replay %(number)d).") % {"number": replay.pk}
        for delivery in Delivery.objects.using(alias).defer("payload", "headers", "body").filter(pk__in=keys):
            self.model_admin.log_change(self.request, delivery, entry)
