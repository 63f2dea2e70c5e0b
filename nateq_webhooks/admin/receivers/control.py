"""Pausing and resuming a receiver, and dropping the runs that wait for one that is unknown: each a POST."""

from typing import Any, Final

from django import forms
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks import dispatch
from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.pages import AdminPage, PauseForm
from nateq_webhooks.admin.permissions import PermittedRows, may_resume
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.pauses import named_scopes, resume_scope
from nateq_webhooks.dispatch.progress import worker_advice
from nateq_webhooks.dispatch.replay_steps import start_due_here
from nateq_webhooks.dispatch.status import due_runs
from nateq_webhooks.models import Run
from nateq_webhooks.models.hold import Hold, scope_parts
from nateq_webhooks.protocol.invisible_chars import visible

MAX_DROPPED: Final = 500
"""Runs that are dropped by one click: each is a transaction of its own."""


class ResumeForm(forms.Form):
    """What to resume, and where the button was."""

    hold = forms.IntegerField()
    next = forms.CharField(required=False)


class ResumePage(AdminPage):
    """Ends one pause, whatever it is about: the button of the dashboard and of the receivers' pages."""

    route = "resume/"
    name = "resume"
    http_method_names = ["post"]
    manages_transactions = True

    def post(self, request: HttpRequest) -> HttpResponse:
        """Resume what the posted hold pauses, and go back."""
        form = ResumeForm(request.POST)
        alias = router.db_for_write(Hold)
        hold = Hold.objects.using(alias).filter(pk=form.cleaned_data["hold"]).first() if form.is_valid() else None
        permitted = PermittedRows(self.model_admin.admin_site, request)
        may_see = self.model_admin.has_view_permission(request)
        if not may_see or (hold is not None and not may_resume(hold.scope, permitted, request)):
            raise PermissionDenied
        if hold is None or not hold.is_paused:
            messages.warning(request, _("It was not paused."))
        else:
            resume_scope(alias, hold.scope)
            log(request, named_scopes(alias, [hold])[hold.pk], _("Resumed"))
            report_resumed(request, alias)
        return self._back(form.cleaned_data.get("next", ""))

    def _back(self, address: str) -> HttpResponse:
        """Return to the page with the button, on this site only."""
        is_ours = url_has_allowed_host_and_scheme(address, allowed_hosts=None)
        return HttpResponseRedirect(address if is_ours and address.startswith("/") else self.url("receivers"))


def report_resumed(request: HttpRequest, alias: str) -> None:
    """Say that runs start again, start what nobody else would, and say what is missing for the rest."""
    start_due_here(alias)
    messages.success(request, _("Resumed. Waiting runs start in the order in which they came."))
    if due_runs(Run.objects.using(alias), timezone.now()).exists() and (advice := worker_advice(alias)):
        messages.warning(request, advice)


def pause(request: HttpRequest, receiver: str, form: PauseForm) -> None:
    """Pause a receiver for the reason in a valid form."""
    dispatch.pause(receiver=receiver, reason=form.cleaned_data["reason"], by=request.user.get_username())
    log(request, receiver, _("Paused: %(reason)s") % {"reason": form.cleaned_data["reason"]})
    text = _("Paused. Deliveries are stored; this receiver is not started for them until it is resumed.")
    messages.success(request, text)


def drop(request: HttpRequest, receiver: str) -> None:
    """Drop runs that wait for an unknown receiver, `MAX_DROPPED` at most."""
    dropped = api.drop(router.db_for_write(Run), receiver, limit=MAX_DROPPED)
    log(request, receiver, _("Dropped what waits for an unknown receiver: %(number)s") % {"number": dropped})
    text = ngettext("%(number)s run was dropped.", "%(number)s runs were dropped.", dropped)
    messages.success(request, text % {"number": formatting.number(dropped)})
    if dropped == MAX_DROPPED:
        messages.warning(request, _("There may be more of them. Drop them, too, if that is what you want."))


def log(request: HttpRequest, name: str, change: str) -> None:
    """Add what was done to the admin's history. A receiver is no row, so the entry only has its name."""
    entry: dict[str, Any] = {
        "user_id": request.user.pk,
        "content_type": ContentType.objects.get_for_model(Run),
        "object_repr": visible(name)[:200],
        "action_flag": CHANGE,
        "change_message": change,
    }
    LogEntry.objects.create(**entry)


def is_of_receiver(hold: Hold, receiver: str) -> bool:
    """Return whether a hold may hold a receiver's runs back: its own, that of everything, or a webhook's."""
    return scope_parts(hold.scope)[1] in {"", receiver}
