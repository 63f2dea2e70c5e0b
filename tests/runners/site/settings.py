"""The settings of the test suite, with a site's receivers; the rest comes from the environment."""

import os
from datetime import timedelta

import django

from tests.settings_without_admin import *  # noqa: F403 - the same, and more
from tests.settings_without_admin import INSTALLED_APPS, NATEQ_WEBHOOKS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.runners.site"]
NATEQ_WEBHOOKS = NATEQ_WEBHOOKS | {
    "DISPATCH": os.environ.get("NATEQ_DISPATCH", "worker"),
    "MAX_TRIES": int(os.environ.get("NATEQ_MAX_TRIES", "10")),
    "RUN_LEASE": timedelta(seconds=int(os.environ.get("NATEQ_RUN_LEASE", "300"))),
}
if "NATEQ_TASKS" in os.environ:
    INSTALLED_APPS += ["django_tasks_db"] if django.VERSION >= (6,) else ["django_tasks", "django_tasks_db"]
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"nateq_webhooks": {"handlers": ["console"], "level": "INFO"}},
}
