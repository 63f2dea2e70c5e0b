"""A table that stays locked is waited for once: the sender does not wait for three times (docs: Receiving)."""

from typing import Any

import pytest
from django.db import OperationalError

from nateq_webhooks.inbox import storage
from nateq_webhooks.models import Webhook
from tests.conftest import Sender, envelope

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("has_removed", [False, True])
@pytest.mark.parametrize(("seconds", "tries"), [(0.0, 1), (60.0, 3)])
def test_no_further_try_begins_after_the_time_of_the_sender(
    sender: Sender, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, seconds: float, tries: int, *, has_removed: bool
) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(has_removed=has_removed)
    calls: list[bool] = []

    def wait_for_a_lock(*args: Any) -> None:
        calls.append(True)
        raise OperationalError(1205, "Lock wait timeout exceeded")

    monkeypatch.setattr(storage, "_insert", wait_for_a_lock)
    monkeypatch.setattr(storage, "RETRY_SECONDS", seconds)

    assert sender.post(envelope()).status_code == 503
    assert len(calls) == tries
