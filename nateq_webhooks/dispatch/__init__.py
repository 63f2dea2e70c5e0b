"""Run receivers: create a delivery's runs, claim and execute those that are due, finalize them.

Dispatch is the only writer of runs. What a project may import is here; the package's own modules use `dispatch.api`.
"""

from nateq_webhooks.dispatch.api import run_delivery, run_due
from nateq_webhooks.dispatch.erasure import ErasureReport, erase
from nateq_webhooks.dispatch.notify import Due, Runner
from nateq_webhooks.dispatch.pauses import pause, resume
from nateq_webhooks.dispatch.replays import replay, try_now

__all__ = ["Due", "ErasureReport", "Runner", "erase", "pause", "replay", "resume", "run_delivery", "run_due", "try_now"]
