"""The pages that erase what is stored about a person: whom, what would go, and how far it is.

What is searched for is in the pages' forms only: no address, session or history has it.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries.selection_form import KeysField, MomentField
from nateq_webhooks.admin.deliveries.view import title_of
from nateq_webhooks.admin.pages import AdminPage, admin_url
from nateq_webhooks.database.keyset.date_ranges import key_range_of
from nateq_webhooks.dispatch.erasure import Criteria, Erasure, ErasureReport
from nateq_webhooks.dispatch.erasure.tables import table_label
from nateq_webhooks.errors import ErasureError
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.redaction import shown_body
from nateq_webhooks.protocol import erasing
from nateq_webhooks.protocol.redaction import MASK

MAX_KEYS: Final = 20_000
"""The range of deliveries' keys, and of runs', that is looked through by requests; for more there is the command."""

SECONDS: Final = 5.0
"""How long one request erases."""

MAX_OFFERING: Final = 20
"""Deliveries whose people are offered."""

DELETE: Final = "delete"
BLANK: Final = "blank"


class KeysForm(forms.Form):
    """The deliveries whose people are offered."""

    deliveries = KeysField(required=False)


class PairsField(forms.Field):
    """Paths and values, each as `path=value`; a checkbox for each that the delivery offers."""

    widget = forms.MultipleHiddenInput

    def to_python(self, value: Any) -> list[tuple[str, str]]:
        """Return pairs of path and value."""
        return [erasing.pair_from(str(each)) for each in value or ()]


class EraseForm(forms.Form):
    """Whose data is erased, and how."""

    deliveries = KeysField(required=False, widget=forms.HiddenInput)
    pairs = PairsField(required=False)
    path = forms.CharField(
        required=False,
        label=gettext_lazy("Path in the payload"),
        help_text=gettext_lazy("Such as data.requester.id; lists on the way are gone through."),
        widget=forms.TextInput({"class": "vTextField", "dir": "ltr", "autocomplete": "off"}),
    )
    value = forms.CharField(
        required=False,
        strip=False,
        label=gettext_lazy("Value"),
        widget=forms.TextInput({"class": "vTextField", "dir": "auto", "autocomplete": "off"}),
    )
    organization = forms.CharField(
        required=False,
        label=gettext_lazy("Organization"),
        help_text=gettext_lazy("Alone: everything of it. With a value: only the person's deliveries in it."),
        widget=forms.TextInput({"class": "vTextField", "dir": "ltr", "autocomplete": "off"}),
    )
    since = MomentField(
        required=False,
        label=gettext_lazy("Since"),
        help_text=gettext_lazy("Leaves deliveries alone that were received before. Empty: none."),
        widget=forms.DateTimeInput({"class": "vTextField", "dir": "ltr", "placeholder": "2026-01-31"}),
    )
    how = forms.ChoiceField(
        label=gettext_lazy("How"),
        initial=DELETE,
        choices=[
            (DELETE, gettext_lazy("Delete the deliveries, with their runs")),
            (BLANK, gettext_lazy("Keep the deliveries, and blank what they say of the person")),
        ],
        widget=forms.RadioSelect,
    )
    names_everywhere = forms.BooleanField(
        required=False,
        label=gettext_lazy("Names and short numbers in other people's deliveries, too"),
        help_text=gettext_lazy("Somebody else may have the same; unfinished runs of these deliveries are dropped."),
    )
    criteria: Criteria

    def clean(self) -> dict[str, Any]:
        """Refuse criteria that name nobody, or that are unusable."""
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        pairs = list(cleaned["pairs"])
        if cleaned["path"] or cleaned["value"]:
            pairs.append((cleaned["path"], cleaned["value"]))
        try:
            self.criteria = Criteria.of(
                pairs,
                cleaned["organization"],
                cleaned["since"],
                names_everywhere=cleaned["names_everywhere"],
            )
        except ErasureError as error:
            raise forms.ValidationError(str(error)) from None
        return cleaned

    @property
    def is_blank(self) -> bool:
        """Whether the deliveries stay."""
        return bool(self.cleaned_data["how"] == BLANK)

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """The fields of the next page's form, as pairs of name and value."""
        criteria = self.criteria
        since = "" if criteria.since is None else criteria.since.isoformat()
        fields = [("organization", criteria.organization), ("since", since), ("how", self.cleaned_data["how"])]
        fields += [("names_everywhere", "on")] if criteria.names_everywhere else []
        return [*(("pairs", erasing.pair_of(path, value)) for path, value in criteria.where), *fields]


@dataclass(frozen=True, slots=True)
class Line:
    """A table of a report."""

    label: str
    deleted: str
    blanked: str


class ErasePage(AdminPage):
    """The page "Erase": a form, then what would go, then the erasure itself, in requests of some seconds."""

    route = "erase/"
    name = "erase"
    manages_transactions = True

    @classmethod
    def for_action(cls, model_admin: "ModelAdmin[Delivery]", keys: Sequence[int]) -> HttpResponse:
        """Offer the people whom the deliveries name that were selected in the list."""
        url = admin_url(model_admin.admin_site, model_admin.model, cls.name, deliveries=",".join(map(str, keys)))
        return HttpResponseRedirect(url)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Check the permissions before any method runs."""
        if not self.model_admin.has_erase_permission(request) or not self.model_admin.has_view_permission(request):
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: HttpRequest) -> HttpResponse:
        """Ask whose data is to be erased; offer the people that the `deliveries` of the address name."""
        given = KeysForm(request.GET)
        return self._ask(
            EraseForm(initial={"how": DELETE}), given.cleaned_data["deliveries"] if given.is_valid() else ()
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        """Show what would go, or erase what was confirmed."""
        form = EraseForm(request.POST)
        if not form.is_valid():
            return self._ask(form, form.cleaned_data.get("deliveries") or (), status=400)
        if self._is_large():
            return self._show("large", form, command=_command(form))
        word = confirmation_word(form.criteria)
        try:
            if "confirmation" not in request.POST:
                return self._plan(form, word)
            if request.POST["confirmation"].strip() != word:
                return self._plan(form, word, error=_("This is not what is to be typed. Nothing was changed."))
            return self._erase(form)
        except ErasureError as error:
            form.add_error(None, str(error))
            return self._ask(form, (), status=400)

    def _ask(self, form: EraseForm, keys: Sequence[int], *, status: int = 200) -> HttpResponse:
        rows = self.model_admin.get_queryset(self.request).defer("payload").filter(pk__in=keys[:MAX_OFFERING])
        found: list[Delivery] = list(rows.order_by("pk"))
        pairs = dict.fromkeys(
            (path, value)
            for delivery in found
            for path, value in erasing.offered(shown_body(delivery.body))
            if value != MASK and erasing.is_sent_back(path)  # who knows a masked value can enter it
        )
        posted = self.request.POST.getlist("pairs")
        context: dict[str, Any] = {
            "keys": ",".join(str(delivery.pk) for delivery in found),
            "offered": [
                (
                    pair := erasing.pair_of(path, value),
                    formatting.visible(path),
                    formatting.visible(value),
                    pair in posted,
                )
                for path, value in pairs
            ],
        }
        if len(found) == 1:
            context |= {"original": found[0], "name": title_of(found[0])}
        return self._show("form", form, status=status, **context)

    def _plan(self, form: EraseForm, word: str, *, error: str = "") -> HttpResponse:
        erasure = Erasure(form.criteria, is_blank=form.is_blank, is_dry_run=True)
        while erasure.advance():
            pass
        context = {"report": erasure.report, "lines": list(_lines(erasure.report)), "word": word, "wrong": error}
        return self._show("plan", form, status=400 if error else 200, **context)

    def _erase(self, form: EraseForm) -> HttpResponse:
        erasure = Erasure(form.criteria, is_blank=form.is_blank)
        if erasure.advance_for(SECONDS):
            context: dict[str, Any] = {"share": int(100 * erasure.share_done), "word": confirmation_word(form.criteria)}
            return self._show("progress", form, lines=list(_lines(erasure.report)), **context)
        text = _("Erased. Rows deleted or blanked: %(count)s, in all tables.")
        messages.success(self.request, text % {"count": formatting.number(erasure.report.found)})
        return HttpResponseRedirect(self.url("changelist"))

    def _is_large(self) -> bool:
        ranges = (key_range_of(model._meta.base_manager.using(router.db_for_write(model))) for model in (Delivery, Run))
        return any(keys is not None and keys.highest - keys.lowest > MAX_KEYS for keys in ranges)

    def _show(self, step: str, form: EraseForm, *, status: int = 200, **context: Any) -> HttpResponse:
        title = _("Erase what is stored about a person")
        media = self.model_admin.media
        if step != "form":
            context |= {"hidden": form.hidden, "criteria": list(_in_words(form))}
        return self.render("delivery/erase", title, status=status, step=step, form=form, media=media, **context)


def confirmation_word(criteria: Criteria) -> str:
    """Return what a person types to confirm: one of the values, or the organization; its path if nobody can type it."""
    value = criteria.where[0][1] if criteria.where else criteria.organization
    return value.strip() if erasing.is_sent_back(value) or not criteria.where else criteria.where[0][0]


def _lines(report: ErasureReport) -> Iterator[Line]:
    for name, table in report.tables.items():
        if table.deleted or table.blanked:
            yield Line(table_label(name), formatting.number(table.deleted), formatting.number(table.blanked))


def _in_words(form: EraseForm) -> Iterator[tuple[str, str]]:
    """Yield what is erased, and how."""
    criteria = form.criteria
    for path, value in criteria.where:
        yield formatting.visible(path), formatting.visible(value)
    if criteria.organization:
        yield _("Organization"), formatting.visible(criteria.organization)
    if criteria.since is not None:
        yield _("Since"), formatting.moment(criteria.since) or ""
    choices: dict[str, Any] = dict(EraseForm.base_fields["how"].choices)  # type: ignore[attr-defined]
    if criteria.names_everywhere:
        yield _("Names"), str(EraseForm.base_fields["names_everywhere"].label)
    yield _("How"), str(choices[form.cleaned_data["how"]])


def _command(form: EraseForm) -> str:
    """Return the command line that does what the form says."""
    criteria = form.criteria
    parts: Sequence[str] = [
        *("manage.py", "nateq_erase"),
        *(part for path, value in criteria.where for part in ("--where", f"{path}={value}")),
        *(("--organization", criteria.organization) if criteria.organization else ()),
        *(("--since", criteria.since.isoformat()) if criteria.since is not None else ()),
        *(("--blank",) if form.is_blank else ()),
        *(("--names-everywhere",) if criteria.names_everywhere else ()),
    ]
    return shlex.join(parts)
