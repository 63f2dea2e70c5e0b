"""As tasks of Celery. The message names the delivery (and its tenant) and is only a wake-up; the table is the queue."""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

from nateq_webhooks import dispatch, tenants
from nateq_webhooks.conf import Problem, settings
from nateq_webhooks.runners.notifier import BackgroundNotifier

TASK_NAME: Final = "nateq_webhooks.run_delivery"
"""The task in `nateq_webhooks.tasks`, sent by its name: the web process need not import it."""

RECOVERY_NAME: Final = "nateq_webhooks.run_due"
"""The task that Celery beat calls: later tries, and what the broker lost."""

FALLBACK_APP: Final = "default"
"""The name of the app that Celery makes when a process has set up none of its own."""


class CeleryRunner:
    """Wakes a Celery worker for each delivery. What the broker loses is found by `nateq_webhooks.run_due`."""

    hold = timedelta()

    @property
    def runs_elsewhere(self) -> bool:
        """Whether tasks are run by Celery's workers, and not in the caller."""
        return not _celery_app().conf.task_always_eager

    @property
    def recovers_by_itself(self) -> bool:
        """Whether the schedule of Celery beat, as this process knows it, calls the recovery."""
        schedule = _celery_app().conf.beat_schedule or {}
        return any(entry.get("task") == RECOVERY_NAME for entry in schedule.values())

    def wake(self, due: dispatch.Due) -> None:
        """Have the task sent; at once where Celery runs tasks in the caller (`task_always_eager`)."""
        app = _celery_app()
        if app.conf.task_always_eager:
            app.loader.import_task_module("nateq_webhooks.tasks")  # autodiscovery does so in Celery's workers only
            app.tasks[TASK_NAME].apply(args=[*tenants.named(due.alias, due.pk)])
        else:
            _notifier().notify(*tenants.named(due.alias, due.pk))

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the way Celery is set up here."""
        with ThreadPoolExecutor(1) as threads:  # a server's threads may know another app than the main one
            app = threads.submit(_celery_app).result()
        if app.main == FALLBACK_APP and not any(app.conf[key] for key in ("broker_url", "broker_write_url")):
            yield Problem(
                "W052",
                'NATEQ_WEBHOOKS["DISPATCH"] is "celery", but this process has no Celery app: messages go to '
                f"{app.connection_for_write().as_uri()}.",
                "Import the app in the project's __init__.py: from .celery import app as celery_app. Set "
                "DJANGO_SETTINGS_MODULE before it is made.",
            )
        if app.conf.task_always_eager:
            yield Problem(
                "W053",
                'NATEQ_WEBHOOKS["DISPATCH"] is "celery", but task_always_eager is set: receivers run in the process '
                "that receives, before it answers.",
                "Remove task_always_eager outside of tests, or set DISPATCH to 'inline'.",
            )


def _celery_app() -> Any:
    try:
        from celery import current_app
    except ImportError as error:
        if error.name != "celery":
            raise ImportError(f"Celery is installed, but can't be imported: {error}") from error
        raise ImportError(
            'NATEQ_WEBHOOKS["DISPATCH"] is "celery", but Celery is not installed: pip install "nateq-webhooks[celery]".'
        ) from error
    return current_app._get_current_object()  # type: ignore[attr-defined, unused-ignore]  # noqa: SLF001 - a proxy's own


@functools.cache
def _notifier() -> BackgroundNotifier:
    app = _celery_app()

    def send(*names: int | str) -> None:
        app.send_task(TASK_NAME, args=[*names], queue=settings().task_queue or None, retry=False, ignore_result=True)

    return BackgroundNotifier(send)
