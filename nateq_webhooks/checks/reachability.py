"""Checks of what keeps deliveries from reaching the receiver view; this site's log would not show it."""

import itertools
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from django.core import checks
from django.http.request import split_domain_port, validate_host
from django.urls import NoReverseMatch, Resolver404, get_resolver
from django.utils import translation
from django.utils.module_loading import import_string

from nateq_webhooks import conf
from nateq_webhooks.models.webhook import receiver_path

_PREFIX: Final = "nateq_webhooks"
_SOME_ID: Final = "00000000-0000-0000-0000-000000000000"
_SECURITY: Final = "django.middleware.security.SecurityMiddleware"
_COMMON: Final = "django.middleware.common.CommonMiddleware"
_OURS: Final = "nateq_webhooks.middleware.ReceiverMiddleware"
_DJANGOS: Final = "django.contrib.auth.middleware.LoginRequiredMiddleware"
_LOGIN: Final = re.compile(r"log_?in.?requir|requir.*log_?in|force.?log_?in|auth.?requir|stronghold", re.IGNORECASE)


@checks.register("nateq_webhooks")
def check_reachability(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report redirects, refused hosts, required logins and other views that take the sender's requests.

    A middleware that comes after `ReceiverMiddleware` sees no request of the sender.
    """
    if list(conf.problems()):
        return []
    try:
        path = receiver_path(_SOME_ID)
    except (NoReverseMatch, AttributeError):
        return []  # E006 reports it
    return [*_of_the_host(path), *_of_the_path(path), *_of_the_middleware(), *_of_the_addresses()]


def _of_the_host(path: str) -> Iterator[checks.CheckMessage]:
    site, public = conf.site(), urlsplit(conf.settings().public_url)
    middleware = _before_the_receiver()
    redirects = site.ssl_redirect and _SECURITY in middleware and not _is_exempt(path, site.ssl_exempt)
    if redirects and (public.scheme == "http" or (public.scheme and not site.proxy_ssl_header)):
        yield _warning(
            "W035",
            "SECURE_SSL_REDIRECT is on, and Django can't see which requests came over https "
            "(SECURE_PROXY_SSL_HEADER is not set): behind a proxy each delivery is answered with 301 and lost.",
            "Set SECURE_PROXY_SSL_HEADER to what your proxy sends, exempt the receiver with SECURE_REDIRECT_EXEMPT, or "
            "silence this check if Django's server speaks https itself. PUBLIC_URL must begin with https.",
        )
    if not public.hostname:
        return
    if site.prepend_www and _COMMON in middleware and not public.hostname.startswith("www."):
        yield _warning(
            "W036",
            f"PREPEND_WWW is on, and the host of PUBLIC_URL is {public.hostname!r}: each delivery is answered with 301 "
            "and lost.",
            'Write the host with "www." in NATEQ_WEBHOOKS["PUBLIC_URL"], and in the webhook at Nateq.',
        )
    hosts = site.allowed_hosts or ([".localhost", "127.0.0.1", "[::1]"] if conf.is_debug() else [])
    domain, _port = split_domain_port(public.netloc.rpartition("@")[2])
    is_checked = _COMMON in middleware or _OURS not in site.middleware
    if is_checked and not validate_host(domain, hosts):
        yield _warning(
            "W037",
            f"ALLOWED_HOSTS does not allow {domain!r}, the host of PUBLIC_URL: each delivery is answered with 400.",
            "Add it to ALLOWED_HOSTS, or correct PUBLIC_URL.",
        )


def _of_the_path(path: str) -> Iterator[checks.CheckMessage]:
    site, public = conf.site(), urlsplit(conf.settings().public_url)
    own = [spelling for spelling in (path, path.rstrip("/")) if not _leads_here(spelling)]
    if own:
        yield _warning(
            "W039",
            f"{own[0].replace(_SOME_ID, '<webhook>')} leads to another view: an earlier pattern matches it.",
            'Put path("nateq/", include("nateq_webhooks.urls")) before the patterns that match everything.',
        )
    # Two languages are enough: at most one prefix is empty. Django parses all URLs again for each language.
    if site.uses_languages and len({_path_in(language) for language in site.languages[:2]}) > 1:
        yield _warning(
            "W040",
            f"The receiver's URL is under i18n_patterns: {path.replace(_SOME_ID, '<webhook>')} has the site's language "
            "in it, and changes with LANGUAGE_CODE.",
            "Put the include of nateq_webhooks.urls outside of i18n_patterns, and register the webhooks' new URLs.",
        )
    served_under, of_public = (site.script_name or "").rstrip("/"), public.path.rstrip("/")
    if public.hostname and site.script_name is not None and served_under != of_public:
        yield _warning(
            "W041",
            f"FORCE_SCRIPT_NAME is {site.script_name!r}, but the path of PUBLIC_URL is {public.path!r}: the URLs of "
            "the webhooks lead elsewhere.",
            f"Set PUBLIC_URL to this site's address with that prefix, such as 'https://shop.example{served_under}'.",
        )
    include = path[: path.index(_SOME_ID)].rstrip("/")
    if include and of_public.endswith(include) and served_under != of_public:
        yield _warning(
            "W042",
            f"PUBLIC_URL ends with {include!r}, which the receiver's path begins with: the URLs of the webhooks have "
            "it twice.",
            "PUBLIC_URL is the address of the site, without the path of the include, such as 'https://shop.example'.",
        )


def _of_the_middleware() -> Iterator[checks.CheckMessage]:
    """Report a middleware that may require a login; Django's own exempts the receiver view."""
    for path in _before_the_receiver():
        if path != _DJANGOS and _LOGIN.search(path) and not _is_djangos(path):
            yield _warning(
                "W038",
                f"The middleware {path!r} seems to require a login; the sender has none, and would be redirected.",
                "Exempt the receiver's URL in it, or use Django's LoginRequiredMiddleware, which exempts "
                "the receiver. If this one exempts it, too, silence this check.",
            )


def _of_the_addresses() -> Iterator[checks.CheckMessage]:
    """Report an allow-list that is compared with the address of a proxy."""
    site, settings = conf.site(), conf.settings()
    signs = {"SECURE_PROXY_SSL_HEADER": site.proxy_ssl_header, "USE_X_FORWARDED_HOST": site.forwarded_host}
    told = [name for name, is_set in signs.items() if is_set]
    if settings.allowed_networks and not settings.trusted_proxies and told:
        yield _warning(
            "W043",
            f'NATEQ_WEBHOOKS["ALLOWED_NETWORKS"] is set and TRUSTED_PROXIES is 0, but {" and ".join(told)} '
            f"{'says' if len(told) == 1 else 'say'} that this site is behind a proxy: all requests seem to come from "
            "it, so they are all refused, or all allowed.",
            'Set NATEQ_WEBHOOKS["TRUSTED_PROXIES"] to the number of proxies in front of Django, each of which must add '
            "to X-Forwarded-For.",
        )


def _before_the_receiver() -> list[str]:
    """Return the middleware that see the sender's requests: all but those after `ReceiverMiddleware`."""
    return list(itertools.takewhile(lambda path: path != _OURS, conf.site().middleware))


def _is_djangos(path: str) -> bool:
    try:
        middleware = import_string(path)
    except Exception:  # noqa: BLE001 - a module of the site may raise anything; Django reports it
        return False
    classes = getattr(middleware, "__mro__", ())
    return any(f"{each.__module__}.{each.__qualname__}" == _DJANGOS for each in classes)


def _leads_here(path: str) -> bool:
    """Return whether a POST to the path reaches the receiver, in the site's own language."""
    with translation.override(conf.language_code()):
        try:
            match = get_resolver(conf.root_urlconf()).resolve(path)
        except Resolver404:
            return False
    return "nateq_webhooks" in match.app_names


def _path_in(language: str) -> str:
    return receiver_path(_SOME_ID, language=language)


def _is_exempt(path: str, patterns: list[str]) -> bool:
    return any(re.search(pattern, path.lstrip("/")) for pattern in patterns)


def _warning(check: str, message: str, hint: str) -> checks.CheckMessage:
    return checks.Warning(message, hint=hint, id=f"{_PREFIX}.{check}")
