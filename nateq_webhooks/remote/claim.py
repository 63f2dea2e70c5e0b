"""One run at a time works on a webhook's registration, on whatever machine.

A claim is a lease in the webhook's row. It ends with its run; after a kill it expires `LEASE` after its last renewal.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import Error, router, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks.errors import SecretError
from nateq_webhooks.models import Webhook
from nateq_webhooks.models.secret_model import refuse_unusable
from nateq_webhooks.models.signing_keys import problem_text
from nateq_webhooks.protocol.invisible_chars import one_line
from nateq_webhooks.remote.commands import command
from nateq_webhooks.remote.remote_errors import BusyError, ClaimLostError, NotSavedError, RemoteError

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient

logger: Final = logging.getLogger("nateq_webhooks")

LEASE: Final = timedelta(minutes=2)
"""Longer than a call of the client takes with its retries, unless Nateq asks it to wait; renewed at each step."""

_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on one webhook. `webhook` is the row as this run knows it."""

    webhook: Webhook
    token: str

    def renew(self) -> None:
        """Extend the claim by another `LEASE`. Raises `ClaimLostError` when another run has taken it over."""
        self.update()

    def update(self, **fields: Any) -> None:
        """Commit changes of the webhook. Raises `ClaimLostError` when another run has taken it over."""
        fields = _HiddenValues(fields)
        with self.step():
            self.update_in_step(**fields)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Commit what is done inside as one step. Raises `NotSavedError` for an error of the database."""
        try:
            with transaction.atomic(using=alias(), durable=True):
                yield
        except Error as error:
            raise NotSavedError(
                _('The database did not save webhook "%(name)s": %(error)s. Run this again: it continues from there.')
                % {"name": self.webhook.name, "error": type(error).__name__}
            ) from None

    def update_in_step(self, **fields: Any) -> None:
        """Change the webhook as part of a `step`. Raises `RemoteError` for a secret that can't verify anything."""
        fields = _HiddenValues(fields)
        self._check_secret(fields.get("secret", ""))
        row = Webhook.objects.using(alias()).filter(pk=self.webhook.pk, claim=self.token)
        if not row.update(claimed_until=timezone.now() + LEASE, **fields):
            raise ClaimLostError(
                _(
                    'Another run has taken over webhook "%(name)s", because this one did not renew its claim in time. '
                    "See its state with: %(command)s"
                )
                % {"name": self.webhook.name, "command": command("show", self.webhook)}
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
                % {"name": self.webhook.name, "why": problem_text(error)}
            ) from None


class _HiddenValues(dict[str, Any]):
    """Values to be saved, perhaps a secret among them: error pages that print local variables show only the names."""

    def __repr__(self) -> str:
        return f"<{', '.join(self)}>"


def alias() -> str:
    """Return the database that the webhooks are in."""
    return router.db_for_write(Webhook)


def new_token() -> str:
    """Return a unique name for this run: machine, process and a random part."""
    return f"{socket.gethostname()[:100]}/{os.getpid()}/{secrets.token_hex(8)}"


@contextmanager
def claimed(
    client: "NateqClient", webhook: Webhook, *, wait_seconds: float = 0.0, token: str = "", is_taken: bool = False
) -> Iterator[Claim]:
    """Claim a webhook for the length of a `with`; `is_taken` says that it was inserted with the claim `token`.

    Waits up to `wait_seconds` for another run to end, and no longer once the client is closed. Raises `BusyError` when
    the other run still holds it, and `RemoteError` when the webhook has been deleted.
    """
    token = token or new_token()
    try:
        if not is_taken:
            _wait_and_claim(webhook, token, deadline=time.monotonic() + wait_seconds, stop=client.closing)
        webhook.refresh_from_db(using=alias())
        yield Claim(webhook, token)
    finally:
        Webhook.objects.using(alias()).filter(pk=webhook.pk, claim=token).update(claim="", claimed_until=None)


def _wait_and_claim(webhook: Webhook, token: str, *, deadline: float, stop: threading.Event) -> None:
    is_waiting = False
    while not _try_to_claim(webhook, token):
        holder = _holder(webhook)
        if time.monotonic() >= deadline:
            raise BusyError(
                _(
                    'Another run (%(holder)s) is working on webhook "%(name)s". Wait for it to end; if it was killed, '
                    "try again in %(minutes)d minutes."
                )
                % {"holder": holder, "name": webhook.name, "minutes": LEASE.total_seconds() // 60}
            )
        if not is_waiting:
            is_waiting = True
            logger.warning(
                'Waiting for another run (%s) that is working on webhook "%s".', holder, one_line(webhook.name)
            )
        if stop.wait(_POLL_SECONDS):
            deadline = 0.0


def _try_to_claim(webhook: Webhook, token: str) -> bool:
    now = timezone.now()
    free = Webhook.objects.using(alias()).filter(Q(claim="") | Q(claimed_until__lt=now), pk=webhook.pk)
    return free.update(claim=token, claimed_until=now + LEASE) > 0


def _holder(webhook: Webhook) -> str:
    """Return the machine and process that hold the webhook. Raises `RemoteError` when it has been deleted."""
    token = Webhook.objects.using(alias()).filter(pk=webhook.pk).values_list("claim", flat=True).first()
    if token is None:
        raise RemoteError(_('Webhook "%(name)s" has been deleted.') % {"name": webhook.name})
    return " ".join(token.split("/")[:2])
