"""Labels of inputs for screen readers, where no label element of the admin names them."""

from django import forms


def label_inputs(field: forms.Field) -> None:
    """Label a field's inputs: the two of a date and time, or the one of a table of inlines, which its head names."""
    if not isinstance(field.widget, forms.MultiWidget):
        field.widget.attrs["aria-label"] = field.label
        return
    shown = field.widget.get_context("", None, {})
    for part, kind in zip(field.widget.widgets, ("date_label", "time_label"), strict=False):
        part.attrs["aria-label"] = f"{field.label} {shown.get(kind, '')}".strip()
