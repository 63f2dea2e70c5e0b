"""What a user may see and do: the package's permissions, and the rows of the project's own admins.

A project hides rows by overriding `get_queryset` in a subclass of the package's admins. That applies wherever a row
appears: its list and its page, other pages that mention it, counts, actions, exports and the dashboard. A run is hidden
together with its delivery.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.sites import AdminSite, all_sites, site
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.http import HttpRequest

from nateq_webhooks.models import Delivery, Rejection, Run, Webhook
from nateq_webhooks.models.hold import scope_parts

CHANGE_WEBHOOK: Final = "nateq_webhooks.change_webhook"


class RowScope(Protocol):
    """The rows of each model that a page reads."""

    def of(self, model: type[Model]) -> QuerySet[Any]:
        """Return the rows of a model."""


class AllRows:
    """All rows, outside of requests."""

    def of(self, model: type[Model]) -> QuerySet[Any]:
        """Return the rows of a model."""
        rows: QuerySet[Any] = model._meta.default_manager.all()  # type: ignore[union-attr]
        return rows


ALL_ROWS: Final = AllRows()


class PermittedRows:
    """The rows that an admin site shows to the user of a request."""

    def __init__(self, admin_site: AdminSite, request: HttpRequest) -> None:
        self._site = admin_site
        self._request = request
        self._rows: dict[type[Model], QuerySet[Any]] = {}

    def of(self, model: type[Model]) -> QuerySet[Any]:
        """Return the rows of a model."""
        if model not in self._rows:
            self._rows[model] = self._read(model)
        return self._rows[model].all()

    def _read(self, model: type[Model]) -> QuerySet[Any]:
        model_admin = self.admin_of(model)
        return self._unregistered(model) if model_admin is None else model_admin.get_queryset(self._request)

    def _unregistered(self, model: type[Model]) -> QuerySet[Any]:
        """Return the rows of a model without an admin: those that belong to rows that the user may see."""
        rows = ALL_ROWS.of(model)
        if model is Run:
            return self.with_delivery(rows)
        if model is Rejection or (model is Delivery and self.admin_of(Webhook)):
            return rows.filter(webhook__in=self.of(Webhook).values("pk")) if self.hides(Webhook) else rows
        if model is Delivery or not self.hides(Delivery):
            return rows
        if model is Webhook:
            return rows.filter(Exists(self.of(Delivery).filter(webhook=OuterRef("pk")).order_by()))
        return rows.none()

    def with_delivery(self, runs: QuerySet[Run]) -> QuerySet[Run]:
        """Return the runs whose delivery the user may see."""
        return runs.filter(delivery__in=self.of(Delivery).values("pk")) if self.hides(Delivery) else runs

    def hides(self, model: type[Model]) -> bool:
        """Return whether the project hides some rows of a model from the user."""
        return is_narrowed(self.of(model))

    def shows(self, record: Model) -> bool:
        """Return whether the user may see a row."""
        return not self.hides(type(record)) or self.of(type(record)).filter(pk=record.pk).exists()

    def shown(self, model: type[Model], keys: set[Any]) -> set[Any]:
        """Return the keys whose rows the user may see. Queries the database only if some rows may be hidden."""
        if not keys or not self.hides(model):
            return keys
        return set(self.of(model).filter(pk__in=keys).values_list("pk", flat=True))

    def may_view(self, model: type[Model], record: Model | None = None) -> bool:
        """Return whether the user may view a model, or a row of it."""
        model_admin = self.admin_of(model)
        if model_admin is not None:
            return may_view(model_admin, self._request, record)
        return bool(self._request.user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"))

    def admin_of(self, model: type[Model]) -> "admin.ModelAdmin[Any] | None":
        """Return the model's admin on this site; None if it is not registered."""
        try:
            return self._site.get_model_admin(model)
        except NotRegistered:
            return None


def may_view(model_admin: "admin.ModelAdmin[Any]", request: HttpRequest, record: Model | None = None) -> bool:
    """Return whether an admin allows the user to view a row, or its list."""
    return bool(model_admin.has_view_permission(request, record))


def may_see_payload(request: HttpRequest) -> bool:
    """Return whether the user may see what customers wrote: payloads, header values, errors, tracebacks."""
    return request.user.has_perm("nateq_webhooks.view_payload")


def may_reveal_secret(request: HttpRequest) -> bool:
    """Return whether the user may see, choose and replace signing secrets, and get requests signed."""
    return request.user.has_perm("nateq_webhooks.reveal_secret")


def may_replay(request: HttpRequest) -> bool:
    """Return whether the user may run receivers again."""
    return request.user.has_perm("nateq_webhooks.replay_delivery")


def may_erase(permitted: "PermittedRows", request: HttpRequest) -> bool:
    """Return whether the user may erase a person's data: who sees payloads, and the rows of all webhooks."""
    hides = permitted.hides(Webhook) or permitted.hides(Delivery) or permitted.hides(Run)
    deliveries = permitted.admin_of(Delivery)
    is_judged = deliveries is not None and has_object_permissions(deliveries)
    may = request.user.has_perm("nateq_webhooks.erase_delivery") and may_see_payload(request)
    return may and not (hides or is_judged)


def may_acknowledge(permitted: "PermittedRows", request: HttpRequest) -> bool:
    """Return whether the user may acknowledge failures: who may replay, and sees all runs of a group."""
    return may_replay(request) and not (permitted.hides(Run) or permitted.hides(Delivery))


def may_pause(permitted: "PermittedRows", request: HttpRequest) -> bool:
    """Return whether the user may pause and resume receivers and everything, and drop runs: for all webhooks."""
    hides = permitted.hides(Webhook) or permitted.hides(Delivery) or permitted.hides(Run)
    return request.user.has_perm(CHANGE_WEBHOOK) and not hides


def may_resume(scope: str, permitted: "PermittedRows", request: HttpRequest) -> bool:
    """Return whether the user may resume what is paused in this scope: for a webhook, one that the user may change."""
    webhook, _receiver = scope_parts(scope)
    if not webhook:
        return may_pause(permitted, request)
    webhook_admin = permitted.admin_of(Webhook)
    found = permitted.of(Webhook).filter(pk=webhook).first() if request.user.has_perm(CHANGE_WEBHOOK) else None
    return found is not None and (webhook_admin is None or webhook_admin.has_change_permission(request, found))


def mark_hidden_webhooks(records: Sequence[Any], permitted: "PermittedRows") -> None:
    """Mark the rows whose webhook the project hides from the user, so that they do not name it."""
    keys = {record.webhook_id for record in records} - {None}
    shown = permitted.shown(Webhook, keys)
    for record in records:
        record.is_webhook_hidden = record.webhook_id is not None and record.webhook_id not in shown


def has_object_permissions(model_admin: "admin.ModelAdmin[Any]") -> bool:
    """Return whether a project's admin checks the view permission row by row."""
    return type(model_admin).has_view_permission is not admin.ModelAdmin.has_view_permission


def is_narrowed(rows: QuerySet[Any]) -> bool:
    """Return whether a queryset may omit rows of its table; then statistics and raw SQL do not apply to it."""
    query = rows.query
    return bool(
        query.where or query.is_sliced or query.combinator or query.distinct or query.annotations or query.extra_tables
    )


def site_of(request: HttpRequest) -> AdminSite:
    """Return the admin site of a request; the default site outside of an admin."""
    view: Any = request.resolver_match and request.resolver_match.func
    found = getattr(view, "admin_site", None)
    if isinstance(found, AdminSite):
        return found
    name = getattr(request, "current_app", None)
    return next((each for each in all_sites if each.name == name), site)
