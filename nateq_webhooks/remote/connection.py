"""The client that the site's settings describe, and warnings about its key."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from nateq_webhooks.conf import is_debug, is_https_url, settings
from nateq_webhooks.errors import ApiError
from nateq_webhooks.models import Webhook
from nateq_webhooks.remote.keys import key_entries, key_entry, key_of_entry, organization_of
from nateq_webhooks.remote.remote_errors import RemoteError

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient, RemoteWebhook

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def connect(webhook: Webhook | None = None) -> "NateqClient":
    """Return a client with the key for a webhook (`API_KEYS`, else `API_KEY`); the caller closes it.

    Without a webhook the client has `API_KEY`, else the first of `API_KEYS`: use it only for what every key may ask.
    If several keys are configured and the webhook's own does not see it at Nateq, a key that sees it is used.

    Raises `RemoteError` without the extra `client` and when no key fits, and `NateqConfigurationError` for a key or
    an address that can't be used.
    """
    return client_for(next(iter(key_entries()), "") if webhook is None else choose_entry(webhook))


def choose_entry(webhook: Webhook, lists: "RemoteLists | None" = None) -> str:
    """Return the entry of `API_KEYS` (empty for `API_KEY`) whose key is used for a webhook.

    `lists` keeps what the keys see, for a caller that asks about many webhooks. Raises `RemoteError` when none fits,
    and `NateqConfigurationError`.
    """
    entry = key_entry(webhook)
    has_key = bool(key_of_entry(entry))
    others = [other for other in key_entries() if key_of_entry(other) != key_of_entry(entry)]
    if others:
        found = _first_entry_that_sees(webhook, [entry, *others] if has_key else others, lists or RemoteLists())
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


class RemoteLists:
    """The webhooks that each key sees at Nateq, read once."""

    def __init__(self) -> None:
        self._lists: dict[str, list[RemoteWebhook] | ApiError] = {}

    def of(self, entry: str) -> "list[RemoteWebhook]":
        """Return the webhooks that the key of an entry sees. Raises `ApiError`, the same one each time."""
        if entry not in self._lists:
            self._lists[entry] = self._read(entry)
        found = self._lists[entry]
        if isinstance(found, ApiError):
            raise found
        return found

    def _read(self, entry: str) -> "list[RemoteWebhook] | ApiError":
        try:
            with client_for(entry) as client:
                return client.webhooks.list()
        except ApiError as error:
            return error


def _first_entry_that_sees(webhook: Webhook, candidates: list[str], lists: RemoteLists) -> str | None:
    """Return the first entry whose key sees the webhook; a refused key sees nothing, and fails when it is used."""
    for entry in candidates:
        try:
            visible = lists.of(entry)
        except ApiError:
            continue
        if any(each.id == webhook.nateq_id or str(webhook.pk) in each.url for each in visible):
            return entry
    return None


def client_for(entry: str) -> "NateqClient":
    """Return a client with the key of an entry of `API_KEYS` (empty for `API_KEY`); the caller closes it."""
    try:
        # Imported here: a site that only receives does not load httpx.
        from nateq_webhooks.client import NateqClient
    except ModuleNotFoundError as error:
        raise RemoteError(str(error)) from None
    return NateqClient(key_of_entry(entry) or None, settings().base_url or None)


def all_key_warnings() -> Iterator[str]:
    """Yield the warnings of every configured key that can be used."""
    for entry in key_entries():
        try:
            client = client_for(entry)
        except ApiError:
            continue
        with client:
            yield from key_warnings(client)


def key_warnings(client: "NateqClient") -> Iterator[str]:
    """Yield a warning for a key that seems to be of the wrong environment."""
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
