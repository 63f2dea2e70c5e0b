"""What Celery's worker loads."""

from benchmarks.celery_queue import make_app

app = make_app()
