"""Who asks: a program with a key, or a staff user with a session; what it may do, and which rows it sees."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from django.apps import apps
from django.db import router
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from rest_framework.authentication import CSRFCheck

from nateq_webhooks import tenants
from nateq_webhooks.api.access import Access
from nateq_webhooks.conf import settings
from nateq_webhooks.inbox.request import remote_address
from nateq_webhooks.models import ApiKey, Delivery, Rejection, Replay, Run, Webhook
from nateq_webhooks.protocol.api import LIMIT_PER_MINUTE, LIVE_KEY_PREFIX, ErrorCode, Scope
from nateq_webhooks.protocol.api_answers import RequestError, bearer_key

_APP: Final = "nateq_webhooks"

_ORGANIZATION_OF: Final[dict[type[Model], str]] = {
    Webhook: "organization_id",
    Delivery: "organization_id",
    Run: "delivery__organization_id",
    Rejection: "webhook__organization_id",
    Replay: "organization_id",
}
"""The column that says whose a row is."""


class Caller(ABC):
    """Who asks."""

    identity: str
    "Names the caller for its rate limit."
    limit: int
    "Requests per minute."
    label: str
    "The caller's name, as it is kept with a replay or a pause."
    organization: str = ""
    "The only organization that it sees; empty: all."

    @abstractmethod
    def check(self, access: Access) -> None:
        """Raise `RequestError` if the caller may not do an operation."""

    @property
    @abstractmethod
    def sees_payloads(self) -> bool:
        """Whether it may see what customers wrote."""

    @property
    @abstractmethod
    def sees_secrets(self) -> bool:
        """Whether it may see the secret that a new webhook was given."""

    @property
    @abstractmethod
    def sees_all_rows(self) -> bool:
        """Whether no row is hidden from it."""

    def may(self, action: str, webhook: Webhook | None = None) -> bool:  # noqa: ARG002 - a key is asked for its scopes
        """Return whether the project lets it `add`, `change` or `delete` a webhook, beside what `check` asks for."""
        return True

    @abstractmethod
    def rows(self, model: type[Model]) -> QuerySet[Any]:
        """Return the rows of a model that it sees."""

    def shown_webhooks(self, keys: Iterable[UUID]) -> set[UUID]:
        """Return the webhooks that it sees; queries the database only if some are hidden from it."""
        wanted = set(keys)
        if self.sees_all_rows or not wanted:
            return wanted
        return set(self.rows(Webhook).filter(pk__in=wanted).values_list("pk", flat=True))


class KeyCaller(Caller):
    """A program with an API key."""

    def __init__(self, key: ApiKey) -> None:
        self._granted = key.granted
        self.identity = f"key.{tenants.current(router.db_for_write(ApiKey))}.{key.pk}"
        self.limit = key.requests_per_minute
        self.label = f"API key {key.name}"
        self.organization = key.organization_id

    def check(self, access: Access) -> None:
        """Raise `RequestError` for a key without the scopes, or of one organization where all are shown."""
        missing = [scope for scope in access.scopes if scope not in self._granted]
        if missing:
            details = {"required": sorted(access.scopes), "granted": sorted(self._granted)}
            message = f"This API key lacks the scope {' '.join(missing)}"
            raise RequestError(ErrorCode.INSUFFICIENT_SCOPE, message, details)
        if access.needs_all_rows and not self.sees_all_rows:
            raise RequestError(
                ErrorCode.INSUFFICIENT_PERMISSION, "This is about all organizations, and the API key is of one"
            )

    @property
    def sees_payloads(self) -> bool:
        """Whether the key has the scope."""
        return Scope.PAYLOADS_READ in self._granted

    @property
    def sees_secrets(self) -> bool:
        """Whether the key has the scope that replaces secrets."""
        return Scope.WEBHOOKS_MANAGE in self._granted

    @property
    def sees_all_rows(self) -> bool:
        """Whether the key is of no organization."""
        return not self.organization

    def rows(self, model: type[Model]) -> QuerySet[Any]:
        """Return the rows of its organization, or all."""
        rows: QuerySet[Any] = model._meta.default_manager.all()  # type: ignore[union-attr]
        return rows.filter(**{_ORGANIZATION_OF[model]: self.organization}) if self.organization else rows


class StaffCaller(Caller):
    """A staff user with a session: sees what the project's admins show to that user."""

    def __init__(self, request: HttpRequest) -> None:
        self._user = request.user
        self._scopes = _admin_scopes(request)
        self.identity = f"user.{tenants.current(router.db_for_write(ApiKey))}.{self._user.pk}"
        self.label = self._user.get_username()
        self.limit = LIMIT_PER_MINUTE[LIVE_KEY_PREFIX]

    def check(self, access: Access) -> None:
        """Raise `RequestError` for a user without the permissions, or where rows are hidden from the user."""
        for group in access.permissions:
            if not any(self._has(permission) for permission in group):
                details = {"required": [" or ".join(each) for each in access.permissions]}
                message = "You lack a permission that this needs"
                raise RequestError(ErrorCode.INSUFFICIENT_PERMISSION, message, details)
        if any(scope.decides_by_row for scope in self._scopes):
            message = "An admin of this site decides row by row who may see what; use an API key"
            raise RequestError(ErrorCode.INSUFFICIENT_PERMISSION, message)
        if access.needs_all_rows and not self.sees_all_rows:
            message = "This is about all rows, and some are hidden from you"
            raise RequestError(ErrorCode.INSUFFICIENT_PERMISSION, message)

    @property
    def sees_payloads(self) -> bool:
        """Whether the user has the permission."""
        return self._has("view_payload")

    @property
    def sees_secrets(self) -> bool:
        """Whether the user has the permission."""
        return self._has("reveal_secret")

    def may(self, action: str, webhook: Webhook | None = None) -> bool:
        """Return whether every admin of webhooks permits it: a project may override what its own admin permits."""
        return all(scope.may(action, webhook) for scope in self._scopes)

    @property
    def sees_all_rows(self) -> bool:
        """Whether no admin hides rows from the user."""
        return not any(scope.hides(model) for model in _ORGANIZATION_OF for scope in self._scopes)

    def rows(self, model: type[Model]) -> QuerySet[Any]:
        """Return the rows that every admin site with this app shows to the user."""
        rows: QuerySet[Any] = model._meta.default_manager.all()  # type: ignore[union-attr]
        for scope in self._scopes:
            if scope.hides(model):
                rows = rows.filter(pk__in=scope.of(model).order_by().values("pk"))
        return rows

    def _has(self, permission: str) -> bool:
        return bool(self._user.has_perm(f"{_APP}.{permission}"))


class _AdminScope:
    """What one admin site shows to the user of a request."""

    def __init__(self, site: Any, request: HttpRequest) -> None:
        from nateq_webhooks.admin.permissions import PermittedRows, has_object_permissions

        self._request = request
        self._permitted = PermittedRows(site, request)
        admins = [self._permitted.admin_of(model) for model in _ORGANIZATION_OF]
        self.decides_by_row = any(one is not None and has_object_permissions(one) for one in admins)
        self.is_used = any(one is not None for one in admins)

    def hides(self, model: type[Model]) -> bool:
        return self._permitted.hides(model)

    def of(self, model: type[Model]) -> QuerySet[Any]:
        return self._permitted.of(model)

    def may(self, action: str, webhook: Webhook | None) -> bool:
        model_admin: Any = self._permitted.admin_of(Webhook)
        if model_admin is None:
            return True
        if action == "add":
            return bool(model_admin.has_add_permission(self._request))
        check = model_admin.has_change_permission if action == "change" else model_admin.has_delete_permission
        return bool(check(self._request, webhook))


def _admin_scopes(request: HttpRequest) -> Sequence[_AdminScope]:
    """Return what the admin sites with this app show; none on a site without an admin."""
    if not apps.is_installed("django.contrib.admin"):
        return ()
    from django.contrib.admin.sites import all_sites

    return [scope for scope in (_AdminScope(site, request) for site in all_sites) if scope.is_used]


@sensitive_variables()
def identify(request: HttpRequest) -> Caller:
    """Return who asks. Raises `RequestError` (401, 403) in Nateq's order."""
    header = request.META.get("HTTP_AUTHORIZATION", "")
    user = getattr(request, "user", None)
    if header or user is None or not user.is_authenticated:
        return KeyCaller(_key(request, header))
    if not (user.is_active and user.is_staff):
        raise RequestError(ErrorCode.INSUFFICIENT_PERMISSION, "Only staff may use the API without a key")
    _check_csrf(request)
    return StaffCaller(request)


@sensitive_variables()
def _key(request: HttpRequest, header: str) -> ApiKey:
    """Return the row of the key in a header, and note its use."""
    alias, now = router.db_for_write(ApiKey), timezone.now()
    keys = ApiKey.objects.using(alias)
    row = keys.with_key(bearer_key(header))
    if row is None:
        raise RequestError(ErrorCode.INVALID_API_KEY, "The API key does not exist")
    state = row.state(now)
    if state != ApiKey.State.ACTIVE:
        raise RequestError(ErrorCode.INVALID_API_KEY, f"The API key is {state.value}")
    address = remote_address(request.META, settings().trusted_proxies)
    if not row.allows_address(address):
        raise RequestError(ErrorCode.IP_NOT_ALLOWED, f"This API key may not be used from {address}")
    keys.note_use(row, now)
    return row


def _check_csrf(request: HttpRequest) -> None:
    """Refuse a request that another site's page may have made the browser send."""
    check = CSRFCheck(lambda _request: None)
    check.process_request(request)
    reason = check.process_view(request, None, (), {})
    if reason:
        raise RequestError(ErrorCode.INSUFFICIENT_PERMISSION, f"CSRF: {reason}")
