"""The forms of a webhook and of a further secret. A secret can be entered, but is never shown.

No field is called `secret` like the model's column: the admin would show it to users who may only view.
"""

import re
from typing import Any, Final, TypeVar

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.admin.generics import ModelForm
from nateq_webhooks.admin.input_labels import label_inputs
from nateq_webhooks.conf import settings
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.models.event_type import known_events
from nateq_webhooks.models.secret_model import check_secret
from nateq_webhooks.protocol.secret_text import SecretText

Owner = TypeVar("Owner", Webhook, Secret)

_BETWEEN_NAMES: Final = re.compile(r"[\s,;،]+")


class SecretField(forms.CharField):
    """A write-only field for a signing secret: it renders no value, and browsers don't fill it in."""

    def __init__(self, **options: Any) -> None:
        attributes = {"autocomplete": "new-password", "spellcheck": "false", "dir": "ltr", "class": "vTextField"}
        widget = forms.PasswordInput(render_value=False, attrs=attributes)
        super().__init__(max_length=255, widget=widget, **options)

    def to_python(self, value: Any) -> str:
        """Return the secret as text whose repr does not show it."""
        return SecretText(super().to_python(value))

    def validate(self, value: str) -> None:
        """Refuse a secret that is not valid."""
        super().validate(value)
        if value:
            try:
                check_secret(value)
            except ValidationError as error:
                raise ValidationError(error.messages) from None


class SecretEntryForm(ModelForm[Owner]):
    """A form that can set its object's secret, and does not show it."""

    new_secret = SecretField(label=_("Signing secret"), required=False)

    class Meta:
        exclude = ["secret"]

    def clean(self) -> dict[str, Any]:
        """Set the object's secret before the model validates it."""
        cleaned = super().clean() or self.cleaned_data
        if secret := cleaned.get("new_secret"):
            self.instance.secret = secret
        return cleaned

    def add_error(self, field: str | None, error: Any) -> None:
        """Move the model's errors about `secret` to the field that the user sees.

        Without that field the errors are dropped: the user can't correct the secret, but may change the rest.
        """
        found = getattr(error, "error_dict", {})
        complaint = found.pop("secret", None) if field is None else None
        if complaint and "new_secret" in self.fields and "new_secret" not in self.errors:
            found["new_secret"] = complaint
        if field is not None or not isinstance(error, ValidationError) or complaint is None or found:
            super().add_error(field, error)


class OlderSecretForm(SecretEntryForm[Secret]):
    """A further secret that the webhook accepts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_secret"].required = self.instance.pk is None
        for field in self.fields.values():
            label_inputs(field)


class WebhookForm(SecretEntryForm[Webhook]):
    """A webhook: published events to tick, other events by name, and a secret, which is pasted or generated."""

    events = forms.MultipleChoiceField(
        label=_("Events"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_(
            "Receivers run for these events; if you choose none, for every event. "
            "Deliveries of other events are stored as ignored."
        ),
    )
    other_events = forms.CharField(
        label=_("Other events"),
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField", "dir": "ltr", "spellcheck": "false"}),
        help_text=_("Names that are not in the list above, with a comma between them."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.former_secret: str = self.instance.secret
        self._describe_secret(is_new=kwargs.get("instance") is None)
        self._spread_events()

    def clean(self) -> dict[str, Any]:
        """Join the ticked and the typed names to the model's list."""
        cleaned = super().clean()
        typed = _BETWEEN_NAMES.split(cleaned.get("other_events", ""))
        cleaned["events"] = list(dict.fromkeys(name for name in [*cleaned.get("events", []), *typed] if name))
        return cleaned

    def _spread_events(self) -> None:
        """Show the published events as choices and the others as text."""
        stored = self.instance.events if isinstance(self.instance.events, list) else []
        names = [name for name in stored if isinstance(name, str)]
        known = known_events()
        choices = [(name, _choice(name, description)) for name, description in known.items()]
        self.fields["events"].choices = choices  # type: ignore[attr-defined]
        self.initial["events"] = [name for name in names if name in known]
        self.initial["other_events"] = ", ".join(name for name in names if name not in known)

    def _describe_secret(self, *, is_new: bool) -> None:
        field = self.fields.get("new_secret")
        if field is None:  # the admin removes it for users who may not replace secrets
            return
        if is_new:
            field.help_text = gettext(
                "Nateq makes the secret and shows it once, when you create the webhook there with this webhook's URL. "
                "Paste it here, now or later. If you leave this empty, a secret is generated, and deliveries from "
                "Nateq are refused until you replace it with Nateq's."
            )
            field.help_text += " " + _in_environment()
            return
        field.label = gettext("New signing secret")
        hours = int(settings().rotation_overlap.total_seconds() // 3600)
        field.help_text = gettext(
            "Replaces the secret. The former one is accepted until a delivery uses the new one, and for %(hours)s "
            "hours after that, for late retries. If you leave this empty, the secret stays."
        ) % {"hours": hours}
        field.help_text += " " + _in_environment()


def _in_environment() -> str:
    return gettext(
        "To keep it out of the database, enter env: and the name of an environment variable that has it, such as "
        "env:NATEQ_SECRET."
    )


def hide_secrets(request: HttpRequest) -> None:
    """Replace the posted secrets by text whose repr hides them: with DEBUG an error page shows all posted values."""
    posted = request.POST.copy()
    for name in posted:
        if name.endswith("new_secret"):
            posted.setlist(name, [SecretText(value) for value in posted.getlist(name)])
    posted._mutable = False  # noqa: SLF001 - as Django leaves it
    request.POST = posted  # type: ignore[assignment]


def _choice(name: str, description: str) -> str:
    """Return an event's name with its description."""
    if not description:
        return name
    return gettext("%(event)s: %(meaning)s") % {"event": name, "meaning": gettext(description)}
