"""The Celery app of the tortured site, set up as Celery's pages say for Django."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.faults.settings")

app = Celery("faults")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_default_queue = os.environ.get("FAULTS_QUEUE", "nateq_faults")
app.conf.beat_schedule = {"recover": {"task": "nateq_webhooks.run_due", "schedule": 1.0}}
app.conf.beat_schedule_filename = os.environ.get("FAULTS_BEAT_FILE", "")
app.autodiscover_tasks(["nateq_webhooks"])
