"""The settings of the sandbox's own Django site; the settings of the site under development are never read."""

import logging
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import django
from django.conf import settings  # noqa: TID251 - of the sandbox's own process

from nateq_webhooks.sandbox.options import MEMORY, Options

HERE: Final = Path(__file__).parent
MAX_BODY_BYTES: Final = 1024 * 1024
MAX_FORM_FIELDS: Final = 1000


@contextmanager
def configured(options: Options) -> Iterator[Path]:
    """Configure Django for a sandbox with these options; yields the file of its database.

    What is kept in memory is in a folder of its own, because every thread has its own connection; it is deleted at the
    end.
    """
    is_kept = options.database not in (MEMORY, "")
    folder = "" if is_kept else tempfile.mkdtemp(prefix="nateq_sandbox_")
    file = Path(options.database) if is_kept else Path(folder) / "nateq.sqlite3"
    try:
        settings.configure(**_settings(file, options.host_names(), is_kept=is_kept))
        django.setup()
        _set_up_logging(verbose=options.verbose)
        yield file
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _settings(file: Path, hosts: list[str], *, is_kept: bool) -> dict[str, Any]:
    # With FULL a commit is on disk before the answer, so that a power failure loses no accepted event.
    synchronous = "FULL" if is_kept else "OFF"
    return {
        "SECRET_KEY": secrets.token_urlsafe(32),
        "ALLOWED_HOSTS": hosts,
        "ROOT_URLCONF": "nateq_webhooks.sandbox.site.urls",
        "APPEND_SLASH": False,
        "USE_I18N": False,
        "USE_TZ": True,
        "LOGGING_CONFIG": None,
        "INSTALLED_APPS": ["nateq_webhooks.sandbox.site"],
        "MIDDLEWARE": [
            "nateq_webhooks.sandbox.site.middleware.SecurityHeaders",
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
            "nateq_webhooks.sandbox.site.middleware.CompleteBodies",
            "nateq_webhooks.sandbox.site.middleware.OwnPagesOnly",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        "DATABASES": {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(file),
                "CONN_MAX_AGE": None,  # as long as the connection of the client, which has a thread of its own
                "OPTIONS": {
                    "transaction_mode": "IMMEDIATE",
                    "timeout": 20,
                    "init_command": f"PRAGMA journal_mode=WAL;PRAGMA synchronous={synchronous};",
                },
            }
        },
        "TEMPLATES": [
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [HERE / "templates"],
                "OPTIONS": {
                    "context_processors": [
                        "django.contrib.messages.context_processors.messages",
                        "nateq_webhooks.sandbox.site.context.shared",
                    ],
                    "builtins": ["nateq_webhooks.sandbox.site.filters"],
                },
            }
        ],
        "MESSAGE_STORAGE": "nateq_webhooks.sandbox.site.messages.Messages",
        "DATA_UPLOAD_MAX_MEMORY_SIZE": MAX_BODY_BYTES,
        "DATA_UPLOAD_MAX_NUMBER_FIELDS": MAX_FORM_FIELDS,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Strict",
        "REST_FRAMEWORK": {"UNAUTHENTICATED_USER": None, "UNAUTHENTICATED_TOKEN": None},
    }


def _set_up_logging(*, verbose: bool) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the sandbox's own line has more in it
    logging.getLogger("django").setLevel(logging.ERROR)  # no line for each 404
