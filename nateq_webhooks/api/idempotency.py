"""Requests that may be sent again: with an `Idempotency-Key` the first answer is kept, and returned for a day."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import IntegrityError, router, transaction
from django.utils import timezone
from rest_framework.response import Response

from nateq_webhooks.api.callers import Caller
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.models.idempotent_answer import KEPT_FOR, IdempotentAnswer
from nateq_webhooks.protocol.api import IDEMPOTENCY_KEY_HEADER, REPLAYED_HEADER, ErrorCode
from nateq_webhooks.protocol.api_answers import RequestError, success

MAX_KEY_CHARS: Final = 200

UNDER_WAY_FOR: Final = timedelta(minutes=10)
"""After this long without an answer a request that commits steps is taken for dead, and carried out again."""

SECRET: Final = "secret"  # noqa: S105 - a field's name
"""The field of an answer that is not kept."""

Work = Callable[[], dict[str, Any]]
"""Carries a request out, and returns the data of its answer."""

Afterwards = Callable[[dict[str, Any]], None]
"""Is given the data of the answer once they are committed, for what must not be part of the transaction."""

Recall = Callable[[dict[str, Any]], dict[str, Any]]
"""Completes the data of an answer that was kept without its secret."""


def answer_before(caller: Caller, request: Any, recall: Recall | None = None) -> Response | None:
    """Return the answer that the same request got before; None for a request that is to be carried out.

    Ask it before what the request is about is looked up: a repeated deletion finds nothing. Raises as `once` does.
    """
    repeatable = _Repeatable.read(caller, request)
    if repeatable is None:
        return None
    alias = router.db_for_write(IdempotentAnswer)
    rows = IdempotentAnswer.objects.using(alias).filter(name=repeatable.name, created_at__gt=timezone.now() - KEPT_FOR)
    return repeatable.kept(alias, recall) if rows.exclude(status=0).exists() else None


def once(
    caller: Caller,
    request: Any,
    work: Work,
    *,
    status: int = 200,
    recall: Recall | None = None,
    afterwards: Afterwards | None = None,
) -> Response:
    """Carry a request out in a transaction; with an `Idempotency-Key` once, however often it is sent within a day.

    What the work does and its answer are committed together. A request that is refused keeps nothing. The work may be
    called again, if the database asks for that. `afterwards` is called after the commit, not for a repeated request.
    """
    alias = router.db_for_write(IdempotentAnswer)
    repeatable = _Repeatable.read(caller, request)
    if repeatable is None:
        data = retry_transaction(lambda: _in_transaction(alias, work), alias=alias)
        if afterwards is not None:
            afterwards(data)
        return Response(success(data), status=status)

    def carry_out() -> dict[str, Any] | None:
        with transaction.atomic(using=alias):
            row = repeatable.new_row(alias)
            if row is None:
                return None
            data = work()
            _keep(alias, row, data, status)
        return data

    answer = retry_transaction(carry_out, alias=alias)
    if answer is None:
        return repeatable.kept(alias, recall)
    if afterwards is not None:
        afterwards(answer)
    return Response(success(answer), status=status)


def once_in_steps(
    caller: Caller, request: Any, work: Work, *, status: int = 200, recall: Recall | None = None
) -> Response:
    """Carry a request out outside of a transaction, for work that commits steps itself; otherwise as `once`.

    A call to Nateq takes seconds, and what it did can't be rolled back. While it is under way the same request is
    refused (409). After a process was killed the work is done again, so it must continue what was interrupted.
    """
    alias = router.db_for_write(IdempotentAnswer)
    repeatable = _Repeatable.read(caller, request)
    if repeatable is None:
        return Response(success(work()), status=status)
    row = retry_transaction(lambda: repeatable.new_row(alias) or repeatable.abandoned_row(alias), alias=alias)
    if row is None:
        return repeatable.kept(alias, recall)
    try:
        data = work()
    except BaseException:
        IdempotentAnswer.objects.using(alias).filter(pk=row.pk, created_at=row.created_at, status=0).delete()
        raise
    _keep(alias, row, data, status)
    return Response(success(data), status=status)


def _in_transaction(alias: str, work: Work) -> dict[str, Any]:
    with transaction.atomic(using=alias):
        return work()


def _keep(alias: str, row: IdempotentAnswer, data: Any, status: int) -> None:
    """Keep an answer without the secret in it: the secret is stored in one place only."""
    kept = data | {SECRET: None} if isinstance(data, dict) and SECRET in data else data
    IdempotentAnswer.objects.using(alias).filter(pk=row.pk).update(status=status, document=success(kept))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Repeatable:
    """A request with an `Idempotency-Key`: the hash of the caller and the key, and that of the request."""

    name: str
    digest: str

    @classmethod
    def read(cls, caller: Caller, request: Any) -> "_Repeatable | None":
        """Return it; None for a request without a key. Raises `RequestError` for a key that can't be one."""
        key = request.META.get("HTTP_IDEMPOTENCY_KEY")
        if key is None:
            return None
        _check(key)
        body = request._request.body.decode("latin-1")  # noqa: SLF001 - Django's request
        return cls(name=_hash(caller.identity, key), digest=_hash(request.method, request.path, body))

    def new_row(self, alias: str) -> IdempotentAnswer | None:
        """Insert the row of the request; None if there is one that has not expired."""
        rows, now = IdempotentAnswer.objects.using(alias), timezone.now()
        rows.delete_expired(now, self.name)
        try:
            with transaction.atomic(using=alias):
                return rows.create(name=self.name, request=self.digest, created_at=now)
        except IntegrityError:
            return None

    def abandoned_row(self, alias: str) -> IdempotentAnswer | None:
        """Take over the row of the same request, if the process that carried it out is taken for dead."""
        rows, now = IdempotentAnswer.objects.using(alias), timezone.now()
        mine = rows.filter(name=self.name, request=self.digest, status=0, created_at__lte=now - UNDER_WAY_FOR)
        return rows.filter(name=self.name).first() if mine.update(created_at=now) else None

    def kept(self, alias: str, recall: Recall | None) -> Response:
        """Return the answer that was kept. Raises `RequestError` if the key was used for another request."""
        row = IdempotentAnswer.objects.using(alias).filter(name=self.name).first()
        if row is not None and row.request != self.digest:
            details = {IDEMPOTENCY_KEY_HEADER: "was used for another request."}
            raise RequestError(ErrorCode.VALIDATION_ERROR, "Some headers are not valid", details)
        if row is None or not row.status:  # it was refused at this moment, or has no answer yet
            raise RequestError(ErrorCode.VALIDATION_ERROR, "The same request was under way; send it again", status=409)
        document: Any = row.document
        if recall is not None:
            document = success(recall(document["data"]))
        return Response(document, status=row.status, headers={REPLAYED_HEADER: "true"})


def _check(key: str) -> None:
    if not key.isascii() or not key.isprintable() or not 1 <= len(key) <= MAX_KEY_CHARS:
        details = {IDEMPOTENCY_KEY_HEADER: f"must be 1 to {MAX_KEY_CHARS} visible ASCII characters."}
        raise RequestError(ErrorCode.VALIDATION_ERROR, "Some headers are not valid", details)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
