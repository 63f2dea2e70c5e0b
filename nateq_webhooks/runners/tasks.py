"""As tasks of django.tasks (Django 6), or of the `django-tasks` backport (Django 5.2). Imported only when asked for."""

import functools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from nateq_webhooks import dispatch, tenants
from nateq_webhooks.conf import Problem, settings
from nateq_webhooks.dispatch import api
from nateq_webhooks.runners.notifier import BackgroundNotifier

try:
    from django.tasks import task
    from django.tasks.backends.dummy import DummyBackend
    from django.tasks.backends.immediate import ImmediateBackend
except ImportError:
    try:
        from django_tasks import task  # type: ignore[no-redef]
        from django_tasks.backends.dummy import DummyBackend  # type: ignore[assignment]
        from django_tasks.backends.immediate import ImmediateBackend  # type: ignore[assignment]
    except ImportError as error:
        if error.name != "django_tasks":
            raise ImportError(f"django-tasks is installed, but can't be imported: {error}") from error
        raise ImportError(
            'NATEQ_WEBHOOKS["DISPATCH"] is "tasks", which needs Django 6 or the backport: pip install '
            '"nateq-webhooks[tasks]".'
        ) from error

DEFAULT_QUEUE: Final = "default"
"""The queue of a task that names none (django.tasks)."""


def _where() -> dict[str, str]:
    return {"backend": settings().task_backend, "queue_name": settings().task_queue or DEFAULT_QUEUE}


def run_delivery(pk: int, tenant: str = "") -> int:
    """Run the receivers of one delivery, unless another process has; return how many ran."""
    with tenants.activate(tenant):
        return api.run_delivery(pk)


def _as_task(function: Any) -> Any:
    """Make a function a task, which the backend validates at once. Raises `ImproperlyConfigured` saying what to set."""
    where = _where()
    try:
        return task(**where)(function)  # type: ignore[call-overload, unused-ignore]
    except Exception as error:
        raise ImproperlyConfigured(
            f"TASKS has no queue {where['queue_name']!r} of the backend {where['backend']!r} for our tasks "
            f'({type(error).__name__}: {error}). Add it there, or name another one in NATEQ_WEBHOOKS["TASK_BACKEND"] '
            'and ["TASK_QUEUE"].'
        ) from error


run_delivery = _as_task(run_delivery)
"""The task. Workers find it by this name; where it goes is asked of the settings again for each."""


class TasksRunner:
    """Enqueues one task per delivery. It carries a key and is only a wake-up; the table is the queue of record."""

    hold = timedelta()

    @property
    def runs_elsewhere(self) -> bool:
        """Whether the backend hands tasks to other processes."""
        return not isinstance(_task().get_backend(), (ImmediateBackend, DummyBackend))

    @property
    def leaves_to_workers(self) -> bool:
        """Whether the backend runs nothing, so that only `nateq_worker` does."""
        return isinstance(_task().get_backend(), DummyBackend)

    def wake(self, due: dispatch.Due) -> None:
        """Enqueue the task: in the request where its backend runs it there, else from the thread for brokers."""
        if self.runs_elsewhere:
            _notifier().notify(*tenants.named(due.alias, due.pk))
        else:
            _task().enqueue(*tenants.named(due.alias, due.pk))

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the backend, which must hand tasks to other processes."""
        backend = _task().get_backend()
        named = f'TASKS["{backend.alias}"] is {type(backend).__name__}'
        if isinstance(backend, DummyBackend):
            yield Problem(
                "W053",
                f'NATEQ_WEBHOOKS["DISPATCH"] is "tasks", but {named}, which runs nothing: only nateq_worker would.',
                _OTHER_BACKEND,
            )
        elif isinstance(backend, ImmediateBackend):
            yield Problem(
                "W053",
                f'NATEQ_WEBHOOKS["DISPATCH"] is "tasks", but {named}: receivers run in the process that receives, '
                "before it answers.",
                _OTHER_BACKEND,
            )
        elif (app := type(backend).__module__.partition(".")[0]) == _DATABASE_APP and not apps.is_installed(app):
            yield Problem(
                "W053",
                f'NATEQ_WEBHOOKS["DISPATCH"] is "tasks", and {named} of {app}, which is not in INSTALLED_APPS: no task '
                "can be stored, so that only nateq_worker runs receivers.",
                f"Add {app!r} to INSTALLED_APPS, and run manage.py migrate.",
            )


_OTHER_BACKEND: Final = (
    "Add a backend with workers to TASKS, such as django_tasks_db.DatabaseBackend; unless its key is 'default', name "
    "it in NATEQ_WEBHOOKS[\"TASK_BACKEND\"]. Or set DISPATCH to 'inline' or 'worker'."
)

_DATABASE_APP: Final = "django_tasks_db"
"""The package of the backend that stores tasks in models of its own."""


def _task() -> Any:
    """Return the task for the backend and the queue of the settings in force."""
    task: Any = run_delivery
    return task.using(**_where())


@functools.cache
def _notifier() -> BackgroundNotifier:
    return BackgroundNotifier(lambda *identifiers: _task().enqueue(*identifiers))
