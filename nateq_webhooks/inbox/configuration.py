"""The configuration of each webhook, cached in the process: a request costs a look-up instead of a SELECT.

At most once a second one SELECT reads what has changed. Every 30 seconds one reads everything, which also finds rows
that were deleted, or changed without Django. The process that saves a webhook drops its copy at once.

Of more than `LARGE` webhooks a thread reads everything, while a request reads only its own webhook; only the first
request of a process reads them all.
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
from nateq_webhooks.conf import SETTING, SETTINGS_OF_SITE_KEYS, meta_key, settings
from nateq_webhooks.database.cached_rows import CachedRows
from nateq_webhooks.database.transactions import is_private
from nateq_webhooks.errors import SecretError, SecretUnavailableError, StoreError
from nateq_webhooks.inbox.outages import UNAVAILABLE, close_if_lost
from nateq_webhooks.models.signing_keys import signing_key
from nateq_webhooks.models.webhook import REFRESH_SECONDS, STALE_SECONDS, Webhook, configuration_changed
from nateq_webhooks.protocol.signatures import SigningKey
from nateq_webhooks.threads import DaemonThread

logger: Final = logging.getLogger("nateq_webhooks")

RELOAD_SECONDS: Final = 30.0
"""How often everything is read instead of only what changed."""

LARGE: Final = 200
"""With more webhooks a background thread reads everything: 3,000 take up to 140 ms: no request should wait for it."""

OVERLAP: Final = timedelta(minutes=1)
"""How far before the newest change to read again: clocks differ, and a transaction commits after it set the time."""

_NOT_READ_AGAIN: Final = "The configuration of the webhooks could not be read again: %s. The cached one is used."


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveKey:
    """A key that the webhook accepts until `expires_at` (None: without end)."""

    key: SigningKey
    expires_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class UnreadableSecret:
    """A secret that can't be read now, and why. It may be the sender's until `expires_at` (None: without end)."""

    reason: str
    expires_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """A webhook as the receiver view needs it. Its repr shows no secret."""

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
    has_removed: bool
    """Whether deliveries were removed, so that a new one may be a repeat of one of them."""
    awaited_key_id: str | None
    """The id of the new key whose first use ends a rotation; None if no rotation waits for it."""
    unreadable: tuple[UnreadableSecret, ...] = ()

    def live_keys(self, now: datetime) -> list[SigningKey]:
        """Return the keys accepted at `now`."""
        return [live.key for live in self.keys if live.expires_at is None or live.expires_at > now]

    def why_unreadable(self, now: datetime) -> str:
        """Return why a secret that is accepted at `now` can't be read; empty if all of them can."""
        reasons = (one.reason for one in self.unreadable if one.expires_at is None or one.expires_at > now)
        return next(reasons, "")

    def subscribes_to(self, event: str) -> bool:
        """Return whether the receivers of `event` run: an empty list means every event."""
        return not self.events or event in self.events


class TenantCache:
    """The process's copy of the configuration of every webhook of one tenant. Thread-safe."""

    def __init__(self, tenant: str = tenants.NO_TENANT) -> None:
        self._tenant = tenant
        self._cached: CachedRows[dict[uuid.UUID, Configuration]] = CachedRows()
        self._checked_at = self._reloaded_at = self._background_read_at = float("-inf")
        self._reader = DaemonThread(
            self._read_in_background, name="nateq_webhooks configuration", after_fork=self._reset_lock
        )
        self._reset_lock()

    def get(self, webhook_id: uuid.UUID) -> Configuration | None:
        """Return the webhook's configuration; None if there is no such webhook.

        Raises `django.db.Error` only if it is not cached and the database can't be asked.
        """
        if not self._cached.is_valid:
            if self._reads_in_background():
                self._start_reader()
                return self._read_one(webhook_id)
            self._reload(webhook_id)
        elif (age := time.monotonic() - self._checked_at) >= REFRESH_SECONDS:
            self._refresh_once(waits=age >= STALE_SECONDS)
        return self._by_id.get(webhook_id)

    def known(self) -> tuple[Configuration, ...]:
        """Return every webhook as it was last read. Never queries the database."""
        return tuple(self._by_id.values())

    def cached(self, webhook_id: uuid.UUID) -> Configuration | None:
        """Return a webhook as it was last read; None if it was not. Never queries the database."""
        return self._by_id.get(webhook_id)

    def invalidate(self) -> None:
        """Read everything again at the next look-up."""
        self._cached.invalidate()

    @property
    def _by_id(self) -> dict[uuid.UUID, Configuration]:
        return self._cached.rows or {}

    def _reset_lock(self) -> None:
        self._lock = threading.Lock()

    def _reads_in_background(self) -> bool:
        """Return whether a thread reads everything: there are many webhooks, and other threads see the same rows."""
        return len(self._by_id) > LARGE and not is_private(router.db_for_write(Webhook))

    def _start_reader(self) -> None:
        """Start the thread unless it runs; at most once a second."""
        now = time.monotonic()
        if now - self._background_read_at < REFRESH_SECONDS:
            return
        self._background_read_at = now
        try:
            self._reader.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            logger.warning(_NOT_READ_AGAIN, error)

    def _read_in_background(self, _stop: threading.Event) -> None:
        """Read everything in the thread, on its own connection."""
        with tenants.activate(self._tenant):
            try:
                with self._lock:
                    self._read(everything=True)
            except Error as error:
                logger.warning(_NOT_READ_AGAIN, type(error).__name__)
            finally:
                connections[router.db_for_write(Webhook)].close()

    def _read_one(self, webhook_id: uuid.UUID) -> Configuration | None:
        """Read one webhook while the thread reads everything."""
        alias = router.db_for_write(Webhook)
        try:
            rows = Webhook.objects.using(alias).filter(pk=webhook_id).configuration()
            return _configurations(rows).get(webhook_id)
        except Error as error:
            close_if_lost(alias)
            if webhook_id not in self._by_id:
                raise
            logger.warning(
                "The configuration of a webhook could not be read again: %s. The cached one is used.",
                type(error).__name__,
            )
            return self._by_id[webhook_id]

    def _reload(self, wanted: uuid.UUID) -> None:
        """Read everything, once for all threads that wait."""
        with self._lock:
            if self._cached.is_valid:
                return
            try:
                self._read(everything=True)
            except Error as error:
                if wanted not in self._by_id:
                    raise
                logger.warning(_NOT_READ_AGAIN, type(error).__name__)

    def _refresh_once(self, *, waits: bool) -> None:
        """Read what changed, unless another thread does; with `waits` after that."""
        if not self._lock.acquire(blocking=waits):
            return
        try:
            if time.monotonic() - self._checked_at >= REFRESH_SECONDS:
                self._refresh()
        finally:
            self._lock.release()

    def _refresh(self) -> None:
        """Read what changed; if the database can't be asked, the cached configuration stays valid."""
        now = time.monotonic()
        is_due = now - self._reloaded_at >= RELOAD_SECONDS
        if is_due and self._reads_in_background():
            self._start_reader()
            is_due = False
        try:
            self._read(everything=is_due)
        except Error as error:
            logger.warning(
                "The configuration of the webhooks could not be refreshed: %s. The cached one is used.",
                type(error).__name__,
            )
        finally:
            # Not before: another request would take the former copy for a new one.
            self._checked_at = time.monotonic()

    def _read(self, *, everything: bool) -> None:
        known = {} if everything else self._by_id
        newest = max((each.modified_at for each in known.values()), default=None)
        since = None if newest is None else newest - OVERLAP
        alias = router.db_for_write(Webhook)
        try:
            self._cached.read(alias, lambda: known | _configurations(Webhook.objects.using(alias).configuration(since)))
        except Error:
            close_if_lost(alias)
            raise
        self._checked_at = time.monotonic()
        if since is None:
            self._reloaded_at = self._checked_at


class ConfigurationCache:
    """The process's copies, one per tenant: webhooks of two tenants may have the same id."""

    def __init__(self) -> None:
        self._by_tenant: dict[str, TenantCache] = {}

    def get(self, webhook_id: uuid.UUID) -> Configuration | None:
        """Return the webhook's configuration; None if the tenant has no such webhook.

        Raises `django.db.Error` only if it is not cached and the database can't be asked.
        """
        return self._current().get(webhook_id)

    def known(self) -> tuple[Configuration, ...]:
        """Return every webhook of the tenant as it was last read. Never queries the database."""
        return self._current().known()

    def cached(self, webhook_id: uuid.UUID) -> Configuration | None:
        """Return a webhook of the tenant as it was last read; None if it was not. Never queries the database."""
        return self._current().cached(webhook_id)

    def invalidate(self) -> None:
        """Read everything again at the next look-up of each tenant."""
        for one in tuple(self._by_tenant.values()):
            one.invalidate()

    def _current(self) -> TenantCache:
        tenant = tenants.current(router.db_for_write(Webhook))
        return self._by_tenant.get(tenant) or self._by_tenant.setdefault(tenant, TenantCache(tenant))


def _configurations(rows: Iterable[tuple[Any, ...]]) -> dict[uuid.UUID, Configuration]:
    """Merge the rows, one per older secret, into one configuration per webhook."""
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
        has_removed,
        older,
        expires,
    ) in rows:
        known = found.get(pk)
        if known is None:
            keys, unreadable = _keys(name, secret, None)
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
                has_removed=has_removed,
                awaited_key_id=keys[0].key.id if is_waiting else None,
                unreadable=unreadable,
            )
        if older is not None:
            keys, unreadable = _keys(name, older, expires)
            known = replace(known, keys=known.keys + keys, unreadable=known.unreadable + unreadable)
        found[pk] = known
    return found


def _event_names(events: object) -> frozenset[str]:
    """Return the names in a webhook's column; an invalid value must not stop the other webhooks from receiving."""
    if isinstance(events, str) and events:
        return frozenset((events,))
    if isinstance(events, (list, dict)):
        return frozenset(event for event in events if isinstance(event, str))
    return frozenset()


def _keys(
    name: str, secret: str, expires_at: datetime | None
) -> tuple[tuple[LiveKey, ...], tuple[UnreadableSecret, ...]]:
    """Return the key of a secret, or why the secret can't be read now; neither for one that is unusable."""
    try:
        return (LiveKey(key=signing_key(secret), expires_at=expires_at),), ()
    except SecretUnavailableError as error:
        return (), (UnreadableSecret(reason=str(error), expires_at=expires_at),)
    except SecretError as error:
        # Not logged as an error: any unauthenticated request may cause this read, and Django mails each error to
        # ADMINS. The check W004 reports it.
        logger.warning('A secret of webhook "%s" is unusable: %s', name, error)
        return (), ()


cache: Final = ConfigurationCache()
"""The process's copies."""


def find(webhook_id: uuid.UUID) -> Configuration | None:
    """Return the configuration of an active webhook; None if it is unknown or inactive.

    Raises `StoreError` if it is not cached and the database can't be asked.
    """
    try:
        webhook = cache.get(webhook_id)
    except UNAVAILABLE as error:
        raise StoreError(f"The configuration of the webhooks can't be read: {type(error).__name__}.") from error
    return webhook if webhook is not None and webhook.is_active else None


def _invalidate(**kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    # At once for the next request of this process, and again when other connections see the change.
    cache.invalidate()
    transaction.on_commit(cache.invalidate, using=router.db_for_write(Webhook), robust=True)


def _invalidate_on_new_settings(*, setting: str, **kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    if setting in (SETTING, *SETTINGS_OF_SITE_KEYS):
        cache.invalidate()


configuration_changed.connect(_invalidate, dispatch_uid="nateq_webhooks.inbox.configuration")
setting_changed.connect(_invalidate_on_new_settings, dispatch_uid="nateq_webhooks.inbox.configuration")
