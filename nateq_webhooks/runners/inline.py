"""In the request, right after the delivery has been stored. Needs nothing else to run."""

import logging
from datetime import timedelta
from typing import Final

from django.db import Error

from nateq_webhooks import dispatch
from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch import api

logger: Final = logging.getLogger("nateq_webhooks")


class InlineRunner:
    """Runs the receivers before the answer is sent; the delivery is committed already, so the answer stays 200.

    Later tries are for `manage.py nateq_worker`, or `nateq_worker --once` from cron.
    """

    runs_in_request = True

    @property
    def hold(self) -> timedelta:
        """The length of a lease: if the request dies in between, workers take over after that."""
        return settings().run_lease

    def wake(self, due: dispatch.Due) -> None:
        """Run the delivery's receivers here and now."""
        try:
            self.run(due)
        except Error as error:
            logger.warning(
                "Delivery %s is stored, but its receivers could not be run now: %s. A worker runs them later.%s",
                due.pk,
                type(error).__name__,
                api.memory_hint(due.alias),
            )

    def run(self, due: dispatch.Due) -> None:
        """Run the delivery's receivers. Raises `django.db.Error` if the database fails."""
        if due.runs:
            api.run_inserted(due.alias, due.runs)
        else:
            api.run_delivery(due.pk, alias=due.alias, dispatch_at=due.dispatch_at)
