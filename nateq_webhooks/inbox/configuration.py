"""What the door knows of each webhook, kept in the process: a request costs a look-up, not a SELECT.

At most once a second one SELECT reads what has changed; now and then one reads everything, which also finds what was
deleted or changed behind Django's back. The process that saves a webhook forgets its copy at once.

Of many webhooks a thread reads everything, while a request reads the one that it is about; only the first request of a
process reads them all.
"""

import logging
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.signals import setting_changed
from django.db import Error, connections, router, transaction

from nateq_webhooks import tenants
from nateq_webhooks.conf import SETTING, meta_key, settings
from nateq_webhooks.errors import SecretError
from nateq_webhooks.models.blocks import Blocks, are_open, is_private, open_blocks
from nateq_webhooks.models.webhook import Webhook, configuration_changed
from nateq_webhooks.protocol.signatures import SigningKey

logger: Final = logging.getLogger("nateq_webhooks")

REFRESH_SECONDS: Final = 1.0
"""How old this process's copy may be: a webhook saved elsewhere is known here after that long."""

RELOAD_SECONDS: Final = 30.0
"""How often everything is read instead of what changed."""

LARGE: Final = 200
"""Webhooks beyond which a thread of its own reads everything: 3,000 take some 90 ms, which no request waits for."""

OVERLAP: Final = timedelta(minutes=1)
"""How far behind the newest change to look: clocks differ, and a transaction commits after it wrote its time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveKey:
    """A key that the webhook accepts, until `expires_at` (None: for ever)."""

    key: SigningKey
    expires_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """A webhook as the door needs it. Shows no secret in its repr."""

    id: uuid.UUID
    name: str
    keys: tuple[LiveKey, ...]
    events: frozenset[str]
    organization_id: str
    is_active: bool
    is_pending: bool
    is_rotating: bool
    signature_meta_key: str
    modified_at: datetime
    awaited_key_id: str | None
    """The id of the key whose first use ends a rotation; None when no rotation waits for it."""

    def live_keys(self, now: datetime) -> list[SigningKey]:
        """Return the keys accepted at `now`."""
        return [live.key for live in self.keys if live.expires_at is None or live.expires_at > now]

    def subscribes_to(self, event: str) -> bool:
        """Say whether the receivers of `event` run: no list means every event."""
        return not self.events or event in self.events


class TenantCache:
    """The process's copy of the configuration of every webhook of one tenant. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[uuid.UUID, Configuration] = {}
        self._newest: datetime | None = None
        self._checked_at = self._reloaded_at = float("-inf")
        self._generation = 0
        self._loaded_generation = -1
        self._read_in: tuple[str, Blocks] = ("", ())
        self._reader: threading.Thread | None = None
        self._reader_lock = threading.Lock()
        self._reader_started_at = float("-inf")

    def get(self, webhook_id: uuid.UUID) -> Configuration | None:
        """Return the webhook's configuration, None when there is no such webhook.

        Raises `django.db.Error` only when it is not known and the database can't be asked.
        """
        if self._loaded_generation != self._generation or not are_open(*self._read_in):
            if self._is_read_aside():
                self._start_reader()
                return self._read_one(webhook_id)
            self._reload(webhook_id)
        elif time.monotonic() - self._checked_at >= REFRESH_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._lock.release()
        return self._by_id.get(webhook_id)

    def known(self) -> tuple[Configuration, ...]:
        """Return every webhook as it was last read. Never asks the database."""
        return tuple(self._by_id.values())

    def forget(self) -> None:
        """Read everything anew at the next look-up."""
        self._generation += 1

    def _is_read_aside(self) -> bool:
        """Say whether a thread reads everything: many webhooks are known, and a thread sees what this one sees."""
        return len(self._by_id) > LARGE and not is_private(router.db_for_write(Webhook))

    def _start_reader(self) -> None:
        """Start the thread unless it is at work, once a second at most."""
        with self._reader_lock:
            now = time.monotonic()
            is_at_work = self._reader is not None and self._reader.is_alive()
            if is_at_work or now - self._reader_started_at < REFRESH_SECONDS:
                return
            self._reader_started_at = now
            tenant = tenants.current(router.db_for_write(Webhook))
            self._reader = threading.Thread(
                target=self._read_everything, args=(tenant,), name="nateq_webhooks configuration", daemon=True
            )
            self._reader.start()

    def _read_everything(self, tenant: str) -> None:
        """Read everything in a thread, on a connection of its own."""
        with tenants.activate(tenant):
            try:
                with self._lock:
                    self._read(everything=True)
            except Error as error:
                logger.warning("The webhooks' configuration could not be read anew: %s", type(error).__name__)
            finally:
                connections[router.db_for_write(Webhook)].close()

    def _read_one(self, webhook_id: uuid.UUID) -> Configuration | None:
        """Read one webhook, while everything is being read."""
        alias = router.db_for_write(Webhook)
        try:
            rows = Webhook.objects.using(alias).filter(pk=webhook_id).configuration()
            return _configurations(rows).get(webhook_id)
        except Error as error:
            close_if_lost(alias)
            if webhook_id not in self._by_id:
                raise
            logger.warning("A webhook's configuration could not be read anew: %s", type(error).__name__)
            return self._by_id[webhook_id]

    def _reload(self, wanted: uuid.UUID) -> None:
        """Read everything, once for all threads that wait for it."""
        with self._lock:
            if self._loaded_generation == self._generation and are_open(*self._read_in):
                return
            try:
                self._read(everything=True)
            except Error as error:
                if wanted not in self._by_id:
                    raise
                logger.warning("The webhooks' configuration could not be read anew: %s", type(error).__name__)

    def _refresh(self) -> None:
        """Read what changed; while the database can't be asked, what is known stays good."""
        self._checked_at = now = time.monotonic()
        is_due = now - self._reloaded_at >= RELOAD_SECONDS
        if is_due and self._is_read_aside():
            self._start_reader()
            is_due = False
        try:
            self._read(everything=is_due)
        except Error as error:
            logger.warning("The webhooks' configuration could not be refreshed: %s", type(error).__name__)

    def _read(self, *, everything: bool) -> None:
        generation = self._generation
        since = None if everything or self._newest is None else self._newest - OVERLAP
        alias = router.db_for_write(Webhook)
        try:
            fresh = _configurations(Webhook.objects.using(alias).configuration(since))
        except Error:
            close_if_lost(alias)
            raise
        self._by_id = fresh if since is None else self._by_id | fresh
        self._read_in = (alias, open_blocks(alias))
        self._newest = max((each.modified_at for each in self._by_id.values()), default=None)
        self._checked_at = time.monotonic()
        if since is None:
            self._reloaded_at = self._checked_at
        self._loaded_generation = generation


class ConfigurationCache:
    """The process's copies, one for each tenant: webhooks of two tenants may have the same id."""

    def __init__(self) -> None:
        self._of: dict[str, TenantCache] = {}

    def get(self, webhook_id: uuid.UUID) -> Configuration | None:
        """Return the webhook's configuration, None when the tenant has no such webhook.

        Raises `django.db.Error` only when it is not known and the database can't be asked.
        """
        return self._of_tenant().get(webhook_id)

    def known(self) -> tuple[Configuration, ...]:
        """Return every webhook of the tenant as it was last read. Never asks the database."""
        return self._of_tenant().known()

    def forget(self) -> None:
        """Read everything anew at the next look-up of each tenant."""
        for one in tuple(self._of.values()):
            one.forget()

    def _of_tenant(self) -> TenantCache:
        tenant = tenants.current(router.db_for_write(Webhook))
        return self._of.get(tenant) or self._of.setdefault(tenant, TenantCache())


def close_if_lost(alias: str) -> None:
    """Close a connection that an error has shown to be lost: outside a request nobody else would, and it stays lost."""
    connection = connections[alias]
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


def _configurations(rows: Iterable[tuple[Any, ...]]) -> dict[uuid.UUID, Configuration]:
    """Join the rows, of which there is one per older secret, to one configuration per webhook."""
    found: dict[uuid.UUID, Configuration] = {}
    for (
        pk,
        name,
        secret,
        events,
        organization,
        active,
        header,
        registration,
        modified,
        rotation_scanned_to,
        older,
        expires,
    ) in rows:
        known = found.get(pk)
        if known is None:
            keys = _keys(name, secret, None)
            is_waiting = bool(keys) and rotation_scanned_to is not None
            known = Configuration(
                id=pk,
                name=name,
                keys=keys,
                events=_event_names(events),
                organization_id=organization,
                is_active=active,
                is_pending=registration == Webhook.Registration.PENDING,
                is_rotating=registration == Webhook.Registration.ROTATING,
                signature_meta_key=meta_key(header or settings().signature_header),
                modified_at=modified,
                awaited_key_id=keys[0].key.id if is_waiting else None,
            )
        if older is not None:
            known = replace(known, keys=known.keys + _keys(name, older, expires))
        found[pk] = known
    return found


def _event_names(events: object) -> frozenset[str]:
    """Return the names in a webhook's column; whatever else stands there must not shut the door of all the others."""
    if isinstance(events, str) and events:
        return frozenset((events,))
    if isinstance(events, (list, dict)):
        return frozenset(event for event in events if isinstance(event, str))
    return frozenset()


def _keys(name: str, secret: str, expires_at: datetime | None) -> tuple[LiveKey, ...]:
    try:
        return (LiveKey(key=SigningKey.of(secret, settings().secret_encoding), expires_at=expires_at),)
    except SecretError as error:
        # No error: anybody's request may be the one that reads it, and by Django's defaults each error is a mail to
        # ADMINS. The check W004 reports it.
        logger.warning('A secret of webhook "%s" can verify nothing: %s', name, error)
        return ()


cache: Final = ConfigurationCache()
"""The process's copies; the receiver view looks in here."""


def _forget(**kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    # At once for this process's own next request, and again when the change is visible to other connections.
    cache.forget()
    transaction.on_commit(cache.forget, using=router.db_for_write(Webhook), robust=True)


def _forget_at_other_settings(*, setting: str, **kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    if setting == SETTING:
        cache.forget()


configuration_changed.connect(_forget, dispatch_uid="nateq_webhooks.inbox.configuration")
setting_changed.connect(_forget_at_other_settings, dispatch_uid="nateq_webhooks.inbox.configuration")
