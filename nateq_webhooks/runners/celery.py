"""As tasks of Celery. The message names the delivery (and its tenant) and is only a wake-up; the table is the queue."""

import functools
from datetime import timedelta
from typing import Any, Final

from nateq_webhooks import dispatch, tenants
from nateq_webhooks.runners.wakes import Waker

TASK_NAME: Final = "nateq_webhooks.run_delivery"
"""The task in `nateq_webhooks.tasks`, sent by its name: the web process need not import it."""


class CeleryRunner:
    """Wakes a Celery worker for each delivery. What the broker loses is found by `nateq_webhooks.run_due`."""

    hold = timedelta()

    @property
    def runs_elsewhere(self) -> bool:
        """Whether tasks are run by Celery's workers, and not in the caller."""
        return not _celery_app().conf.task_always_eager

    def wake(self, due: dispatch.Due) -> None:
        """Have the task sent; at once where Celery runs tasks in the caller (`task_always_eager`)."""
        app = _celery_app()
        if app.conf.task_always_eager:
            app.loader.import_task_module("nateq_webhooks.tasks")  # autodiscovery does so in Celery's workers only
            app.tasks[TASK_NAME].apply(args=[*tenants.named(due.alias, due.pk)])
        else:
            _waker().wake(*tenants.named(due.alias, due.pk))


def _celery_app() -> Any:
    try:
        from celery import current_app
    except ImportError as error:
        raise ImportError(
            'NATEQ_WEBHOOKS["DISPATCH"] is "celery", but Celery is not installed: pip install "nateq-webhooks[celery]".'
        ) from error
    return current_app


@functools.cache
def _waker() -> Waker:
    app = _celery_app()

    def send(*names: int | str) -> None:
        app.send_task(TASK_NAME, args=[*names], retry=False, ignore_result=True)

    return Waker(send)
