"""Checks of the settings, the URLs and the runner."""

from datetime import timedelta
from importlib.util import find_spec
from typing import Any

from django.core import checks
from django.urls import NoReverseMatch, reverse

from nateq_webhooks import conf
from nateq_webhooks.dispatch import api

_PREFIX = "nateq_webhooks"


@checks.register("nateq_webhooks")
def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report unknown keys, wrong types and illegal values in `NATEQ_WEBHOOKS`, and a site without time zones."""
    found: list[checks.CheckMessage] = [
        checks.Error(problem.message, hint=problem.hint, id=f"{_PREFIX}.{problem.id}") for problem in conf.problems()
    ]
    if not conf.uses_time_zones():
        found.append(
            checks.Error(
                "USE_TZ is False, but the times of deliveries are aware.",
                hint="Set USE_TZ = True.",
                id=f"{_PREFIX}.E005",
            )
        )
    return found


@checks.register("nateq_webhooks")
def check_misnamed_settings(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report settings beside `NATEQ_WEBHOOKS` that nothing reads, such as `NATEQ_WEBHOOK`, and `RETENTION`."""
    return [
        checks.Warning(
            f"The setting {name} is not read by nateq_webhooks. Did you mean {meant}?",
            hint="If other code of yours reads it, silence this check.",
            id=f"{_PREFIX}.W085",
        )
        for name, meant in conf.misnamed_settings()
    ]


@checks.register("nateq_webhooks")
def check_without_effect(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report settings that have no effect because another one, which switches them on, is not set."""
    if list(conf.problems()):
        return []
    settings, keys = conf.settings(), conf.given_keys()
    switches = {
        "ACK_TIMEOUT": ("ACK", "'processed'", settings.ack == "processed"),
        "BREAKER_PAUSE": ("BREAKER_AFTER", "a number of failures", settings.breaker_after > 0),
        "ORDER_ON_DEAD": ("ORDERED_BY", "a path", bool(settings.ordered_by)),
        "REMOVED_KEPT_FOR": ("RETENTION", "days", bool(settings.retention_rules)),
        "TASK_BACKEND": ("DISPATCH", "'tasks'", settings.dispatch == "tasks"),
        "TASK_QUEUE": ("DISPATCH", "'tasks' or 'celery'", settings.dispatch in ("tasks", "celery")),
    }
    return [
        checks.Warning(
            f'NATEQ_WEBHOOKS["{key}"] has no effect, because NATEQ_WEBHOOKS["{switch}"] is not set to {value}.',
            hint=f"Set {switch} to {value}, or remove {key}.",
            id=f"{_PREFIX}.W086",
        )
        for key, (switch, value, is_on) in switches.items()
        if key in keys and not is_on
    ]


@checks.register("nateq_webhooks")
def check_dispatch(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report a `DISPATCH` that can't work: a package is missing, or the class is not a runner."""
    if list(conf.problems()):
        return []
    way = conf.settings().dispatch
    try:
        if lacks_celery():
            raise ImportError('Celery is not installed: pip install "nateq-webhooks[celery]".')
        runner = api.runner()
        if isinstance(runner.hold, timedelta) and callable(runner.wake):
            return []
        complaint = f"Its hold is a {type(runner.hold).__name__}, not a timedelta, or its wake is not callable."
    except Exception as error:  # noqa: BLE001 - a class of the site may raise anything
        complaint = f"{type(error).__name__}: {error}"
    return [
        checks.Error(
            f'NATEQ_WEBHOOKS["DISPATCH"] is {way!r}, which does not work here. {complaint}',
            hint="Install what it needs, or choose another way to run receivers: "
            'see "Run workers" in the project\'s documentation.',
            id=f"{_PREFIX}.E007",
        )
    ]


def lacks_celery() -> bool:
    """Return whether the setting `DISPATCH` asks for Celery, which is not installed (E007)."""
    return conf.settings().dispatch == "celery" and find_spec("celery") is None


@checks.register("nateq_webhooks")
def check_urls(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report that the receiver view has no URL."""
    try:
        reverse("nateq_webhooks:receive", args=["00000000-0000-0000-0000-000000000000"])
    except (NoReverseMatch, AttributeError):  # AttributeError: no ROOT_URLCONF at all
        return [
            checks.Error(
                "No URL leads to nateq_webhooks, so nothing can be received.",
                hint='Add path("nateq/", include("nateq_webhooks.urls")) to the urlpatterns of your ROOT_URLCONF.',
                id=f"{_PREFIX}.E006",
            )
        ]
    return []


@checks.register("nateq_webhooks", deploy=True)
def check_public_url(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report, for a deployment, a public URL that is not https."""
    if list(conf.problems()) or conf.is_https_url(conf.settings().public_url):
        return []
    return [
        checks.Warning(
            f'NATEQ_WEBHOOKS["PUBLIC_URL"] is {conf.settings().public_url!r}, which is not an https address.',
            hint="Set it to this site's address as Nateq reaches it, such as 'https://shop.example'.",
            id=f"{_PREFIX}.W001",
        )
    ]
