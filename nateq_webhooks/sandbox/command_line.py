"""The command line, the same for `python -m nateq_webhooks.sandbox` and `manage.py nateq_sandbox`."""

import argparse
import logging
import signal
import sys
import threading
from typing import Any

from nateq_webhooks.errors import NateqWebhooksError
from nateq_webhooks.protocol.api import LIMIT_PER_MINUTE, TEST_KEY_PREFIX
from nateq_webhooks.sandbox.faults import Fault, parse
from nateq_webhooks.sandbox.schedule import LONGEST_SECONDS

DEFAULT_PORT = 8765


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the sandbox to a parser."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on (default: this machine only)")
    add("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)")
    add(
        "--key",
        action="append",
        metavar="KEY[@ORGANIZATION][:SCOPE,SCOPE]",
        help="an API key, like tg_test_local; may be repeated (default: one is generated)",
    )
    add("--database", default=":memory:", metavar="FILE", help="where to keep everything (default: in memory)")
    add("--retry-base", type=float, default=10.0, metavar="SECONDS", help="first wait; doubles (default: 10)")
    add(
        "--retry-longest",
        type=float,
        default=LONGEST_SECONDS,
        metavar="SECONDS",
        help="longest wait (default: 21600)",
    )
    add("--attempts", type=int, default=10, help="attempts at a delivery (default: 10)")
    add("--timeout", type=float, default=10.0, metavar="SECONDS", help="for an answer (default: 10)")
    add("--senders", type=int, default=8, help="attempts at a time for each webhook (default: 8)")
    add(
        "--rate-limit",
        type=int,
        default=LIMIT_PER_MINUTE[TEST_KEY_PREFIX],
        metavar="REQUESTS",
        help="API requests a minute for each key (default: %(default)s)",
    )
    add("--seed", type=int, help="makes jitter and faults the same each time")
    add(
        "--fault",
        action="append",
        default=[],
        metavar="FAULT[:count=N,rate=R,seconds=S]",
        help=f"switch a fault on; may be repeated: {', '.join(Fault)}",
    )
    add(
        "--event",
        action="append",
        default=[],
        metavar="NAME[=DESCRIPTION]",
        help="an event that Nateq does not have yet, like ticket.merged; may be repeated",
    )
    add("--allow-ip", action="append", default=[], metavar="NETWORK", help="where keys may be used from")
    add(
        "--withhold",
        action="append",
        default=[],
        metavar="OPERATION",
        help="respond to this operation, like rotate_secret, with ENDPOINT_NOT_PUBLIC; may be repeated",
    )
    add("--verbose", action="store_true", help="log each request and attempt to standard error")


def run(options: dict[str, Any]) -> None:
    """Run a sandbox until it is interrupted or terminated. Raises `NateqWebhooksError` when it can't start."""
    from nateq_webhooks.sandbox import Sandbox
    from nateq_webhooks.sandbox.options import is_loopback

    if options["verbose"]:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        logging.getLogger("httpx").setLevel(logging.WARNING)  # the sandbox's own line has more in it
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    sandbox = Sandbox(
        options["key"],
        host=options["host"],
        port=options["port"],
        database=options["database"],
        retry_base=options["retry_base"],
        retry_longest=options["retry_longest"],
        attempts=options["attempts"],
        timeout=options["timeout"],
        senders=options["senders"],
        rate_limit=options["rate_limit"],
        seed=options["seed"],
        faults=dict(parse(text) for text in options["fault"]),
        events=dict(_named(text) for text in options["event"]),
        allow_ips=options["allow_ip"],
        withhold=options["withhold"],
    )
    with sandbox:
        if not is_loopback(options["host"]):
            sys.stderr.write(
                f"Warning: the sandbox listens on {options['host']}. Anyone who can reach it can use its "
                "screen, read secrets there and make it post to any address.\n"
            )
        sys.stdout.write(f"Nateq sandbox: {sandbox.url}/\nAPI: {sandbox.base_url}\n")
        if not options["key"]:
            sys.stdout.write(f"API key: {sandbox.key}\n")
        sys.stdout.flush()
        stopped.wait()


def main(arguments: list[str] | None = None) -> int:
    """Run the sandbox as a program; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nateq_webhooks.sandbox",
        description="A local Nateq: its API at /api/v1, its settings screen at /, and a sender that posts deliveries.",
    )
    add_arguments(parser)
    options = vars(parser.parse_args(arguments))
    try:
        run(options)
    except NateqWebhooksError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _named(text: str) -> tuple[str, str]:
    name, _, description = text.partition("=")
    return name, description or "An event of this sandbox"
