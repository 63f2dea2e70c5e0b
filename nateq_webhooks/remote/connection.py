"""The client that the site's settings describe, and what is odd about its key."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from nateq_webhooks.conf import is_debug, is_https_url, settings
from nateq_webhooks.errors import ApiError
from nateq_webhooks.models import Webhook
from nateq_webhooks.remote.errors import RemoteError
from nateq_webhooks.remote.keys import entries, entry_of, key_at, organization_of

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient
    from nateq_webhooks.client import Webhook as AtNateq

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def connect(webhook: Webhook | None = None) -> "NateqClient":
    """Return a client with the key for a webhook (`API_KEYS`, else `API_KEY`); the caller closes it.

    Without a webhook it has `API_KEY`, else the first of `API_KEYS`: what every key may ask. Raises `RemoteError`
    without the extra `client` and when no key fits, and `NateqConfigurationError` for a key or an address that can't
    be used. When several keys are configured and the one that fits by the settings does not see a registered
    webhook, the one that does is used.
    """
    return client_of(next(iter(entries()), "") if webhook is None else entry_seeing(webhook))


def entry_seeing(webhook: Webhook, listed: "Listed | None" = None) -> str:
    """Return the entry of `API_KEYS` ("": `API_KEY`) whose key is used for a webhook.

    `listed` keeps what the keys see, for a caller that asks about many webhooks. Raises `RemoteError` when none fits,
    and `NateqConfigurationError`.
    """
    entry = entry_of(webhook)
    has_key = bool(key_at(entry))
    others = [other for other in entries() if key_at(other) != key_at(entry)]
    if others:
        found = _seeing(webhook, [entry, *others] if has_key else others, listed or Listed())
        if found is not None:
            return found
    if not has_key and settings().api_keys:
        raise RemoteError(
            _(
                'No API key fits webhook "%(name)s" (organization: %(organization)s). Set NATEQ_WEBHOOKS["API_KEYS"] '
                'for its name or organization, or NATEQ_WEBHOOKS["API_KEY"] for all webhooks that no other key fits.'
            )
            % {"name": webhook.name, "organization": organization_of(webhook) or _("not known")}
        )
    return entry


class Listed:
    """What each key sees, read once."""

    def __init__(self) -> None:
        self._there: dict[str, list[AtNateq] | ApiError] = {}

    def of(self, entry: str) -> "list[AtNateq]":
        """Return the webhooks at Nateq that the key of an entry sees. Raises `ApiError`, again without asking again."""
        if entry not in self._there:
            self._there[entry] = self._ask(entry)
        there = self._there[entry]
        if isinstance(there, ApiError):
            raise there
        return there

    def _ask(self, entry: str) -> "list[AtNateq] | ApiError":
        try:
            with client_of(entry) as client:
                return client.webhooks.list()
        except ApiError as error:
            return error


def each_warning() -> Iterator[str]:
    """Yield what is odd about each key; one that can't be used is reported of its webhooks."""
    for entry in entries():
        try:
            client = client_of(entry)
        except ApiError:
            continue
        with client:
            yield from warnings(client)


def _seeing(webhook: Webhook, candidates: list[str], listed: Listed) -> str | None:
    """Return the first of the entries whose key sees the webhook, None when none does.

    A key that is refused sees nothing; what is wrong with it is told when it is used.
    """
    for entry in candidates:
        try:
            there = listed.of(entry)
        except ApiError:
            continue
        if any(each.id == webhook.nateq_id or str(webhook.pk) in each.url for each in there):
            return entry
    return None


def client_of(entry: str) -> "NateqClient":
    """Return a client with the key of an entry of `API_KEYS`, or of `API_KEY` for ""; the caller closes it."""
    try:
        # Imported here: a site that only receives does not load httpx.
        from nateq_webhooks.client import NateqClient
    except ModuleNotFoundError as error:
        raise RemoteError(str(error)) from None
    return NateqClient(key_at(entry) or None, settings().base_url or None)


def warnings(client: "NateqClient") -> Iterator[str]:
    """Yield what looks like the key of the wrong environment."""
    site = settings().public_url
    if client.is_test_key and _is_production():
        yield _(
            "This key is a tg_test_ key, with Nateq's sandbox data, but this site (%(site)s) looks like production. "
            'Set NATEQ_WEBHOOKS["API_KEY"] to a tg_live_ key if its real events are meant.'
        ) % {"site": site or "DEBUG = False"}
    if not client.is_test_key and not _is_production():
        yield _(
            "This key is a tg_live_ key, with production data, but this site (%(site)s) looks like a developer's. "
            'Set NATEQ_WEBHOOKS["API_KEY"] to a tg_test_ key if a trial is meant.'
        ) % {"site": site or "DEBUG = True"}


def _is_production() -> bool:
    """Guess from `PUBLIC_URL`; without one, from `DEBUG`."""
    site = settings().public_url
    if is_debug():
        return False
    return not site or (is_https_url(site) and urlsplit(site).hostname not in _LOCAL_NAMES)
