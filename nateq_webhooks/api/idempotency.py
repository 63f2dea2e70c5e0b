"""Requests that may be sent again: with an `Idempotency-Key` the first answer is kept, and returned for a day."""

import hashlib
from collections.abc import Callable
from typing import Any, Final

from django.db import IntegrityError, router, transaction
from django.utils import timezone
from rest_framework.response import Response

from nateq_webhooks.api.callers import Caller
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.models.idempotent_answer import IdempotentAnswer
from nateq_webhooks.protocol.api import IDEMPOTENCY_KEY_HEADER, REPLAYED_HEADER, ErrorCode
from nateq_webhooks.protocol.api_answers import RequestError, success

MAX_KEY_CHARS: Final = 200

Work = Callable[[], Any]
"""Carries a request out inside a transaction, and returns the data of its answer."""


def once(caller: Caller, request: Any, work: Work, *, status: int = 200) -> Response:
    """Carry a request out in a transaction; with an `Idempotency-Key` once, however often it is sent within a day.

    What the work does and its answer are committed together. A request that is refused keeps nothing.
    """
    alias = router.db_for_write(IdempotentAnswer)
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        with transaction.atomic(using=alias):
            data = work()
        return Response(success(data), status=status)
    _check(key)
    name = _hash(caller.identity, key)
    digest = _hash(request.method, request.path, request._request.body.decode("latin-1"))  # noqa: SLF001 - Django's

    def carry_out() -> Response | None:
        with transaction.atomic(using=alias):
            row = _new_row(alias, name, digest)
            if row is None:
                return None
            document = success(work())
            IdempotentAnswer.objects.using(alias).filter(pk=row.pk).update(status=status, document=document)
        return Response(document, status=status)

    return retry_transaction(carry_out, alias=alias) or _kept(alias, name, digest)


def _new_row(alias: str, name: str, digest: str) -> IdempotentAnswer | None:
    """Insert the row of a request, inside the caller's transaction; None if there is one that has not expired."""
    rows, now = IdempotentAnswer.objects.using(alias), timezone.now()
    rows.delete_expired(now, name)
    try:
        with transaction.atomic(using=alias):
            return rows.create(name=name, request=digest, created_at=now)
    except IntegrityError:
        return None


def _kept(alias: str, name: str, digest: str) -> Response:
    """Return the answer that was kept. Raises `RequestError` if the key was used for another request."""
    row = IdempotentAnswer.objects.using(alias).filter(name=name).first()
    if row is None:  # the first request was refused at this moment
        raise RequestError(ErrorCode.VALIDATION_ERROR, "The same request was under way; send it again", status=409)
    if row.request != digest:
        details = {IDEMPOTENCY_KEY_HEADER: "was used for another request."}
        raise RequestError(ErrorCode.VALIDATION_ERROR, "Some headers are not valid", details)
    return Response(row.document, status=row.status, headers={REPLAYED_HEADER: "true"})


def _check(key: str) -> None:
    if not key.isascii() or not key.isprintable() or not 1 <= len(key) <= MAX_KEY_CHARS:
        details = {IDEMPOTENCY_KEY_HEADER: f"must be 1 to {MAX_KEY_CHARS} visible ASCII characters."}
        raise RequestError(ErrorCode.VALIDATION_ERROR, "Some headers are not valid", details)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
