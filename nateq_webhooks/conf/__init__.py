"""The settings: the dict `NATEQ_WEBHOOKS` in Django's settings, read only here.

`settings()` returns a frozen object, which is rebuilt when a test overrides the dict. `problems()` yields what the
system checks report.
"""

import difflib
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.encoding import force_str

from nateq_webhooks.conf.misnamed import misnamed
from nateq_webhooks.conf.retention import RetentionRules, parse
from nateq_webhooks.conf.rules import CONFIDENTIAL, RULES, header_problem, redacted_paths
from nateq_webhooks.conf.site import Site, site
from nateq_webhooks.protocol.redaction import Redaction
from nateq_webhooks.protocol.secret_text import SecretText
from nateq_webhooks.protocol.signatures import DEFAULT_HEADER, SecretEncoding

__all__ = [
    "SETTING",
    "SETTINGS_OF_SITE_KEYS",
    "Problem",
    "Settings",
    "Site",
    "given_keys",
    "header_problem",
    "is_debug",
    "is_https_url",
    "language_code",
    "meta_key",
    "misnamed_settings",
    "problems",
    "root_urlconf",
    "settings",
    "site",
    "site_keys",
    "uses_shared_tables",
    "uses_time_zones",
    "wrong_settings",
]

SETTING = "NATEQ_WEBHOOKS"

logger: Final = logging.getLogger("nateq_webhooks")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting with its default. In the dict `NATEQ_WEBHOOKS` the names are upper case."""

    public_url: str = ""
    """This site's own address as Nateq reaches it, with the prefix that it is served under if there is one:
    `https://shop.example` or `https://shop.example/app`. The full URL of a webhook is built from it."""

    signature_header: str = DEFAULT_HEADER
    "The header that carries the signature; a webhook may name another one."

    secret_encoding: SecretEncoding = "utf-8"  # noqa: S105 - an encoding, not a secret
    '"utf-8": a secret is used as it is shown, prefix included. "base64": what follows the prefix is decoded first.'

    readable_headers: Sequence[str] = field(default_factory=list)
    """Headers whose values are stored and shown, in addition to those that are known to be harmless
    (docs/reference/receiving.md). Of all others only the names are kept."""

    max_body_bytes: int = 1024 * 1024
    "A larger body is refused with 413 before it is read (bytes)."

    trusted_proxies: int = 0
    "How many proxies of yours are in front of Django; with 0 X-Forwarded-For is ignored."

    allowed_networks: Sequence[str] = field(default_factory=list)
    """IP addresses and networks that deliveries may come from, after the trusted proxies: `["192.0.2.0/24"]`. A request
    from elsewhere gets 403. Empty: any."""

    replay_window: timedelta = timedelta()
    """A new delivery whose `timestamp` is older than this is refused, as is one from the future or without a
    `timestamp`; zero: none is. It is longer than the sender goes on retrying."""

    redact: Sequence[str | Mapping[str, Any]] = field(default_factory=list)
    """Paths in the body, such as "data.requester.email", whose values are masked wherever they are shown. With
    `{"path": ..., "store": True}` they are masked before the delivery is stored."""

    dispatch: str = "inline"
    """Where receivers run: "inline" in the request, after the delivery is stored; "worker" in `manage.py nateq_worker`;
    "tasks" as a task of django.tasks; "celery" as a task of Celery; or the dotted path of a class of yours."""

    task_backend: str = "default"
    'With DISPATCH "tasks": which backend of the setting TASKS gets the tasks.'

    task_queue: str = ""
    'With DISPATCH "tasks" or "celery": the queue that gets the tasks; empty: the default one.'

    run_lease: timedelta = timedelta(minutes=5)
    "A run that is not finished after this time is assumed dead and starts again."

    run_timeout: timedelta = timedelta(minutes=15)
    "A receiver that runs longer has failed: its lease is not renewed, and its late commit is refused."

    retry_base: timedelta = timedelta(seconds=30)
    "How long to wait before the second try of a failed run; doubled for each further one."

    max_tries: int = 10
    "How many tries a run has before it is given up."

    retry_max_age: timedelta = timedelta(days=3)
    "A run that is older than this is given up at its next failure."

    ack: str = "stored"
    """When a delivery is acknowledged: "stored", or "processed": after its receivers have succeeded, else 503, so that
    the sender retries. The latter needs DISPATCH "inline"."""

    ack_timeout: timedelta = timedelta(seconds=8)
    'With ACK "processed": after this time no further receiver is started, and the answer is 503.'

    ordered_by: str = ""
    """A dotted path in the envelope, such as "data.conversation_id": a receiver runs deliveries of a webhook
    with the same value there one at a time, in the order of their receipt. Empty: without an order."""

    order_on_dead: str = "skip"
    'With ORDERED_BY: whether a run that was given up is skipped ("skip") or stops those after it ("block").'

    rate_limits: Mapping[str, float] = field(default_factory=dict)
    "How many runs a second each of these receivers may start, over all processes: their names and the numbers."

    breaker_after: int = 0
    "A receiver that fails this many times in a row for a webhook is paused for it until a probe succeeds; 0: never."

    breaker_pause: timedelta = timedelta(minutes=1)
    "How long a receiver that the breaker has paused waits for the next probe."

    identity: str = "delivery_id"
    """What makes two requests one delivery: "delivery_id", or "content": the event, time, organization and data, for a
    sender that gives each retry an id of its own."""

    api_key: str = field(default="", repr=False)
    "Nateq's API key with the scope webhooks:manage, for the commands; empty: NATEQ_API_KEY of the environment."

    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Keys of further organizations at Nateq, by a webhook's name or an organization's id. Other webhooks use
    `api_key`."""

    base_url: str = field(default="", repr=False)
    "Where Nateq's API is; empty: NATEQ_BASE_URL of the environment, else Nateq's own address."

    tenants: str = ""
    """For a database schema per tenant: the dotted path of a class that knows the tenants, such as
    "nateq_webhooks.tenants.DjangoTenants". Empty: no tenants."""

    rotation_overlap: timedelta = timedelta(hours=48)
    """How long a replaced secret is accepted after the first delivery with the new one: as long as the sender retries,
    because a late retry may carry the old signature."""

    secret_keys: Sequence[str] = field(default_factory=list, repr=False)
    """Keys that encrypt the signing secrets in the database, newest first: Fernet keys, or any other long random text.
    Empty: keys derived from Django's `SECRET_KEY` and `SECRET_KEY_FALLBACKS`. Needs the extra `encryption`."""

    retention: Mapping[str, object] = field(default_factory=dict)
    """After how many days content and deliveries are removed, by status or event (docs/how-to/retention.md): for
    instance {"payload": 90, "delivery": {"*": 365, "dead": None}}. Empty: nothing is removed."""

    removed_kept_for: timedelta = timedelta(days=30)
    """How long the identity of a delivery that `RETENTION` has removed is kept, so that the sender's repeat of it runs
    no receiver again."""

    audit_retention: timedelta = timedelta()
    "How long the entries of the audit log are kept; zero: for ever."

    @functools.cached_property
    def retention_rules(self) -> RetentionRules:
        """`retention`, parsed."""
        return parse(self.retention)

    @functools.cached_property
    def readable_keys(self) -> frozenset[str]:
        """The names of `readable_headers` as `request.META` has them."""
        return frozenset(meta_key(name) for name in self.readable_headers)

    @functools.cached_property
    def redaction(self) -> Redaction:
        """What is masked where it is shown: all paths of `redact`."""
        return Redaction(path for path, _is_stored in redacted_paths(self.redact))

    @functools.cached_property
    def stored_redaction(self) -> Redaction:
        """What is masked before it is stored."""
        return Redaction(path for path, is_stored in redacted_paths(self.redact) if is_stored)


_DEFAULTS = Settings()


@dataclass(frozen=True, slots=True)
class Problem:
    """One error in the settings dict: the id of its check, the message, and what to do."""

    id: str
    message: str
    hint: str


def meta_key(header: str) -> str:
    """Return the name under which `request.META` has a header: `HTTP_X_NATEQ_SIGNATURE`."""
    return "HTTP_" + header.upper().replace("-", "_")


@functools.cache
def settings() -> Settings:
    """Return the settings in force. Raises `ImproperlyConfigured` naming the first problem."""
    for problem in problems():  # no local variable holds the dict: a debug page would show its API key
        raise ImproperlyConfigured(f"{problem.message} {problem.hint}")
    return Settings(**{key.lower(): value for key, value in _raw().items()})


def wrong_settings() -> bool:
    """Return whether the settings are wrong, so that a request is answered with 503: a server starts without checks."""
    try:
        settings()
    except ImproperlyConfigured as error:
        _report(str(error))
        return True
    return False


@functools.lru_cache(maxsize=16)
def _report(problem: str) -> None:
    """Log wrong settings as an error, once in a process: anybody can send the requests that they refuse."""
    logger.error(
        "No delivery can be received (each is answered with 503, as is the API and the admin) until the settings are "
        "right: %s",
        problem,
    )


def problems(raw: object = None) -> Iterator[Problem]:
    """Yield the errors in a settings dict; by default the site's."""
    raw = _raw() if raw is None else raw
    if not isinstance(raw, Mapping):
        yield Problem("E001", f"{SETTING} is of type {type(raw).__name__}, not dict.", f"Write {SETTING} = {{...}}.")
        return
    known = {field.name.upper() for field in fields(Settings)}
    for key, value in raw.items():
        if key in known:
            yield from _value_problems(key, value)
        else:
            close = difflib.get_close_matches(str(key).upper(), known, n=1, cutoff=0.5)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known settings: {', '.join(sorted(known))}."
            yield Problem("E002", f"{SETTING} has no setting {key!r}.", hint)
    if raw.get("ACK") == "processed" and raw.get("DISPATCH", _DEFAULTS.dispatch) != "inline":
        message = f'{SETTING}["ACK"] is \'processed\', but {SETTING}["DISPATCH"] is {raw.get("DISPATCH")!r}.'
        hint = "Only receivers that run in the request can delay its answer: use DISPATCH 'inline' or ACK 'stored'."
        yield Problem("E008", message, hint)
    yield from _order_problems(raw)


def misnamed_settings() -> list[tuple[str, str]]:
    """Return the Django settings that nothing reads and that were probably meant for the dict, with what was meant."""
    raw = _raw()
    known = [field.name.upper() for field in fields(Settings)]
    return list(misnamed(SETTING, raw, known, _is_legal)) if isinstance(raw, Mapping) else []


def _is_legal(key: str, value: object) -> bool:
    return not list(_value_problems(key, value))


def given_keys() -> set[str]:
    """Return the keys that the dict has; the other settings have their defaults."""
    return set(_raw())


def is_https_url(url: str) -> bool:
    """Return whether `url` is an absolute https address."""
    return urlsplit(url).scheme == "https"


def is_debug() -> bool:
    """Return whether the site runs in debug mode (`DEBUG`)."""
    return bool(django_settings.DEBUG)


def uses_time_zones() -> bool:
    """Return whether the site stores aware times (`USE_TZ`)."""
    return bool(django_settings.USE_TZ)


def language_code() -> str:
    """Return the site's default language (`LANGUAGE_CODE`)."""
    return str(django_settings.LANGUAGE_CODE)


SETTINGS_OF_SITE_KEYS: Final = ("SECRET_KEY", "SECRET_KEY_FALLBACKS")
"""Django's settings that `site_keys` reads."""


def site_keys() -> list[str]:
    """Return Django's `SECRET_KEY` and its fallbacks, newest first; none if the site has no `SECRET_KEY`."""
    try:
        keys = [django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS]
    except ImproperlyConfigured:
        return []
    return [SecretText(force_str(key)) for key in keys if key]


def session_cookie_name() -> str:
    """Return the name of the cookie that holds a session (`SESSION_COOKIE_NAME`)."""
    return str(django_settings.SESSION_COOKIE_NAME)


def root_urlconf() -> Any:
    """Return the site's URLs, as a module, its dotted path or a list (`ROOT_URLCONF`)."""
    return django_settings.ROOT_URLCONF


def uses_shared_tables() -> bool:
    """Return whether django-tenants creates this app's tables in the public schema, too (`SHARED_APPS`)."""
    shared = getattr(django_settings, "SHARED_APPS", ())
    return any(str(app).partition(".")[0] == "nateq_webhooks" for app in shared)


def _order_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the error of an `ORDERED_BY` whose values are masked before they are stored."""
    path, redact = raw.get("ORDERED_BY"), raw.get("REDACT")
    if not isinstance(path, str) or not path or not isinstance(redact, list) or RULES["REDACT"](redact):
        return
    if Redaction(each for each, is_stored in redacted_paths(redact) if is_stored).covers(path.split(".")):
        message = f'{SETTING}["ORDERED_BY"] is {path!r}, whose values {SETTING}["REDACT"] masks before they are stored.'
        hint = 'Deliveries are ordered by what is stored: order by another path, or leave out "store": True for it.'
        yield Problem("E009", message, hint)


def _raw() -> Any:
    return getattr(django_settings, SETTING, {})


def _value_problems(key: str, value: object) -> Iterator[Problem]:
    """Yield the error of one value: of its type, or else of its content."""
    default = getattr(_DEFAULTS, key.lower())
    wanted = type(default)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        message = f"{SETTING}[{key!r}] is of type {type(value).__name__}, not {wanted.__name__}."
        yield Problem("E003", message, f"{_meant(key, value, default)}The default is {default!r}.")
        return
    rule = RULES.get(key)
    if rule is not None and (complaint := rule(value)):
        unit = "characters" if isinstance(value, str) else "entries"
        shown = f"is not shown here ({len(value)} {unit})" if key in CONFIDENTIAL else f"is {value!r}"
        yield Problem("E004", f"{SETTING}[{key!r}] {shown}: {complaint[0]}.", complaint[1])


def _meant(key: str, value: object, default: object) -> str:
    """Return what to write in place of a value of the wrong type, if its meaning is clear; it may be confidential."""
    if isinstance(default, timedelta) and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"Write timedelta(seconds={value}) or timedelta(days={value}). "
    if isinstance(default, list) and isinstance(value, str):
        return "Write a list, also of one. " if key in CONFIDENTIAL else f"Write a list: [{value!r}]. "
    if isinstance(default, list) and isinstance(value, (tuple, set, frozenset)):
        return "Write a list: [...]. "
    return 'Write days, such as {"payload": 90, "delivery": 365}. ' if key == "RETENTION" else ""


def _forget(*, setting: str, **kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    if setting == SETTING:
        settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="nateq_webhooks.conf")
