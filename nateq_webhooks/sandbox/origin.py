"""Checks of the host and the origin of a request, for the screen and the API."""

import urllib.parse

from nateq_webhooks.sandbox.exchange import Request


def is_allowed_host(request: Request, hosts: frozenset[str]) -> bool:
    """Return whether the requested host is among `hosts` (empty: any).

    Another site's name can resolve to this machine (DNS rebinding); its pages would then have the same origin.
    """
    names = request.headers.get_all("Host", [])
    try:
        host = urllib.parse.urlsplit(f"//{names[0] if len(names) == 1 else ''}").hostname
    except ValueError:
        return False
    return not hosts or host in hosts


def is_same_origin(request: Request) -> bool:
    """Return whether a request was sent by the sandbox's own page, or not by a browser."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None and site != "same-origin":
        return False
    return origin is None or origin == f"http://{request.headers.get('Host', '')}"
