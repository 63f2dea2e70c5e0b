"""Wherever a key could turn up, it does not."""

import copy
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from django.views.debug import ExceptionReporter

from nateq_webhooks.client import NateqClient
from nateq_webhooks.client.key import ApiKey
from nateq_webhooks.errors import ApiError, NateqConfigurationError
from tests.client.conftest import KEY, REFUSED_KEYS
from tests.client.scripted import FakeTime, Say, ScriptedServer, refused, scripted_server, wrapped

ODD_KEY = "tg_live_" + "a/b+c~d" * 7 + "=="


def assert_no_key(text: object, key: str = KEY) -> None:
    for form in (key, quote(key, safe="")):
        assert form not in str(text)


def assert_clean(error: BaseException, key: str = KEY) -> None:
    """No word of the key in anything that is made of an exception."""
    assert_no_key(str(error), key)
    assert_no_key(repr(error), key)
    assert_no_key(pprint.pformat(vars(error)), key)
    assert_no_key(pickle.dumps(error).decode("latin-1"), key)
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert_no_key("".join(report.format()), key)
    reporter = ExceptionReporter(None, type(error), error, error.__traceback__)
    assert_no_key(reporter.get_traceback_text(), key)
    assert_no_key(reporter.get_traceback_html(), key)
    assert error.__cause__ is None
    assert error.__context__ is None


def caught(call: Callable[[], object]) -> ApiError:
    try:
        call()
    except ApiError as error:
        return error
    raise AssertionError("nothing was raised")


def list_webhooks(client: NateqClient) -> object:
    return client.webhooks.list()


def create(client: NateqClient) -> object:
    return client.webhooks.create(url="https://shop.example/", events=["a.b"])


def rotate(client: NateqClient) -> object:
    return client.webhooks.rotate_secret("wh_1")


ECHO = {"X-Request-Id": f"req {KEY}", "Location": f"https://elsewhere.example/{KEY}", "X-Key": KEY, "Retry-After": KEY}
ECHOES = [
    Say(401, refused("INVALID_API_KEY", f"unknown key {KEY}", {KEY: [{"a": f"Bearer {KEY}"}]}), ECHO),
    Say(403, refused(KEY, f"{KEY}{KEY}"), ECHO),
    Say(400, {"error": f"bad {KEY}", "details": KEY}, ECHO),
    Say(422, refused("VALIDATION_ERROR", "x" * 280 + KEY, {"header": KEY}), ECHO),
    Say(404, {"message": KEY}, ECHO),
    Say(429, {"error": {"code": KEY, "message": KEY, "details": KEY}}, ECHO),
    Say(500, f"<html>{KEY}</html>".encode(), ECHO),
    Say(302, None, ECHO),
    Say(307, None, ECHO),
    Say(200, refused("NO", KEY), ECHO),
    Say(200, f"no json {KEY}".encode(), ECHO),
    Say(200, wrapped({"a": [KEY], "b": [KEY]}), ECHO),
    Say(200, KEY.encode(), ECHO | {"Content-Encoding": "gzip"}),
    Say(200, None, {"No Header": KEY}),
    Say(hang_up=True),
]


@pytest.mark.parametrize("call", [list_webhooks, create, rotate])
@pytest.mark.parametrize("answer", ECHOES)
def test_an_error_shows_no_key_even_where_the_server_sends_it_back(
    client: NateqClient, server: ScriptedServer, call: Callable[[NateqClient], object], answer: Say
) -> None:
    server.says(answer)

    assert_clean(caught(lambda: call(client)))


def test_details_are_scrubbed_in_depth(client: NateqClient, server: ScriptedServer) -> None:
    deep: Any = KEY
    for _ in range(300):
        deep = [deep]
    server.says(Say(400, refused("X", "no", {"a": {"b": [f"Bearer {KEY}"]}, "deep": deep})))

    error = caught(lambda: client.webhooks.list())

    assert isinstance(error.details, dict)
    assert error.details["a"] == {"b": ["Bearer [API key]"]}
    assert_clean(error)


@pytest.mark.parametrize("call", [list_webhooks, create, rotate])
def test_no_network_shows_no_key(fake_time: FakeTime, call: Callable[[NateqClient], object]) -> None:
    with scripted_server() as gone:
        base_url = gone.base_url
    with NateqClient(KEY, base_url, sleep=fake_time.sleep) as client:
        assert_clean(caught(lambda: call(client)))


def test_a_time_out_shows_no_key(server: ScriptedServer, fake_time: FakeTime) -> None:
    server.says(Say(act=lambda: server.stop.wait(5)))
    with NateqClient(KEY, server.base_url, timeout=0.1, sleep=fake_time.sleep) as client:
        assert_clean(caught(lambda: create(client)))
    server.stop.set()


@pytest.mark.parametrize("error_class", [KeyboardInterrupt, SystemExit, MemoryError, RuntimeError])
def test_an_interrupt_in_the_middle_of_a_request_shows_no_key(
    client: NateqClient,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    error_class: type[BaseException],
) -> None:
    """A worker's time limit is raised wherever the code is: within httpx, whose frames hold the header."""

    def interrupt(*args: object, **kwargs: object) -> None:
        raise error_class("stop")

    def fail_inside() -> str:
        try:
            client.webhooks.list()
        except error_class as error:
            report = traceback.TracebackException.from_exception(error, capture_locals=True)
            return "".join(report.format())
        return ""

    monkeypatch.setattr("httpcore._backends.sync.SyncStream.write", interrupt)
    report = fail_inside()

    assert error_class.__name__ in report
    assert "_exchange" in report
    assert_no_key(report)


def test_no_log_record_shows_the_key(
    client: NateqClient, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.says(Say(503), Say(429), Say(401, refused("INVALID_API_KEY", KEY)))

    caught(lambda: client.webhooks.list())

    names = {record.name.partition(".")[0] for record in caplog.records}
    assert {"httpx", "httpcore", "nateq_webhooks"} <= names
    for record in caplog.records:
        assert_no_key(record.getMessage())
        assert_no_key(vars(record))


def test_a_client_shows_which_kind_of_key_it_has_and_no_more(client: NateqClient) -> None:
    assert repr(client) == f"<NateqClient {client.base_url} ApiKey('tg_test_…')>"
    for thing in (client, client.webhooks, client._key, client._transport, client._transport._http):
        assert_no_key(repr(thing))
        assert_no_key(pprint.pformat(thing))
        assert_no_key(pprint.pformat(getattr(thing, "__dict__", None)))
        assert_no_key(f"{thing} {thing!r} {thing!s}")


@pytest.mark.parametrize("do", [pickle.dumps, copy.copy, copy.deepcopy])
def test_neither_a_client_nor_its_key_leaves_the_process(client: NateqClient, do: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="be pickled or copied"):
        do(client)
    with pytest.raises(TypeError, match="be pickled or copied"):
        do(client._key)


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.webhooks.get(KEY),
        lambda client: client.webhooks.delete(f"wh_1/{KEY}"),
        lambda client: list(client.webhooks.logs(KEY)),
        lambda client: client.webhooks.create(url=f"https://shop.example/?key={KEY}", events=["a.b"]),
        lambda client: client.webhooks.update("wh_1", events=[KEY]),
    ],
)
def test_a_key_passed_where_something_else_belongs_is_not_sent(
    client: NateqClient, server: ScriptedServer, use: Callable[[NateqClient], object]
) -> None:
    error = caught(lambda: use(client))

    assert isinstance(error, NateqConfigurationError)
    assert_no_key(error)
    assert server.asked == []


@pytest.mark.parametrize("id", [KEY + "\n", KEY * 20])
def test_an_id_that_is_refused_is_not_repeated(client: NateqClient, id: str) -> None:
    assert_no_key(caught(lambda: client.webhooks.get(id)))


def test_a_key_with_odd_characters_is_known_in_a_url_too(server: ScriptedServer, fake_time: FakeTime) -> None:
    server.says(Say(401, refused("INVALID_API_KEY", f"{ODD_KEY} {quote(ODD_KEY, safe='')}")))
    with NateqClient(ODD_KEY, server.base_url, sleep=fake_time.sleep) as client:
        assert_clean(caught(lambda: list_webhooks(client)), ODD_KEY)
        assert isinstance(caught(lambda: client.webhooks.get(ODD_KEY)), NateqConfigurationError)
    assert len(server.asked) == 1


class Passed:
    """A key as an argument comes in: from somewhere that is no local variable of a frame of the test."""

    key = ""

    @classmethod
    def make_client(cls) -> NateqClient:
        return NateqClient(cls.key)


@pytest.mark.parametrize("key", REFUSED_KEYS)
@pytest.mark.parametrize("make_client", [NateqClient, Passed.make_client])
def test_a_key_that_is_refused_is_not_shown_either(
    monkeypatch: pytest.MonkeyPatch, make_client: Callable[[], NateqClient], key: str
) -> None:
    monkeypatch.setenv("NATEQ_API_KEY", key)
    monkeypatch.setattr(Passed, "key", key)

    assert_clean(caught(make_client), key.strip())


def test_a_refused_address_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATEQ_API_KEY", KEY)

    assert_clean(caught(lambda: NateqClient(base_url="http://here.example/")))


def test_a_key_knows_its_kind_and_nothing_of_itself_is_printed() -> None:
    assert repr(ApiKey(KEY)) == "ApiKey('tg_test_…')"
    assert repr(ApiKey("tg_live_1")) == "ApiKey('tg_live_…')"
    assert repr(ApiKey("secret")) == repr(ApiKey(None)) == "ApiKey('…')"
    assert not hasattr(ApiKey(KEY), "__dict__")
