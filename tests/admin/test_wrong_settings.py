"""While the settings are wrong, each page of the admin says which of them, and what to do."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from nateq_webhooks import conf
from nateq_webhooks.models import Delivery, Webhook
from tests.admin.test_fuzz import routes
from tests.encryption import NEW_KEY, keys, without_the_extra

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

KEY = "tg_live_do_not_show_me"
WRONG: dict[str, Any] = {"REDAKT": ["data.email"], "API_KEY": f"{KEY} with a space"}


def addresses() -> list[str]:
    return sorted({re.sub(r"<[^>]+>", "1", route).removesuffix("$") for route in routes()})


@pytest.mark.parametrize("method", ["get", "post"])
def test_each_page_says_which_setting_is_wrong(admin_client: Client, settings: Settings, method: str) -> None:
    settings.NATEQ_WEBHOOKS = WRONG

    answers = {url: getattr(admin_client, method)(url) for url in addresses() if "autocomplete" not in url}

    assert len(answers) > 40
    for url, answer in answers.items():
        page = answer.content.decode()
        assert answer.status_code == 503, url
        assert "Did you mean &#x27;REDACT&#x27;?" in page, url
        assert "manage.py check" in page, url
        assert KEY not in page, url


def test_the_dashboard_says_it_and_links_still_work(admin_client: Client, settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = WRONG

    board = admin_client.get(reverse("admin:app_list", args=["nateq_webhooks"]))

    assert board.status_code == 200
    assert "Did you mean &#x27;REDACT&#x27;?" in board.content.decode()
    assert KEY not in board.content.decode()
    assert admin_client.get(reverse("admin:index")).status_code == 200


def test_the_completion_of_other_pages_does_not_break(admin_client: Client, settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = WRONG
    asked = {"app_label": "nateq_webhooks", "model_name": "run", "field_name": "delivery", "term": "a"}

    assert admin_client.get(reverse("admin:autocomplete"), asked).status_code < 500


def test_who_may_see_nothing_of_it_learns_nothing(staff: Any, settings: Settings, client: Client) -> None:
    settings.NATEQ_WEBHOOKS = WRONG
    url = reverse("admin:nateq_webhooks_delivery_changelist")

    assert staff("view_webhook").get(url).status_code == 503
    assert staff().get(url).status_code == 403
    assert client.get(url).status_code == 302


def test_the_log_says_it_once(admin_client: Client, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    conf._report.cache_clear()
    settings.NATEQ_WEBHOOKS = WRONG

    for _time in range(3):
        admin_client.get(reverse("admin:nateq_webhooks_delivery_changelist"))

    [ours] = [record for record in caplog.records if record.name == "nateq_webhooks"]
    assert "REDAKT" in ours.getMessage()


def test_the_pages_are_back_with_the_settings(admin_client: Client, settings: Settings, delivery: Delivery) -> None:
    url = reverse("admin:nateq_webhooks_delivery_change", args=[delivery.pk])
    settings.NATEQ_WEBHOOKS = WRONG
    assert admin_client.get(url).status_code == 503

    settings.NATEQ_WEBHOOKS = {}

    assert admin_client.get(url).status_code == 200


def test_a_webhook_is_not_changed_while_no_secret_can_be_saved(admin_client: Client) -> None:
    """`SECRET_KEYS` is set, and the extra `encryption` is missing."""
    webhook = Webhook.objects.create(name="shop")
    addresses = [
        reverse("admin:nateq_webhooks_webhook_add"),
        reverse("admin:nateq_webhooks_webhook_change", args=[webhook.pk]),
    ]
    with keys(NEW_KEY), without_the_extra():
        shown = [admin_client.get(address) for address in addresses]
        answers = [admin_client.post(address, {"name": "other"}) for address in addresses]

    assert [answer.status_code for answer in shown] == [200, 200]
    for answer in answers:
        assert answer.status_code == 503
        assert "nateq-webhooks[encryption]" in answer.content.decode()
        assert NEW_KEY not in answer.content.decode()
    assert Webhook.objects.get().name == "shop"
