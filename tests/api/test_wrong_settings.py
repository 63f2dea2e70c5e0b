"""While the settings are wrong, each operation is answered with 503, in the form of the API, and says no more."""

from typing import Any

import pytest
from pytest_django import Settings

from nateq_webhooks import conf
from nateq_webhooks.database import encryption
from nateq_webhooks.models import Webhook
from tests.api.conftest import API, Program, issue, staff
from tests.api.operations import OPERATIONS, Operation
from tests.builders import store_deliveries
from tests.encryption import NEW_KEY, keys, without_the_extra

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

VALUE = "do_not_show_me"
WRONG: list[Any] = [{"REDAKT": [VALUE]}, {"REDACT": VALUE}, {"DISPATCH": 7, "PUBLIC_URL": VALUE}, None, []]


def _ask(program: Program, operation: Operation, **ids: Any) -> Any:
    return program.generic(operation.method, f"{API}{operation.at(**ids)}", "{}")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_each_operation_is_answered_with_503(operation: Operation, settings: Settings) -> None:
    [delivery] = store_deliveries(Webhook.objects.create(name="shop"))
    callers = [Program(issue()), Program(), Program("tg_live_unknown"), staff("view_delivery", "view_payload")]

    for wrong in WRONG:
        settings.NATEQ_WEBHOOKS = wrong
        for caller in callers:
            answer = _ask(caller, operation, webhook=delivery.webhook_id, delivery=delivery.pk)

            assert (answer.status_code, answer["Retry-After"]) == (503, "30")
            assert answer.json()["error"]["code"] == "INTERNAL_ERROR"
            assert answer["X-Request-Id"]
            text = answer.content.decode()
            assert VALUE not in text
            assert "NATEQ" not in text


def test_other_addresses_and_methods_are_answered_the_same(settings: Settings) -> None:
    program = Program(issue())
    settings.NATEQ_WEBHOOKS = {"REDAKT": []}

    for method, path in [("GET", "/nothing"), ("PUT", "/webhooks"), ("OPTIONS", "/deliveries"), ("POST", "/webhooks")]:
        assert program.generic(method, f"{API}{path}", "no json").status_code == 503


def test_it_is_logged_once(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody can send such a request, and Django mails each error."""
    conf._report.cache_clear()
    settings.NATEQ_WEBHOOKS = {"REDAKT": []}

    for _time in range(3):
        Program().get(f"{API}/deliveries")

    [error] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "Did you mean 'REDACT'?" in error.getMessage()


def test_the_api_is_back_with_the_settings(settings: Settings) -> None:
    program = Program(issue())
    settings.NATEQ_WEBHOOKS = {"REDAKT": []}
    program.error("/deliveries", status=503)

    settings.NATEQ_WEBHOOKS = {}

    assert program.data("/deliveries") == []


def test_a_webhook_is_not_changed_while_no_secret_can_be_saved(caplog: pytest.LogCaptureFixture) -> None:
    """`SECRET_KEYS` is set, and the extra `encryption` is missing."""
    webhook = Webhook.objects.create(name="shop")
    program = Program(issue())
    encryption._report.cache_clear()
    with keys(NEW_KEY), without_the_extra():
        answers = [
            program.post(f"{API}/webhooks", {}, content_type="application/json"),
            program.patch(f"{API}/webhooks/{webhook.pk}", {"name": "other"}, content_type="application/json"),
            program.post(f"{API}/webhooks/{webhook.pk}/rotate-secret", {}, content_type="application/json"),
        ]
        shown = program.data(f"/webhooks/{webhook.pk}")

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert shown["name"] == "shop"
    assert Webhook.objects.get().name == "shop"
    [error] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "nateq-webhooks[encryption]" in error.getMessage()
    assert NEW_KEY not in error.getMessage()
