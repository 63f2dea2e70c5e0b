"""The contract of every answer: headers, rate limit, errors, and what the site's own settings do not change."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.core.cache import cache
from django.core.signals import got_request_exception
from django.db import OperationalError
from django.test import override_settings
from django.views.debug import ExceptionReporter

from nateq_webhooks.api.webhooks import WebhooksView
from nateq_webhooks.checks.api import check_api_cache
from nateq_webhooks.models import Webhook
from nateq_webhooks.models.api_key import ApiKeyQuerySet
from nateq_webhooks.rest import throttle
from tests.api.conftest import Program, issue

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

ROOT = Path(__file__).resolve().parents[2]


class Moment:
    """A clock that a test sets."""

    now = 600_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Moment:
    moment = Moment()
    monkeypatch.setattr(throttle, "time", moment)
    return moment


def test_every_answer_has_what_is_left_and_the_last_one_says_when_to_come_back(clock: Moment) -> None:
    program = Program(issue("webhooks:read", requests_per_minute=3))
    other = Program(issue("webhooks:read"))
    left = [program.ask("/webhooks")["X-RateLimit-Remaining"] for _ in range(2)]
    left.append(program.ask("/nothing", status=404)["X-RateLimit-Remaining"])
    clock.now += 17.5

    refused = program.ask("/webhooks", status=429)

    assert left == ["2", "1", "0"]
    assert (refused["X-RateLimit-Limit"], refused["X-RateLimit-Remaining"], refused["Retry-After"]) == ("3", "0", "43")
    assert refused.json()["error"] == {
        "code": "RATE_LIMIT_EXCEEDED",
        "message": "More than 3 requests in a minute",
        "details": {"limit": 3, "window": "1 minute", "retry_after_seconds": 43},
    }
    assert other.ask("/webhooks")["X-RateLimit-Remaining"] == "999"
    clock.now += 43
    program.ask("/webhooks")


def test_processes_that_share_a_cache_share_the_limit(tmp_path: Path, clock: Moment) -> None:
    shared = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": str(tmp_path)}
    code = f"""
from django.conf import settings
settings.configure(CACHES={{"default": {shared!r}}})
from nateq_webhooks.rest import throttle
throttle.time = type("Clock", (), {{"time": staticmethod(lambda: {clock.now})}})
print(throttle.take("key.1", 3).remaining)
"""

    with override_settings(CACHES={"default": shared}):
        before = throttle.take("key.1", 3).remaining
        other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        after = throttle.take("key.1", 3).remaining

    assert (before, other.stdout.strip(), after) == (2, "1", 0)


def test_the_limit_counts_before_the_scope_is_looked_at() -> None:
    program = Program(issue("webhooks:read", requests_per_minute=1))

    assert program.ask("/deliveries", status=403)["X-RateLimit-Remaining"] == "0"
    program.ask("/webhooks", status=429)


def test_a_cache_that_fails_limits_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise ConnectionError

    program = Program(issue(requests_per_minute=1))
    monkeypatch.setattr(type(cache._connections["default"]), "add", fail)  # type: ignore[attr-defined]

    program.ask("/webhooks")
    program.ask("/webhooks")
    assert "was not counted: ConnectionError" in caplog.text


@pytest.mark.parametrize(
    "backend", ["dummy.DummyCache", "locmem.LocMemCache", "filebased.FileBasedCache", "db.DatabaseCache"]
)
def test_a_deployment_is_warned_of_a_cache_that_its_processes_do_not_share(backend: str, tmp_path: Path) -> None:
    settings = {"BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": str(tmp_path)}
    is_shared = backend.split(".")[0] not in ("dummy", "locmem")

    with override_settings(CACHES={"default": settings}):
        found = [
            message
            for message in checks.run_checks(include_deployment_checks=True)
            if message.id == "nateq_webhooks.W060"
        ]
        if not is_shared and "dummy" in backend:
            Program(issue(requests_per_minute=1)).ask("/webhooks")

    assert bool(found) is not is_shared
    with override_settings(ROOT_URLCONF="tests.urls", CACHES={"default": settings}):
        assert check_api_cache() == []


def test_an_unexpected_error_is_a_500_in_the_envelope_that_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_args: Any) -> None:
        raise LookupError("a text of a customer")

    monkeypatch.setattr(WebhooksView, "get", fail)
    program = Program(issue(), raise_request_exception=False)

    error = program.error("/webhooks", status=500)

    assert error == {"code": "INTERNAL_ERROR", "message": "Something went wrong"}
    [record] = [record for record in caplog.records if record.name == "django.request"]
    assert record.exc_info
    with pytest.raises(LookupError):
        Program(issue()).ask("/webhooks")


def test_the_report_of_an_error_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any) -> None:
        raise OperationalError("the database is away")

    key = issue()
    program = Program(key, raise_request_exception=False)
    monkeypatch.setattr(ApiKeyQuerySet, "first", fail)
    reports: list[str] = []

    def report(request: Any, **_kwargs: Any) -> None:
        reporter = ExceptionReporter(request, *sys.exc_info())
        reports.extend([str(reporter.get_traceback_html()), str(reporter.get_traceback_text())])

    got_request_exception.connect(report)
    try:
        program.error("/webhooks", status=500)
    finally:
        got_request_exception.disconnect(report)

    for text in reports:
        assert "the database is away" in text
        assert "with_key" in text
        assert key not in text
    assert len(reports) == 2


@pytest.mark.parametrize(
    "path",
    ["", "/", "/nothing", "/webhooks/", "/deliveries/1/", "/deliveries/1/nothing", "//", "/webhooks/a/b/c", "/%0a"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS", "TRACE"])
def test_any_other_address_is_a_404_in_the_envelope(program: Program, path: str, method: str) -> None:
    assert program.error(path, method=method, status=404)["code"] == "NOT_FOUND"


def test_another_method_is_a_405_that_says_which_there_are(program: Program) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "DISPATCH"):
        response = program.ask("/deliveries", method=method, status=405)
        assert response["Allow"] == "GET, HEAD"
        assert response.json()["error"]["code"] == "METHOD_NOT_ALLOWED"
    assert program.ask("/deliveries", method="HEAD").content == b""


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*", "", "*/*;q=0", "\u00e9"])
def test_the_answer_is_json_whatever_is_asked_for(program: Program, accept: str) -> None:
    response = program.ask("/webhooks", headers={"Accept": accept})

    assert response["Content-Type"] == "application/json"
    assert program.error("/webhooks", {"format": "api"}, status=422)["details"].keys() == {"format"}


def test_the_sites_settings_of_rest_framework_do_not_apply(webhook: Webhook) -> None:
    settings = {
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.BrowsableAPIRenderer"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
        "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"],
        "DEFAULT_THROTTLE_RATES": {"anon": "1/day"},
        "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
        "EXCEPTION_HANDLER": "nothing.at.all",
        "URL_FORMAT_OVERRIDE": "limit",
        "DATETIME_INPUT_FORMATS": ["%Y"],
        "COERCE_DECIMAL_TO_STRING": False,
    }
    with override_settings(REST_FRAMEWORK=settings):
        program = Program(issue())
        for _ in range(3):
            assert program.data("/webhooks", {"limit": "1"})[0]["id"] == str(webhook.pk)
        program.error("/webhooks", {"limit": "html"}, status=422)
        program.ask("/deliveries", {"since": "2026-06-30T12:00:00Z"})


def test_too_many_parameters_are_a_400(program: Program) -> None:
    query = "&".join(f"a{number}=1" for number in range(2000))

    assert program.error(f"/deliveries?{query}", status=400)["code"] == "VALIDATION_ERROR"


def test_a_site_without_the_admin_and_without_users_has_the_api(tmp_path: Path) -> None:
    code = """
import sys, django
from django.conf import settings
from django.urls import include, path
settings.configure(
    SECRET_KEY="tests only", USE_TZ=True, ALLOWED_HOSTS=["*"], ROOT_URLCONF="site_urls",
    INSTALLED_APPS=["nateq_webhooks"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
import types
urls = types.ModuleType("site_urls")
urls.urlpatterns = [path("api/", include("nateq_webhooks.api.urls")), path("nateq/", include("nateq_webhooks.urls"))]
sys.modules["site_urls"] = urls
from django.core.management import call_command
call_command("migrate", verbosity=0)
from io import StringIO
from django.test import Client
out = StringIO()
call_command("nateq_key", "create", "x", "--scopes", "webhooks:read", "deliveries:read", stdout=out, stderr=StringIO())
client = Client(headers={"Authorization": "Bearer " + out.getvalue().strip()})
assert client.get("/api/v1/webhooks").status_code == 200
assert client.get("/api/v1/deliveries").status_code == 200
assert Client().get("/api/v1/webhooks").status_code == 401
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_the_answer_is_strict_json(program: Program, webhook: Webhook) -> None:
    webhook.name = "\u202eshop"
    webhook.save()

    response = program.ask("/webhooks")

    assert response.content.isascii()
    assert json.loads(response.content)["data"][0]["name"] == "\u202eshop"
