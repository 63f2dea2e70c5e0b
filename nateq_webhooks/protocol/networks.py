"""IP addresses and networks of an allow-list. An IPv4 address that is mapped into IPv6 counts as the IPv4 address."""

import functools
import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from nateq_webhooks.protocol.i18n import gettext_noop

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NOT_A_NETWORK: Final = gettext_noop("%(entry)s is not an IP address or a network, such as 192.0.2.7 or 192.0.2.0/24")
_HOST_BITS: Final = gettext_noop("%(entry)s has bits set after its prefix; the network is %(network)s")

_SHOWN_CHARS: Final = 60
"""Of an entry in a message."""

_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")

_WITH_PORT: Final = re.compile(r"\[(?P<v6>[^\]]*)\](?::\d{1,5})?|(?P<v4>[\d.]+):\d{1,5}")
"""As some proxies write an address into X-Forwarded-For: `192.0.2.7:51234`, `[2001:db8::7]:51234`."""


def network_problem(entry: object) -> tuple[str, dict[str, str]] | None:
    """Return what is wrong with an entry of an allow-list, as a text with the values to put into it, or None.

    Stricter than `read_network`: an entry that means another network than it seems to is probably a mistake.
    """
    shown = repr(str(entry)[:_SHOWN_CHARS])
    network = read_network(entry) if isinstance(entry, str) else None
    if network is None or not isinstance(entry, str):
        return _NOT_A_NETWORK, {"entry": shown}
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        return _HOST_BITS, {"entry": shown, "network": network.compressed}
    return None


@functools.lru_cache(maxsize=256)
def read_network(text: str) -> Network | None:
    """Return a network, or an address as one; None if the text is neither. Bits after its prefix don't count."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def read_address(text: str) -> Address | None:
    """Return the address of a client as a server or a proxy wrote it; None if the text is none.

    A port and the zone of a link-local address don't count.
    """
    if match := _WITH_PORT.fullmatch(text):
        text = match["v6"] or match["v4"] or ""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_in(text: str | None, networks: Iterable[object]) -> bool:
    """Return whether the address of a client is in one of the networks. What is no address is in none."""
    address = read_address(text or "")
    return address is not None and any(
        network is not None and address in network for network in map(read_network, map(str, networks))
    )
