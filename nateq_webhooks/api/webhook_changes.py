"""How the API creates, changes, deletes and rotates webhooks: by the admin's rules.

A webhook that is registered at Nateq changes on both sides, through `remote`; if that is not possible, the request is
refused with the reason, and neither side changes.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from rest_framework import serializers

from nateq_webhooks import audit, remote
from nateq_webhooks.api.callers import Caller
from nateq_webhooks.api.documents import event_names, receiver_url
from nateq_webhooks.errors import (
    ApiError,
    NateqConnectionError,
    NateqRateLimitError,
    NateqServerError,
    NateqTimeoutError,
    NateqUnexpectedAnswerError,
)
from nateq_webhooks.models import Webhook
from nateq_webhooks.models.event_type import known_events
from nateq_webhooks.protocol.api import RETRY_AFTER_HEADER, ErrorCode
from nateq_webhooks.protocol.api_answers import RequestError, invalid, no_such, shown
from nateq_webhooks.remote.claim import alias
from nateq_webhooks.remote.local_webhooks import change_here, delete_here, is_local, rotate_here
from nateq_webhooks.rest.parameters import FlagField, Parameters, TextField

MAX_EVENTS: Final = 500
"""Names in one list."""

MAX_NAMED: Final = 5
"""Unknown events that an error names."""

RETRY_SECONDS: Final = 60
"""When to come back if Nateq does not say it."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_AT_NATEQ: Final = ("events", "is_active")
"""The fields that Nateq has, too."""

_FAILED: Final = (NateqServerError, NateqConnectionError, NateqTimeoutError, NateqUnexpectedAnswerError)
"""Errors after which nobody can say that Nateq has refused."""

_URL_PROBLEM: Final = (
    "is where this site receives, and can't be chosen: leave it out, or send the address of a receiver here."
)


class WebhookFields(Parameters):
    """The body of a creation and of a change: Nateq's fields, and ours."""

    url = TextField(2048, help_text="The address of a receiver of this site; another one can't be chosen.")
    events = serializers.ListField(
        child=TextField(200),
        required=False,
        max_length=MAX_EVENTS,
        help_text="The events to subscribe to, from the list of events; an empty list means all.",
    )
    is_active = FlagField(required=False, help_text="Whether it accepts deliveries.")
    name = TextField(100, help_text="Your name for it; only a caller that sees all webhooks chooses it.")
    organization_id = TextField(
        200, allow_blank=True, help_text="The only organization whose deliveries it accepts; empty: any."
    )


def new_webhook(caller: Caller, request: HttpRequest, fields: Mapping[str, Any]) -> Webhook:
    """Return a webhook that is not stored yet. Raises `RequestError` (422) that names what is wrong."""
    key = _free_key(fields["url"], request) if "url" in fields else uuid.uuid4()
    webhook = Webhook(pk=key or uuid.uuid4(), organization_id=caller.organization)
    webhook.name = f"Webhook {webhook.pk}"
    values, problems = _values(caller, webhook, fields)
    if key is None:
        problems["url"] = _URL_PROBLEM
    _assign(webhook, values, problems)
    return webhook


def store(webhook: Webhook) -> None:
    """Insert a webhook, inside the caller's transaction. Raises `RequestError` (422) if its name or id is in use."""
    try:
        with transaction.atomic(using=alias()):
            webhook.save(using=alias(), force_insert=True)
            audit.record(audit.Action.WEBHOOK_CREATED, **audit.of_webhook(webhook), using=alias())
    except IntegrityError:
        is_key = Webhook.objects.using(alias()).filter(pk=webhook.pk).exists()
        raise invalid({"url": _URL_PROBLEM} if is_key else {"name": "is in use."}, "fields") from None


def changed_fields(caller: Caller, request: HttpRequest, webhook: Webhook, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that a request changes. Raises `RequestError` (422) that names what is wrong."""
    values, problems = _values(caller, webhook, fields)
    if "url" in fields and fields["url"] != receiver_url(webhook, request):
        problems["url"] = _URL_PROBLEM
    _assign(copy(webhook), values, problems)
    return values


def change(webhook: Webhook, values: dict[str, Any]) -> Webhook:
    """Change columns, at Nateq first if it has the webhook, and return it. Raises `RequestError`."""
    at_nateq = {name: values[name] for name in _AT_NATEQ if name in values}
    with _refusals():
        if is_local(webhook):
            return _saved(lambda: change_here(webhook, values)) if values else webhook
        if at_nateq:
            with remote.connect(webhook) as client:
                remote.change(client, webhook, **at_nateq)
    here = {name: value for name, value in values.items() if name not in at_nateq}
    if here:
        rows = Webhook.objects.using(alias()).filter(pk=webhook.pk)
        _saved(lambda: _update(rows, webhook, here))
    return _now(webhook)


def _update(rows: QuerySet[Webhook], webhook: Webhook, values: dict[str, Any]) -> None:
    rows.update(**values)
    details = {"fields": list(values)}
    audit.record(audit.Action.WEBHOOK_CHANGED, **audit.of_webhook(webhook), details=details, using=alias())


def delete(webhook: Webhook) -> bool:
    """Delete a webhook, at Nateq first if it is registered there. Raises `RequestError`.

    Returns False if it is kept here, switched off, because it has deliveries: only one that was registered at Nateq.
    """
    with _refusals():
        if is_local(webhook):
            delete_here(webhook)
            return True
        with remote.connect(webhook) as client:
            return remote.remove(client, webhook) is remote.RemovalResult.DELETED


def rotate(webhook: Webhook) -> Webhook:
    """Give a webhook a new secret, made by Nateq if it is registered there, and return it. Raises `RequestError`."""
    with _refusals():
        if is_local(webhook):
            rotate_here(webhook)
        else:
            with remote.connect(webhook) as client:
                remote.rotate(client, webhook)
    return _now(webhook)


def _now(webhook: Webhook) -> Webhook:
    """Return a webhook as it is stored. Raises `RequestError` (404) if it has been deleted at this moment."""
    found = Webhook.objects.using(alias()).filter(pk=webhook.pk).first()
    if found is None:
        raise no_such("webhook", webhook.pk)
    return found


def check_permitted(caller: Caller, action: str, webhook: Webhook | None = None) -> None:
    """Raise `RequestError` (403) if the project's own admin does not let a staff user do this."""
    if not caller.may(action, webhook):
        raise RequestError(ErrorCode.INSUFFICIENT_PERMISSION, "An admin of this site does not permit this")


def _values(caller: Caller, webhook: Webhook, fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the columns that the fields set, and what is wrong with them by name."""
    values = {name: value for name, value in fields.items() if name != "url"}
    problems: dict[str, str] = {}
    if "events" in values:
        values["events"] = list(dict.fromkeys(values["events"]))
        known = known_events()
        unknown = [name for name in values["events"] if name not in known and name not in event_names(webhook)]
        if unknown:
            problems["events"] = f"not known: {', '.join(map(shown, unknown[:MAX_NAMED]))}. See GET /webhooks/events."
    if "name" in values and not caller.sees_all_rows:
        problems["name"] = "is unique over all organizations: only a caller that sees all of them chooses it."
    if caller.organization and values.get("organization_id", caller.organization) != caller.organization:
        problems["organization_id"] = "is not the organization of this API key."
    return values, problems


def _assign(webhook: Webhook, values: Mapping[str, Any], problems: dict[str, str]) -> None:
    """Set columns. Raises `RequestError` (422) for what is wrong already, and for what the model refuses."""
    for name, value in values.items():
        setattr(webhook, name, value)
    unread = [field.name for field in Webhook._meta.fields if field.name not in values]
    try:
        webhook.full_clean(exclude=unread)
    except ValidationError as error:
        for name, complaints in error.message_dict.items():
            if name in values:  # one about the secret does not keep anybody from changing the rest
                problems.setdefault(name, " ".join(complaints))
    if problems:
        raise invalid(problems, "fields")


def _saved(save: Callable[[], Any]) -> Any:
    """Save in a transaction. Raises `RequestError` (422) for a name that another process has used at this moment."""
    try:
        with transaction.atomic(using=alias()):
            return save()
    except IntegrityError:
        raise invalid({"name": "is in use."}, "fields") from None


def _free_key(url: str, request: HttpRequest) -> UUID | None:
    """Return the id in the address of a receiver of this site that no webhook has yet; None for any other text.

    So a client that must send a URL can create a webhook here, and sending it again creates no second one.
    """
    found = [UUID(text) for text in _UUID.findall(url)]
    if not found or receiver_url(Webhook(pk=found[-1]), request) != url:
        return None
    return None if Webhook.objects.using(alias()).filter(pk=found[-1]).exists() else found[-1]


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn the errors of `remote` and of Nateq's API into those of this one. None of them has a secret in it."""
    try:
        yield
    except remote.RemoteError as error:
        raise RequestError(ErrorCode.VALIDATION_ERROR, str(error), status=409) from None
    except NateqRateLimitError as error:
        headers = {RETRY_AFTER_HEADER: str(round(error.retry_after or RETRY_SECONDS))}
        raise RequestError(ErrorCode.INTERNAL_ERROR, _not_at_nateq(error), status=503, headers=headers) from None
    except ApiError as error:
        if error.is_ambiguous or isinstance(error, _FAILED):
            raise RequestError(ErrorCode.INTERNAL_ERROR, _not_at_nateq(error), status=502) from None
        raise RequestError(ErrorCode.VALIDATION_ERROR, _not_at_nateq(error), status=409) from None


def _not_at_nateq(error: ApiError) -> str:
    return f"The webhook could not be changed at Nateq: {error}"
