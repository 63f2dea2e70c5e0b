"""Ways to dispatch for the proof: one that dies at the worst moment, and one that is broken on purpose."""

import os
import random
import signal
from datetime import timedelta
from typing import Any

from nateq_webhooks.runners.inline import InlineRunner


class MortalInline(InlineRunner):
    """The inline way, in a process that now and then is killed between the store and the dispatch."""

    def wake(self, due: Any) -> None:
        if random.random() < 0.02:
            os.kill(os.getpid(), signal.SIGKILL)
        super().wake(due)


class Forgetful:
    """A deliberately broken way to dispatch: it takes what was stored off the queue and runs nothing."""

    hold = timedelta(minutes=5)

    def wake(self, due: Any) -> None:
        from nateq_webhooks.models import Delivery

        Delivery.objects.filter(pk=due.pk).update(dispatch_at=None)
