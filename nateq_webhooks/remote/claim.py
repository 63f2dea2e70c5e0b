"""Who is at work on a webhook's registration: one run at a time, on whatever machine.

A claim is written into the webhook's row. It ends with its run, with its process (another run on the same machine
sees at once that the process is gone), or when it was not renewed for `LEASE`.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import Error, router, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks.errors import SecretError
from nateq_webhooks.models import Webhook
from nateq_webhooks.models.guarding import refuse_unusable
from nateq_webhooks.remote.errors import BusyError, ClaimLostError, NotSavedError, RemoteError

LEASE: Final = timedelta(minutes=5)
"""Longer than any one call of the client takes with its retries; renewed at each step."""

_POLL_SECONDS: Final = 0.2

_held: Final[set[str]] = set()
"""The claims of this process's threads."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on one webhook. `webhook` is the row as this run knows it."""

    webhook: Webhook
    token: str

    def renew(self) -> None:
        """Make sure that the webhook is still this run's, for another `LEASE`. Raises `ClaimLostError`."""
        self.change()

    def change(self, **fields: Any) -> None:
        """Commit changes of the webhook, if it is still this run's. Raises `ClaimLostError` when it is not."""
        fields = _Unshown(fields)
        with self.step():
            self.change_within(**fields)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Commit what is done inside as one step. Raises `NotSavedError` when the database does not take it."""
        try:
            with transaction.atomic(using=alias(), durable=True):
                yield
        except Error as error:
            raise NotSavedError(
                _('The database did not save webhook "%(name)s": %(error)s. Run this again: it goes on from there.')
                % {"name": self.webhook.name, "error": type(error).__name__}
            ) from None

    def change_within(self, **fields: Any) -> None:
        """Change the webhook as part of a `step`. Raises `RemoteError` for a secret that could verify nothing."""
        fields = _Unshown(fields)
        self._check_secret(fields.get("secret", ""))
        mine = Webhook.objects.using(alias()).filter(pk=self.webhook.pk, claim=self.token)
        if not mine.update(claimed_until=timezone.now() + LEASE, **fields):
            raise ClaimLostError(
                _(
                    'Another run has taken over webhook "%(name)s", because this one did not go on for long. '
                    "Look with: manage.py nateq_webhook show --name %(name)s"
                )
                % {"name": self.webhook.name}
            )
        for name, value in fields.items():
            setattr(self.webhook, name, value)

    def _check_secret(self, secret: str) -> None:
        try:
            refuse_unusable(secret)
        except SecretError as error:
            raise RemoteError(
                _(
                    'Nateq gave webhook "%(name)s" a signing secret that can verify nothing, so it was not saved. '
                    "%(why)s Run this again: it asks Nateq for another one."
                )
                % {"name": self.webhook.name, "why": _(str(error))}
            ) from None


class _Unshown(dict[str, Any]):
    """Values to be saved, a secret perhaps among them: an error page that prints a function's variables shows names."""

    def __repr__(self) -> str:
        return f"<{', '.join(self)}>"


def alias() -> str:
    """Return the database that the webhooks are in."""
    return router.db_for_write(Webhook)


def new_token() -> str:
    """Return a name for this run: machine, process, and something unique. `claimed` ends its validity."""
    token = f"{socket.gethostname()[:100]}/{os.getpid()}/{secrets.token_hex(8)}"
    _held.add(token)  # before it is written: another thread must not take this process for a dead one
    return token


@contextmanager
def claimed(webhook: Webhook, *, patience: float = 0.0, token: str = "", is_taken: bool = False) -> Iterator[Claim]:
    """Claim a webhook for the length of a `with`; `is_taken` says that it was inserted with the claim `token`.

    Waits up to `patience` seconds for another run to end. Raises `BusyError` when it does not, and `RemoteError` when
    the webhook is gone.
    """
    token = token or new_token()
    try:
        if not is_taken:
            _take(webhook, token, deadline=time.monotonic() + patience)
        webhook.refresh_from_db(using=alias())
        yield Claim(webhook, token)
    finally:
        Webhook.objects.using(alias()).filter(pk=webhook.pk, claim=token).update(claim="", claimed_until=None)
        _held.discard(token)


def _take(webhook: Webhook, token: str, *, deadline: float) -> None:
    pause = threading.Event()
    while not _try(webhook, token):
        if time.monotonic() >= deadline:
            raise BusyError(
                _(
                    'Another run (%(holder)s) is at work on webhook "%(name)s". Wait for it to end; if it died on '
                    "another machine, try again in %(minutes)d minutes."
                )
                % {
                    "holder": " ".join(_holder(webhook).split("/")[:2]),
                    "name": webhook.name,
                    "minutes": LEASE.total_seconds() // 60,
                }
            )
        pause.wait(_POLL_SECONDS)


def _try(webhook: Webhook, token: str) -> bool:
    now = timezone.now()
    free = Q(claim="") | Q(claimed_until__lt=now)
    holder = _holder(webhook)
    if holder and _is_dead(holder):
        free |= Q(claim=holder)
    mine = Webhook.objects.using(alias()).filter(free, pk=webhook.pk)
    return mine.update(claim=token, claimed_until=now + LEASE) > 0


def _holder(webhook: Webhook) -> str:
    """Return the token of whoever holds the webhook now."""
    found = Webhook.objects.using(alias()).filter(pk=webhook.pk).values_list("claim", flat=True).first()
    if found is None:
        raise RemoteError(_('There is no webhook "%(name)s" any more.') % {"name": webhook.name})
    return found


def _is_dead(holder: str) -> bool:
    """Say whether the holder was a process of this machine that is gone. Of other machines nothing is known."""
    host, _slash, rest = holder.partition("/")
    pid = rest.partition("/")[0]
    if os.name != "posix" or host != socket.gethostname()[:100] or not pid.isdigit():
        return False
    if int(pid) == os.getpid():  # in a container that was started again, the dead one had the same number
        return holder not in _held
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's process: it is there
        return False
    return False
