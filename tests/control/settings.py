"""The site of a scenario, which `CONTROL_SCENARIO` names; `CONTROL_BROKEN` breaks it for the program's own proof."""

from datetime import timedelta

from tests.settings_without_admin import *  # noqa: F403
from tests.settings_without_admin import DATABASES, INSTALLED_APPS, NATEQ_WEBHOOKS, env

SCENARIO = env.str("CONTROL_SCENARIO", default="")
IS_BROKEN = env.bool("CONTROL_BROKEN", default=False)

INSTALLED_APPS = [*INSTALLED_APPS, "tests.control.shop"]
DATABASES["default"]["CONN_MAX_AGE"] = None
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # Processes are killed here, the database is not: its commits need not wait for the disk.
    DATABASES["default"]["OPTIONS"] = {"options": "-c synchronous_commit=off"}
NATEQ_WEBHOOKS |= {
    "DISPATCH": "worker",
    "RUN_LEASE": timedelta(seconds=5),
    "RUN_TIMEOUT": timedelta(seconds=60),
    "RETRY_BASE": timedelta(seconds=1),
    "MAX_TRIES": 1000,
}
if SCENARIO == "order" and not IS_BROKEN:
    NATEQ_WEBHOOKS["ORDERED_BY"] = "data.conversation_id"
if SCENARIO == "ack":
    # The sender's retries are the retry policy: the backoff is out of the way.
    NATEQ_WEBHOOKS |= {"DISPATCH": "inline", "ACK": "processed", "RETRY_BASE": timedelta(hours=1)}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"null": {"class": "logging.NullHandler"}},
    "loggers": {"nateq_webhooks": {"handlers": ["null"], "propagate": False}},
}
