"""The allow-list of networks: which addresses may send to the receiver view, and why one may not."""

from collections.abc import Mapping
from typing import Any

from nateq_webhooks.conf import settings
from nateq_webhooks.inbox.diagnosis import Cause, Detail, Finding
from nateq_webhooks.inbox.request import forwarded_addresses, remote_address
from nateq_webhooks.protocol.networks import is_in, read_address


def is_address_allowed(meta: Mapping[str, Any]) -> bool:
    """Return whether `ALLOWED_NETWORKS` has the address of a request. A request without an address is not allowed."""
    networks = settings().allowed_networks
    return not networks or is_in(remote_address(meta, settings().trusted_proxies), networks)


def address_finding(meta: Mapping[str, Any]) -> Finding:
    """Return why the address of a request is not allowed.

    If X-Forwarded-For does not have one address per trusted proxy, the details say so: `forwarded` and `proxies`. Then
    the address may be that of a proxy.
    """
    proxies = settings().trusted_proxies
    address = remote_address(meta, proxies)
    forwarded = len(forwarded_addresses(meta))
    details: dict[str, Detail] = {"address": address} if address else {}
    if forwarded != proxies:
        details |= {"forwarded": forwarded, "proxies": proxies}
    if not address:
        return Finding(Cause.NO_ADDRESS, details)
    return Finding(Cause.ADDRESS if read_address(address) else Cause.UNREADABLE_ADDRESS, details)
