"""The checks of encrypted secrets; tests/inbox/test_unreadable_secrets.py has those of secrets that can't be read."""

import pytest
from django.core.checks import run_checks

from nateq_webhooks.models import Secret, Webhook
from tests.conftest import SECRET
from tests.encryption import NEW_KEY, keys, store_as, without_the_extra

pytest.importorskip("cryptography")


def messages(code: str) -> list[str]:
    tags = ["nateq_webhooks"]
    found = run_checks(tags=tags, databases=["default"], include_deployment_checks=True)
    return [f"{each.msg} {each.hint}" for each in found if each.id == f"nateq_webhooks.{code}"]


def test_keys_without_the_extra_are_an_error(db: None) -> None:
    with keys(NEW_KEY):
        assert messages("E030") == []
        with without_the_extra():
            [text] = messages("E030")
            assert messages("W065") == []
    assert "nateq-webhooks[encryption]" in text
    assert NEW_KEY not in text


def test_plain_text_is_a_warning_when_deploying(db: None) -> None:
    assert messages("W065") == []
    with without_the_extra():
        [text] = messages("W065")
        assert messages("E030") == []
    assert "nateq-webhooks[encryption]" in text
    assert "nateq_secrets rotate-key" in text


def test_secrets_of_before_in_plain_text_are_counted(db: None) -> None:
    webhook = Webhook.objects.create(name="shop", secret=SECRET)
    older = Secret.objects.create(webhook=webhook, secret=SECRET)
    Webhook.objects.create(name="second", secret="env:NATEQ_SECOND")
    Webhook.objects.create(name="third", secret="")
    assert messages("W066") == []
    for row in (webhook, older):
        store_as(row, SECRET)
    [text] = messages("W066")
    assert text.startswith("2 ")
    assert "nateq_secrets rotate-key" in text
