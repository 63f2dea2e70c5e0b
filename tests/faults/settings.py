"""The site that is tortured. What differs from run to run comes from the environment."""

import importlib.util
from datetime import timedelta

from tests.settings_without_admin import *  # noqa: F403
from tests.settings_without_admin import DATABASES, INSTALLED_APPS, env

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.shop"]
DATABASES["default"]["CONN_MAX_AGE"] = None
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DISPATCH = env.str("FAULTS_DISPATCH", default="worker")
NATEQ_WEBHOOKS = {
    "DISPATCH": "tests.faults.shop.runners.MortalInline" if DISPATCH == "inline" else DISPATCH,
    "RUN_LEASE": timedelta(seconds=3),
    "RUN_TIMEOUT": timedelta(seconds=30),
    "RETRY_BASE": timedelta(seconds=1),
    "MAX_TRIES": 1000,
}
CELERY_BROKER_URL = env.str("FAULTS_BROKER", default="")
if DISPATCH == "tasks":
    backport = [] if importlib.util.find_spec("django.tasks") else ["django_tasks"]
    INSTALLED_APPS = [*INSTALLED_APPS, *backport, "django_tasks_db"]
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"null": {"class": "logging.NullHandler"}},
    "loggers": {"nateq_webhooks": {"handlers": ["null"], "propagate": False}},
}
