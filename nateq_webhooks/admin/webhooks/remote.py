"""The page that compares a webhook with Nateq, registers it, and reconciles differences. It shows no secret and no key.

A GET changes nothing at Nateq; here it only sets the expiry of former secrets. Each change is a POST that is confirmed
by a user who may change webhooks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks import remote
from nateq_webhooks.admin.permissions import may_reveal_secret
from nateq_webhooks.admin.webhooks.page import WebhookPage
from nateq_webhooks.errors import ApiError
from nateq_webhooks.models import Webhook
from nateq_webhooks.remote.connection import key_warnings
from nateq_webhooks.remote.drift import not_visible_text
from nateq_webhooks.remote.error_text import localized

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """A button: its label, its question, its success message, and the function that it runs.

    The function returns False if it could not do everything; `left` is the message for that.
    """

    name: str
    label: str | Promise
    question: str | Promise
    done: str | Promise
    run: "Callable[[NateqClient, Webhook], object]"
    left: str | Promise = ""
    replaces_secret: bool = False
    "Whether the webhook gets another signing secret, which needs the permission `reveal_secret`."


_PUSH: Final = "push"

ACTIONS: Final = {
    action.name: action
    for action in (
        Action(
            name="register",
            label=gettext_lazy("Register with Nateq"),
            question=gettext_lazy("This creates the webhook at Nateq and saves its id and signing secret here."),
            done=gettext_lazy("The webhook is registered with Nateq. Its signing secret was saved."),
            run=remote.register_existing,
            replaces_secret=True,
        ),
        Action(
            name=_PUSH,
            label=gettext_lazy("Push our settings to Nateq"),
            question=gettext_lazy("This changes the webhook at Nateq: its URL, its events and whether it is active."),
            done=gettext_lazy("Nateq has our settings now."),
            run=lambda client, webhook: remote.reconcile(client, webhook, remote.Direction.PUSH),
        ),
        Action(
            name="pull",
            label=gettext_lazy("Pull Nateq's settings"),
            question=gettext_lazy("This changes the webhook here: its events and whether it is active."),
            done=gettext_lazy("This webhook has Nateq's settings now."),
            run=lambda client, webhook: remote.reconcile(client, webhook, remote.Direction.PULL),
            left=gettext_lazy(
                "Not everything could be taken from Nateq: this site's URL follows from PUBLIC_URL, and a further "
                "webhook at Nateq can only be deleted there. Push our settings to Nateq, or correct PUBLIC_URL."
            ),
        ),
        Action(
            name="register_again",
            label=gettext_lazy("Register again"),
            question=gettext_lazy(
                "Nateq does not have this webhook any more. This creates it there again, and saves its new id and "
                "signing secret here."
            ),
            done=gettext_lazy("The webhook is registered with Nateq. Its signing secret was saved."),
            run=lambda client, webhook: remote.reconcile(client, webhook, remote.Direction.PUSH),
            replaces_secret=True,
        ),
        Action(
            name="switch_off",
            label=gettext_lazy("Switch it off here"),
            question=gettext_lazy("Nateq does not have this webhook any more. This switches it off here, too."),
            done=gettext_lazy("The webhook is switched off."),
            run=lambda client, webhook: remote.reconcile(client, webhook, remote.Direction.PULL),
        ),
        Action(
            name="reregister",
            label=gettext_lazy("Nateq has deleted it: register it again"),
            question=gettext_lazy(
                "The API key does not see this webhook. If Nateq has deleted it, this creates it there again, with a "
                "new signing secret. If it belongs to another organization, don't do this, because its deliveries "
                "would be refused."
            ),
            done=gettext_lazy("The webhook is registered with Nateq. Its signing secret was saved."),
            run=lambda client, webhook: remote.reconcile(client, webhook, remote.Direction.PUSH, is_gone=True),
            replaces_secret=True,
        ),
        Action(
            name="rotate",
            label=gettext_lazy("Have Nateq make a new secret"),
            question=gettext_lazy(
                "This has Nateq make a new signing secret. The former one is accepted until a delivery uses the new "
                "one, and a while longer for late retries."
            ),
            done=gettext_lazy("The webhook has a new signing secret, which was saved."),
            run=remote.rotate,
            replaces_secret=True,
        ),
    )
}


class ActionForm(forms.Form):
    """The action that a button names, and whether it is confirmed."""

    action = forms.ChoiceField(choices=[(name, name) for name in ACTIONS])
    confirmed = forms.CharField(required=False)


_OFFERED: Final[dict[str, tuple[str, ...]]] = {
    Webhook.Registration.MANUAL: ("register",),
    Webhook.Registration.PENDING: ("register",),
    Webhook.Registration.ROTATING: ("rotate",),
}
"""The buttons of a webhook that is not registered, or not completely."""

_GONE: Final = ("register_again", "switch_off")
"""The buttons of a registered webhook that Nateq does not have any more."""

_NOT_VISIBLE: Final[dict[remote.DriftState, tuple[str, ...]]] = {
    remote.DriftState.NOT_VISIBLE: ("reregister",),
    remote.DriftState.OTHER_ORGANIZATION: (),
}
"""The buttons of a registered webhook that the API key does not show."""

_WORDS: Final = {
    "url": gettext_lazy("URL"),
    "events": gettext_lazy("events"),
    "is_active": gettext_lazy("active"),
}


class RemotePage(WebhookPage):
    """The page "At Nateq"."""

    route = "<path:object_id>/remote/"
    name = "remote"
    manages_transactions = True  # each step of a registration must be committed before the next one

    def get(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002
        """Show the webhook beside Nateq's, with what can be done. One that is not registered has nothing to compare."""
        context: dict[str, Any] = {}
        offered = _OFFERED.get(self.webhook.registration)
        if offered is None:
            try:
                context, offered = self._compare()
            except (ApiError, remote.RemoteError) as error:
                context, offered = {"error": localized(error)}, ()
        may_replace = may_reveal_secret(request)
        actions = [ACTIONS[name] for name in offered]
        return self._show(actions=[each for each in actions if may_replace or not each.replaces_secret], **context)

    def post(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002
        """Do what was posted, once it is confirmed."""
        form = ActionForm(request.POST)
        if not form.is_valid():
            messages.error(request, _("There is no such action."))
            return HttpResponseRedirect(request.path)
        action = ACTIONS[form.cleaned_data["action"]]
        if action.replaces_secret and not may_reveal_secret(request):
            raise PermissionDenied
        return self._run(action) if form.cleaned_data["confirmed"] == "yes" else self._show(action=action)

    def _compare(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return what the template shows of the comparison, and the names of the actions to offer."""
        with remote.connect(self.webhook) as client:
            remote.retire_secrets()
            drift = remote.compare_one(client, self.webhook)
            context = {
                "is_compared": True,
                "is_gone": drift.state is remote.DriftState.GONE,
                "not_visible": not_visible_text(drift) if drift.state in _NOT_VISIBLE else "",
                "needs_nothing": drift.needs_nothing,
                "differences": [
                    {"label": _WORDS[each.name], "here": each.here, "there": each.there} for each in drift.differences
                ],
                "extra": drift.extra,
                "warnings": list(key_warnings(client)),
            }
        if drift.state in _NOT_VISIBLE:
            return context, _NOT_VISIBLE[drift.state]
        if drift.state is remote.DriftState.GONE:
            return context, _GONE
        return context, ("rotate",) if drift.needs_nothing else ("push", "pull", "rotate")

    def _run(self, action: Action) -> HttpResponse:
        """Run the action, and report the outcome on the webhook's page."""
        request, webhook = self.request, self.webhook
        try:
            with remote.connect(webhook) as client:
                for warning in key_warnings(client):
                    messages.warning(request, warning)
                if action.name == _PUSH and not may_reveal_secret(request):
                    _refuse_registration(client, webhook)
                is_complete = action.run(client, webhook) is not False
        except (ApiError, remote.RemoteError) as error:
            messages.error(request, format_html("<bdi>{}</bdi>", localized(error)))
            return HttpResponseRedirect(request.path)
        entry = {"fields": [action.name], "name": _("webhook at Nateq"), "object": str(webhook)}
        self.model_admin.log_change(request, webhook, [{"changed": entry}])
        if is_complete:
            messages.success(request, str(action.done))
        else:
            messages.warning(request, str(action.left))
        return self.back()

    def _show(self, **context: Any) -> HttpResponse:
        return self.page("remote", _("At Nateq"), **context)


def _refuse_registration(client: "NateqClient", webhook: Webhook) -> None:
    """Raise `PermissionDenied` if Nateq has no such webhook: it would be registered again, with another secret."""
    is_registered = webhook.registration == Webhook.Registration.REGISTERED
    if not is_registered or remote.compare_one(client, webhook).state is remote.DriftState.GONE:
        raise PermissionDenied
