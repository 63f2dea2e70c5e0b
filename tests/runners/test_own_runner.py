"""A class of the project as the setting `DISPATCH` (docs: Run workers)."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import notify
from nateq_webhooks.models import Delivery
from tests.conftest import Connect, Sender, envelope

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "workers.md"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, settings: Any) -> list[tuple[Callable[..., None], int]]:
    """Use the class that the page shows; return what it has sent to the queue."""
    messages: list[tuple[Callable[..., None], int]] = []
    queue: Any = ModuleType("shop.queue")
    queue.enqueue = lambda task, pk: messages.append((task, pk))
    runners = ModuleType("shop.runners")
    for module in (ModuleType("shop"), queue, runners):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    (code,) = re.findall(r"```python\n(from datetime.*?class QueueRunner.*?)```", PAGE.read_text(), re.DOTALL)
    exec(code, runners.__dict__)  # noqa: S102 - the example of the page
    settings.NATEQ_WEBHOOKS = {"DISPATCH": "shop.runners.QueueRunner"}
    notify._runner_at.cache_clear()
    return messages


@pytest.mark.django_db(transaction=True)
def test_the_class_of_the_page_has_deliveries_and_replays_run(
    sent: list[tuple[Callable[..., None], int]], sender: Sender, connect: Connect
) -> None:
    calls: list[int] = []
    connect(signals.ticket_created, lambda *, delivery, **kwargs: calls.append(delivery.pk))

    assert sender.post(envelope()).status_code == 200
    delivery = Delivery.objects.get()
    assert (calls, [pk for _task, pk in sent]) == ([], [delivery.pk])
    task, pk = sent.pop()
    task(pk)
    assert calls == [delivery.pk]

    dispatch.replay(delivery)
    task, pk = sent.pop()
    task(pk)

    delivery.refresh_from_db()
    assert (calls, delivery.status) == ([delivery.pk, delivery.pk], "processed")
