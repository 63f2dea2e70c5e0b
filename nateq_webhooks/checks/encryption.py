"""Checks of encrypted secrets: the extra is installed, each secret can be read, and none is in plain text."""

from collections.abc import Sequence
from typing import Any, Final

from django.core import checks
from django.db import Error, router

from nateq_webhooks import conf
from nateq_webhooks.database import encryption
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.protocol.invisible_chars import one_line
from nateq_webhooks.stored_secrets import unreadable

_PREFIX = "nateq_webhooks"

_MAX_WEBHOOKS: Final = 20
"""Webhooks that are named, one message each."""


@checks.register("nateq_webhooks")
def check_extra(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report keys that can't be used: the extra is missing."""
    problem = None if list(conf.problems()) else encryption.missing_extra()
    return [] if problem is None else [checks.Error(problem.message, hint=problem.hint, id=f"{_PREFIX}.E030")]


@checks.register("nateq_webhooks", checks.Tags.database)
def check_readable(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report secrets that can't be read: what they may have signed is answered with 503. Silent without tables."""
    alias = router.db_for_write(Webhook)
    if alias not in (databases or ()) or list(conf.problems()):
        return []
    try:
        found = unreadable(alias)
    except Error:
        return []
    return [
        checks.Error(
            f'A signing secret of webhook "{one_line(name)}" can\'t be read: deliveries that no other secret '
            "verifies are answered with 503.",
            hint=str(error),
            id=f"{_PREFIX}.E032" if error.params else f"{_PREFIX}.E031",  # the variable's name
        )
        for name, error in list(found.items())[:_MAX_WEBHOOKS]
    ]


@checks.register("nateq_webhooks", deploy=True)
def check_encrypts(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report that secrets are stored in plain text: the extra is missing."""
    if list(conf.problems()) or conf.settings().secret_keys or encryption.is_installed():
        return []
    return [
        checks.Warning(
            "Signing secrets are stored in plain text: anyone with the database or a backup can sign deliveries.",
            hint=f"Install the extra: {encryption.INSTALL}. Then run: manage.py nateq_secrets rotate-key",
            id=f"{_PREFIX}.W065",
        )
    ]


@checks.register("nateq_webhooks", checks.Tags.database, deploy=True)
def check_encrypted(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report secrets of before that are still in plain text. Silent if tables are missing."""
    alias = router.db_for_write(Webhook)
    if alias not in (databases or ()) or list(conf.problems()) or not encryption.is_installed():
        return []
    try:
        number = sum(model.objects.using(alias).plain().count() for model in (Webhook, Secret))
    except Error:
        return []
    if not number:
        return []
    return [
        checks.Warning(
            f"{number} signing secret(s) are still stored in plain text.",
            hint="Encrypt them: manage.py nateq_secrets rotate-key",
            id=f"{_PREFIX}.W066",
        )
    ]
