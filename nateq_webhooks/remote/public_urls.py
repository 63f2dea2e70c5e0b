"""The URL of this site that Nateq posts to."""

from django.urls import NoReverseMatch
from django.utils.translation import gettext as _

from nateq_webhooks.models import Webhook
from nateq_webhooks.remote.remote_errors import RemoteError


def public_url(webhook: Webhook) -> str:
    """Return the URL that Nateq posts to. Raises `RemoteError` when the site's own address is not known."""
    try:
        url = webhook.public_url
    except NoReverseMatch:
        raise RemoteError(
            _('No URL leads to nateq_webhooks. Add path("nateq/", include("nateq_webhooks.urls")) to your urlpatterns.')
        ) from None
    if not url:
        raise RemoteError(
            _('This site\'s own address is not known. Set NATEQ_WEBHOOKS["PUBLIC_URL"], such as https://shop.example.')
        )
    return url


def same_url(one: str, other: str) -> bool:
    """Return whether two URLs are the same except for a slash at the end."""
    return one.rstrip("/") == other.rstrip("/")
