"""Settings of the benchmarks: the test suite's, with persistent connections and the views of the floors.

`BENCH_DISPATCH` is the setting DISPATCH. With `BENCH_ADVISED` the site is set up as docs/performance.md advises.
`BENCH_ASGI` stands for Django's handler under ASGI: no persistent connections there, as Django's documentation advises,
but a pool of them if psycopg has one.
"""

import os
from importlib.util import find_spec
from typing import Any

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS, MIDDLEWARE, NATEQ_WEBHOOKS

_database: dict[str, Any] = DATABASES["default"]
_is_postgresql = _database["ENGINE"] == "django.db.backends.postgresql"
_database["CONN_MAX_AGE"] = None
if "BENCH_ASGI" in os.environ:
    _database["CONN_MAX_AGE"] = 0
    if _is_postgresql and find_spec("psycopg_pool"):
        _database["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 16}}
if "BENCH_ADVISED" in os.environ:
    MIDDLEWARE = ["nateq_webhooks.middleware.ReceiverMiddleware", *MIDDLEWARE]
    if _is_postgresql:
        _database["OPTIONS"] = _database.get("OPTIONS", {}) | {"prepare_threshold": 2}
if _database["ENGINE"] != "django.db.backends.sqlite3":
    _database["TEST"] = _database.get("TEST", {}) | {"NAME": f"nateq_webhooks_bench_{os.getpid()}"}

ROOT_URLCONF = "benchmarks.urls"
NATEQ_WEBHOOKS = NATEQ_WEBHOOKS | {"DISPATCH": os.environ.get("BENCH_DISPATCH", "inline")}

if "BENCH_RETENTION" in os.environ:
    NATEQ_WEBHOOKS |= {"RETENTION": {"delivery": float(os.environ["BENCH_RETENTION"])}}

INSTALLED_APPS = [*INSTALLED_APPS, *(app for app in ("django_tasks", "django_tasks_db") if find_spec(app))]
if find_spec("django_tasks_db"):
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
