"""As tasks of django.tasks (Django 6), or of the `django-tasks` backport (Django 5.2). Imported only when asked for."""

import functools
from datetime import timedelta

from nateq_webhooks import dispatch, tenants
from nateq_webhooks.runners.wakes import Waker

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
        raise ImportError(
            'NATEQ_WEBHOOKS["DISPATCH"] is "tasks", which needs Django 6 or the backport: pip install '
            '"nateq-webhooks[tasks]".'
        ) from error


@task()
def run_delivery(pk: int, tenant: str = "") -> int:
    """Run the receivers of one delivery, unless somebody else has; return how many ran."""
    with tenants.activate(tenant):
        return dispatch.run_delivery(pk)


class TasksRunner:
    """Enqueues one task per delivery. It carries a key and is only a wake-up; the table is the queue of record."""

    hold = timedelta()

    @property
    def runs_elsewhere(self) -> bool:
        """Whether the backend hands tasks to other processes."""
        return not isinstance(run_delivery.get_backend(), (ImmediateBackend, DummyBackend))

    def wake(self, due: dispatch.Due) -> None:
        """Enqueue the task: in the request where its backend runs it there, else from the thread for brokers."""
        if self.runs_elsewhere:
            _waker().wake(*tenants.named(due.alias, due.pk))
        else:
            run_delivery.enqueue(*tenants.named(due.alias, due.pk))


@functools.cache
def _waker() -> Waker:
    return Waker(run_delivery.enqueue)
