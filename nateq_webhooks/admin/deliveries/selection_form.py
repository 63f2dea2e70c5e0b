"""The form of a selection of deliveries: an address or the hidden fields of a confirmation page name it."""

from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils.translation import gettext as _

from nateq_webhooks.database.keyset.cursor import MAX_KEY
from nateq_webhooks.database.keyset.date_ranges import EARLIEST, LATEST
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Delivery

MAX_KEYS: Final = 10_000
"""Deliveries that a selection can list by their keys."""


class KeysField(forms.CharField):
    """Keys of deliveries, joined by commas."""

    def to_python(self, value: Any) -> Any:
        """Return a tuple of integers."""
        try:
            keys = tuple(int(text) for text in str(value).split(",")[:MAX_KEYS]) if value else ()
        except ValueError:
            raise ValidationError(_("These are not keys of deliveries.")) from None
        if any(not 0 < key <= MAX_KEY for key in keys):
            raise ValidationError(_("These are not keys of deliveries."))
        return keys


class MomentField(forms.DateTimeField):
    """A date or a time in ISO 8601, in the user's time zone if it has none."""

    default_validators = [MinValueValidator(EARLIEST), MaxValueValidator(LATEST)]


class SelectionForm(forms.Form):
    """Which deliveries an action is about. A form with no field set selects nothing: everything must be asked for."""

    webhook = forms.UUIDField(required=False)
    event = forms.CharField(required=False, strip=False)
    status = forms.ChoiceField(required=False, choices=[("", ""), *Delivery.Status.choices])
    since = MomentField(required=False)
    until = MomentField(required=False)
    receiver = forms.CharField(required=False, strip=False)
    deliveries = KeysField(required=False)
    everything = forms.CharField(required=False)

    def clean(self) -> dict[str, Any]:
        """Refuse a form without any field."""
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and not any(cleaned.values()):
            raise ValidationError(_("No delivery is named."))
        return cleaned

    @property
    def selection(self) -> Selection:
        """The selection. Raises `ValidationError` if the form is not valid."""
        if not self.is_valid():
            raise ValidationError([_(", ").join(map(str, errors)) for errors in self.errors.values()])
        values = {name: value for name, value in self.cleaned_data.items() if name != "everything"}
        return Selection(**values | {"webhook": str(values["webhook"] or "")})
