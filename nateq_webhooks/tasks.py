"""The Celery tasks (extra `[celery]`): one wakes for a delivery, one recovers what a broker or a worker lost.

Let Celery beat call the second one every minute or so, unless `manage.py nateq_worker` runs beside:

    app.conf.beat_schedule = {"nateq_webhooks": {"task": "nateq_webhooks.run_due", "schedule": 60.0}}
"""

try:
    from celery import shared_task
except ImportError as error:
    raise ImportError('nateq_webhooks.tasks needs Celery: pip install "nateq-webhooks[celery]".') from error

from nateq_webhooks import dispatch, tenants
from nateq_webhooks.runners.worker import drain


@shared_task(name="nateq_webhooks.run_delivery", ignore_result=True)
def run_delivery(pk: int, tenant: str = "") -> int:
    """Run the receivers of one delivery, unless somebody else has; return how many ran."""
    with tenants.activate(tenant):
        return dispatch.run_delivery(pk)


@shared_task(name="nateq_webhooks.run_due", ignore_result=True)
def run_due() -> int:
    """Run everything that is due now; return how much that was."""
    return drain()
