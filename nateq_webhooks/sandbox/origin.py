"""Whose request it is, by its host and the page that sent it: one rule for the screen and the API."""

import urllib.parse

from nateq_webhooks.sandbox.exchange import Request


def is_for(request: Request, hosts: frozenset[str]) -> bool:
    """Say whether the host asked for is among `hosts` (empty: any).

    Another site's name can be made to point to this machine (DNS rebinding); its pages would then be of our origin.
    """
    names = request.headers.get_all("Host", [])
    try:
        host = urllib.parse.urlsplit(f"//{names[0] if len(names) == 1 else ''}").hostname
    except ValueError:
        return False
    return not hosts or host in hosts


def is_same_origin(request: Request) -> bool:
    """Say whether a request was sent by our own page, or by no browser at all."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None and site != "same-origin":
        return False
    return origin is None or origin == f"http://{request.headers.get('Host', '')}"
