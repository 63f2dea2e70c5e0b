"""The forms of the screen. What a webhook or a fault may be is decided where the API's values are checked, too."""

from collections.abc import Mapping
from typing import Any, Final

from django import forms

from nateq_webhooks.protocol.documents import load_object
from nateq_webhooks.sandbox.faults import DEFAULT_SECONDS, Fault, Switch
from nateq_webhooks.sandbox.sandbox_errors import InvalidError
from nateq_webhooks.sandbox.site.deliveries import MAX_COUNT
from nateq_webhooks.sandbox.site.webhooks import MAX_URL_CHARS, Webhooks

_DESCRIPTIONS: Final = {
    Fault.DROP: "The delivery is never sent; the log says so.",
    Fault.DUPLICATE: "The delivery is sent twice, at once, under one delivery id.",
    Fault.REORDER: "The delivery waits until a later one was sent, or for so many seconds.",
    Fault.DELAY: "The first attempt is made so many seconds late.",
    Fault.CORRUPT_SIGNATURE: "An attempt carries a wrong signature.",
    Fault.NEW_ID: "Every retry comes under a delivery id of its own.",
    Fault.API_401: "The API answers 401 AUTHENTICATION_FAILED.",
    Fault.API_403: "The API answers 403 INSUFFICIENT_PERMISSION.",
    Fault.API_429: "The API answers 429, with so many seconds as Retry-After.",
    Fault.API_500: "The API answers 500 and does nothing.",
    Fault.LOSE_CREATE_ANSWER: "The webhook is created, and the connection closed without an answer.",
}
"""What each fault does, on the screen."""


class ScreenForm(forms.Form):
    """A form whose errors come from the sandbox's own checks."""

    def refuse(self, error: InvalidError) -> None:
        """Show an error of the sandbox beside the fields that it names."""
        for name, problem in error.fields.items():
            self.add_error(name if name in self.fields else None, problem)


class WebhookForm(ScreenForm):
    """The fields of a webhook."""

    url = forms.CharField(required=False)
    events = forms.Field(required=False, widget=forms.SelectMultiple)
    is_active = forms.BooleanField(required=False)

    max_url_chars = MAX_URL_CHARS

    def __init__(self, webhooks: Webhooks, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._webhooks = webhooks

    def clean(self) -> dict[str, Any]:
        """Check the values as the API does."""
        try:
            return self._webhooks.validated(self.cleaned_data)
        except InvalidError as error:
            self.refuse(error)
            return {}


class SendForm(ScreenForm):
    """An event to send, and how many times."""

    event = forms.CharField(required=False)
    data = forms.CharField(  # type: ignore[assignment]  # the name in the form; Django keeps its own attribute apart
        required=False, widget=forms.Textarea, strip=False
    )
    count = forms.IntegerField(min_value=1, max_value=MAX_COUNT, error_messages={"required": "must be a whole number."})

    max_count = MAX_COUNT

    def clean_data(self) -> dict[str, Any]:
        """Return the JSON object."""
        try:
            return load_object(self.cleaned_data["data"].encode("utf-8", "replace"))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


class FaultsForm(ScreenForm):
    """A row of three fields for each fault."""

    def __init__(self, switches: Mapping[Fault, Switch], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for fault, switch in switches.items():
            self.fields[f"{fault}.count"] = forms.IntegerField(required=False, min_value=0, initial=switch.count)
            self.fields[f"{fault}.rate"] = forms.FloatField(
                required=False, min_value=0, max_value=1, initial=f"{switch.rate:g}"
            )
            if fault in DEFAULT_SECONDS:
                self.fields[f"{fault}.seconds"] = forms.FloatField(
                    required=False, min_value=0, initial=f"{switch.seconds:g}"
                )

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The faults with their fields and what is wrong with them."""
        return [self._row(fault) for fault in Fault]

    def wanted(self) -> dict[str, Any]:
        """Return the values of each fault, without those that are empty."""
        return {fault: self._values(fault) for fault in Fault}

    def refuse(self, error: InvalidError) -> None:
        """Show an error of the sandbox in the row of its fault."""
        for fault, problem in error.fields.items():
            self.add_error(f"{fault}.count", problem)

    def _values(self, fault: Fault) -> dict[str, Any]:
        named = {name: self.cleaned_data.get(f"{fault}.{name}") for name in ("count", "rate", "seconds")}
        return {name: value for name, value in named.items() if value is not None}

    def _row(self, fault: Fault) -> dict[str, Any]:
        fields = {
            name: self[f"{fault}.{name}"] for name in ("count", "rate", "seconds") if f"{fault}.{name}" in self.fields
        }
        problems = [problem for field in fields.values() for problem in field.errors]
        return {"fault": fault, "description": _DESCRIPTIONS[fault], "fields": fields, "problems": problems}
