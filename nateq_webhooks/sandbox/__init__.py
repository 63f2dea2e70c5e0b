"""A local Nateq in a process of its own: its API, its settings screen, and a sender that posts deliveries.

In a test::

    with Sandbox(key="tg_test_local", retry_base=0.1) as sandbox:
        client = NateqClient(api_key=sandbox.key, base_url=sandbox.base_url)
        client.webhooks.create(url=receiver.url, events=["ticket.created"])
        sandbox.send("ticket.created", count=500)
        sandbox.wait_until_delivered(timeout=30)

By hand: ``python -m nateq_webhooks.sandbox --port 8765 --key tg_test_local``.

`site/` is the Django site that this process runs. It has settings and models of its own, so nothing outside that
process imports it; what a test imports from here needs no Django.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from nateq_webhooks.protocol.api import LogStatus
from nateq_webhooks.protocol.examples import example_data
from nateq_webhooks.sandbox.faults import Fault
from nateq_webhooks.sandbox.sandbox_errors import MissingExtraError, NotDeliveredError, SandboxError

if TYPE_CHECKING:
    from nateq_webhooks.sandbox.sandbox import Sandbox

__all__ = ["Fault", "LogStatus", "MissingExtraError", "NotDeliveredError", "Sandbox", "SandboxError", "example_data"]


def __getattr__(name: str) -> Any:
    """Load `Sandbox` on first use, so that a missing extra is an error that says what to install."""
    if name != "Sandbox":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("httpx") is None:
        raise MissingExtraError("httpx")
    from nateq_webhooks.sandbox.sandbox import Sandbox

    return Sandbox
