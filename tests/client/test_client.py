"""What a client takes its key and its address from, and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nateq_webhooks import client as client_room
from nateq_webhooks import errors
from nateq_webhooks.client import NateqClient
from nateq_webhooks.errors import ApiError, NateqConfigurationError
from nateq_webhooks.protocol.api import BASE_URL
from tests.client.conftest import KEY
from tests.client.scripted import Say, ScriptedServer, wrapped

LIVE_KEY = "tg_live_" + "a" * 48
ROOT = Path(__file__).resolve().parents[2]


def test_key_and_address_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, server: ScriptedServer) -> None:
    monkeypatch.setenv("NATEQ_API_KEY", KEY)
    monkeypatch.setenv("NATEQ_BASE_URL", server.base_url + "/")
    server.says(Say(200, wrapped([])))

    with NateqClient() as client:
        client.webhooks.events()

    assert server.lines == ["GET /webhooks/events"]
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"


def test_arguments_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATEQ_API_KEY", LIVE_KEY)
    monkeypatch.setenv("NATEQ_BASE_URL", "https://elsewhere.example/api/v1")

    with NateqClient(KEY, "https://here.example/api/v1/") as client:
        assert client.is_test_key
        assert client.base_url == "https://here.example/api/v1"


def test_without_an_address_it_is_nateqs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATEQ_BASE_URL", "")
    with NateqClient(api_key=LIVE_KEY) as client:
        assert client.base_url == BASE_URL
        assert not client.is_test_key


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (None, "There is no API key"),
        ("", "There is no API key"),
        (b"tg_test_bytes", "of type bytes"),
        (" " + KEY, "white space around it"),
        (KEY + "\n", "white space around it"),
        ("sk_live_0123456789", "starts with tg_live_ or tg_test_"),
        ("TG_TEST_0123456789", "starts with tg_live_ or tg_test_"),
        ("tg_test_", "cut short"),
        ("tg_test_01 23", "a character that no key has"),
        ("tg_test_01\r\nX: y", "a character that no key has"),
        ("tg_test_é", "a character that no key has"),
    ],
)
def test_a_key_that_can_not_be_one_is_refused_before_it_is_sent(key: str, problem: str) -> None:
    with pytest.raises(NateqConfigurationError, match=problem) as raised:
        NateqClient(key, "https://here.example/api/v1")
    assert "Settings -> Developers -> API Keys" in str(raised.value)
    assert "NATEQ_API_KEY" in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.nateq.io/api/v1",
        "http://localhost:8765/api/v1",
        "http://127.0.0.1:1/api/v1",
        "http://127.8.9.1/api/v1",
        "http://[::1]:8765/api/v1",
        " https://here.example/api/v1/ ",
    ],
)
def test_https_and_this_machine_itself_are_fine(url: str) -> None:
    with NateqClient(KEY, url) as client:
        assert client.base_url == url.strip().rstrip("/")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://api.nateq.io/api/v1", "http://api.nateq.io is not https"),
        ("http://localhost.evil.example/", "is not https"),
        ("http://127.0.0.1.evil.example/", "is not https"),
        ("http://192.168.1.5/api/v1", "is not https"),
        ("http://0.0.0.0/api/v1", "is not https"),
        ("ftp://127.0.0.1/", "is not https"),
        ("ws://localhost/", "is not https"),
        ("https://user:pass@here.example/", "has a user"),
        ("https://here.example/?key=1", "a query"),
        ("https://here.example/#a", "a fragment"),
        ("api.nateq.io/api/v1", "has no host"),
        ("https://", "has no host"),
        ("", "has no host"),
        ("https://here.example:99999999/", "has the port 99999999"),
        ("https://here.example:port/", "is not a URL"),
        ("https://xn--/", "is not a URL"),
        (5, "is not a URL"),
        (f"https://here.example/{KEY}", "has the API key in it"),
        (f"http://{KEY}.example/", "has the API key in it"),
    ],
)
def test_an_address_that_would_show_the_key_is_refused(url: str, problem: str) -> None:
    with pytest.raises(NateqConfigurationError, match=f"The base URL .*{problem}") as raised:
        NateqClient(KEY, url)
    assert "pass@" not in str(raised.value)
    assert KEY.lower() not in str(raised.value).lower()


def test_no_proxy_is_used_in_the_clear(monkeypatch: pytest.MonkeyPatch, server: ScriptedServer) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    server.says(Say(200, wrapped([])))

    with NateqClient(KEY, server.base_url) as client:
        assert client.webhooks.list() == []


def run(script: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_client_imports_no_django() -> None:
    done = run("import sys, nateq_webhooks.client as c; print([m for m in sys.modules if m.startswith('django')])")

    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("missing", ["httpx", "tenacity"])
def test_without_the_extra_the_import_says_what_to_install(missing: str) -> None:
    done = run(f"import sys; sys.modules[{missing!r}] = None\nimport nateq_webhooks.client")

    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: nateq_webhooks.client needs {missing}, which is not installed.")
    assert 'pip install "nateq-webhooks[client]"' in last


def test_every_error_of_the_client_is_found_beside_it() -> None:
    named = {name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, ApiError)}

    assert named == {name for name in client_room.__all__ if name.endswith("Error")}
    assert all(getattr(client_room, name) is getattr(errors, name) for name in named)
