"""Real servers in processes of their own, on the database of the running test."""

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from tests.waiting import free_port, is_listening, wait_until

ROOT = Path(__file__).resolve().parent.parent
_UVICORN = ["-m", "uvicorn", "--port", "{port}", "--log-level", "warning", "--lifespan", "off"]

COMMANDS = {
    "gunicorn": ["-m", "gunicorn", "--threads", "16", "--bind", "127.0.0.1:{port}", "tests.wsgi"],
    "four threads": ["-m", "gunicorn", "--threads", "4", "--bind", "127.0.0.1:{port}", "tests.wsgi"],
    "preloaded": [
        "-m",
        "gunicorn",
        "--preload",
        "--workers",
        "2",
        "--threads",
        "8",
        "--bind",
        "127.0.0.1:{port}",
        "tests.wsgi",
    ],
    "granian": [
        "-m",
        "granian",
        "--interface",
        "wsgi",
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
        "tests.wsgi:application",
    ],
    "uvicorn": [*_UVICORN, "tests.asgi:application"],
    "uvicorn, in threads": [*_UVICORN, "tests.asgi:in_threads"],
    "unfold": ["-m", "gunicorn", "--threads", "8", "--bind", "127.0.0.1:{port}", "tests.unfold_site.wsgi"],
    "runserver": ["-m", "django", "runserver", "--noreload", "127.0.0.1:{port}"],
}


def database_url() -> str:
    """The URL of the database that this test runs on, for another process."""
    parts = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{parts['NAME']}"
    scheme = {"postgresql": "postgres", "mysql": "mysql"}[connection.vendor]
    return f"{scheme}://{parts['USER']}:{parts['PASSWORD']}@{parts['HOST']}:{parts['PORT']}/{parts['NAME']}"


@contextmanager
def running(kind: str, **variables: str) -> Iterator[int]:
    """Run a server, with more variables of the environment, and yield its port."""
    port = free_port()
    environment = os.environ | {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    environment |= variables
    command = [sys.executable, *(part.format(port=port) for part in COMMANDS[kind])]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port, server), seconds=120)
        yield port
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
            raise


def _answers(port: int, server: "subprocess.Popen[bytes]") -> bool:
    assert server.poll() is None, f"the server ended with {server.returncode}"
    return is_listening(port)


def post(port: int, path: str, body: bytes, headers: dict[str, str], *, chunked: bool = False) -> tuple[int, bytes]:
    """Post over real HTTP; return the status and the answer's body."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    parts = iter([body[: len(body) // 2], body[len(body) // 2 :]])
    try:
        client.request(
            "POST",
            path,
            parts if chunked else body,
            {"Content-Type": "application/json"} | headers,
            encode_chunked=chunked,
        )
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()
