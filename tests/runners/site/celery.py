"""The Celery app of the site, made as Celery's documentation says."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.runners.site.settings")

app = Celery("site", broker=os.environ.get("NATEQ_BROKER", "memory://"))
app.conf.task_default_queue = os.environ.get("NATEQ_QUEUE", "celery")
app.conf.task_always_eager = "NATEQ_EAGER" in os.environ
if "NATEQ_SOFT_LIMIT" in os.environ:
    app.conf.task_soft_time_limit = float(os.environ["NATEQ_SOFT_LIMIT"])
app.autodiscover_tasks()
