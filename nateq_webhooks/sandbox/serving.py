"""The process of a sandbox: sets its Django site up, serves it, and sends deliveries until it is stopped."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from nateq_webhooks.errors import NateqWebhooksError
from nateq_webhooks.protocol.documents import load_object
from nateq_webhooks.sandbox.options import Options
from nateq_webhooks.sandbox.site import settings

_LOOK_SECONDS: Final = 1.0
"""How often to look whether the process that started this one has ended."""


def serve(options: Options, stopped: threading.Event, announce: Callable[[str], None]) -> None:
    """Run a sandbox until `stopped` is set. Raises `SandboxError` if it can't listen or use its database."""
    with settings.configured(options) as database:
        from nateq_webhooks.sandbox.site.running import Running

        running = Running(options, database)
        try:
            running.start()
            announce(running.server.url)
            stopped.wait()
        finally:
            running.stop()


def serve_controlled() -> int:
    """Run a sandbox for the process at the other end of the standard input, until that ends; return the exit code.

    Lines of JSON come in: the options and the token of the control channel, then the start. A line answers each.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the other one decides
    parent = os.getppid()
    document = load_object(sys.stdin.buffer.readline() or b"{}")
    if not document:
        return 1
    options = Options.from_json(document["options"])
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        with settings.configured(options) as database:
            from nateq_webhooks.sandbox.site.running import Running

            running = Running(options, database, token=document["token"])
            try:
                _answer(
                    {"url": running.server.url, "host": running.server.own_host, "port": running.server.server_port}
                )
                if sys.stdin.buffer.readline():
                    running.start()
                    _answer({"started": True})
                    threading.Thread(target=_set_at_end_of_input, args=(stopped,), daemon=True).start()
                    while not stopped.wait(_LOOK_SECONDS) and os.getppid() == parent:
                        continue
            finally:
                running.stop()
    except NateqWebhooksError as error:
        _answer({"error": str(error)})
        return 1
    return 0


def _set_at_end_of_input(stopped: threading.Event) -> None:
    sys.stdin.buffer.read()
    stopped.set()


def _answer(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
