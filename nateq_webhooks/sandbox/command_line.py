"""The command line, the same for `python -m nateq_webhooks.sandbox` and `manage.py nateq_sandbox`."""

import argparse
import signal
import sys
import threading
from importlib.util import find_spec
from typing import Any

from nateq_webhooks.errors import NateqWebhooksError
from nateq_webhooks.protocol.api import API_PATH, LIMIT_PER_MINUTE, TEST_KEY_PREFIX
from nateq_webhooks.sandbox.faults import Fault, parse
from nateq_webhooks.sandbox.options import Options
from nateq_webhooks.sandbox.sandbox_errors import MissingExtraError, SandboxError
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
    add("--database", default=":memory:", metavar="FILE", help="where to keep everything (default: a temporary file)")
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


def read_options(arguments: dict[str, Any]) -> Options:
    """Return the options of a command line. Raises `SandboxError` for one that is not valid."""
    return Options.checked(
        arguments["key"],
        host=arguments["host"],
        port=arguments["port"],
        database=arguments["database"],
        retry_base=arguments["retry_base"],
        retry_longest=arguments["retry_longest"],
        attempts=arguments["attempts"],
        timeout=arguments["timeout"],
        senders=arguments["senders"],
        rate_limit=arguments["rate_limit"],
        seed=arguments["seed"],
        faults=dict(parse(text) for text in arguments["fault"]),
        events=dict(_named(text) for text in arguments["event"]),
        allow_ips=arguments["allow_ip"],
        withhold=arguments["withhold"],
        verbose=arguments["verbose"],
    )


def announce(options: Options, url: str, *, has_own_key: bool) -> None:
    """Write the addresses, and the key if it was generated."""
    if not options.is_loopback:
        sys.stderr.write(
            f"Warning: the sandbox listens on {options.host}. Anyone who can reach it can use its "
            "screen, read secrets there and make it post to any address.\n"
        )
    sys.stdout.write(f"Nateq sandbox: {url}/\nAPI: {url}{API_PATH}\n")
    if not has_own_key:
        sys.stdout.write(f"API key: {options.keys[0]}\n")
    sys.stdout.flush()


def stop_signals() -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def main(arguments: list[str] | None = None) -> int:
    """Run the sandbox as a program; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nateq_webhooks.sandbox",
        description="A local Nateq: its API at /api/v1, its settings screen at /, and a sender that posts deliveries.",
    )
    add_arguments(parser)
    parser.add_argument("--controlled", action="store_true", help=argparse.SUPPRESS)
    given = vars(parser.parse_args(arguments))
    try:
        if find_spec("httpx") is None:
            raise MissingExtraError("httpx")
        from nateq_webhooks.sandbox.serving import serve, serve_controlled

        if given["controlled"]:
            return serve_controlled()
        try:
            options = read_options(given)
        except SandboxError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        serve(options, stop_signals(), lambda url: announce(options, url, has_own_key=bool(given["key"])))
    except NateqWebhooksError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _named(text: str) -> tuple[str, str]:
    name, _, description = text.partition("=")
    return name, description or "An event of this sandbox"
