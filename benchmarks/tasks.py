"""The empty task of django.tasks, or of its backport."""

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task  # type: ignore[no-redef]


@task()
def nothing() -> None:
    """Do nothing."""
