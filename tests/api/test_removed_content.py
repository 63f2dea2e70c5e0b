"""A delivery whose content was removed: its document says so, and what needs the content is refused by name."""

from datetime import UTC, datetime

import pytest

from nateq_webhooks import signals
from nateq_webhooks.models import Run, Webhook
from tests.api.conftest import Program
from tests.builders import build_delivery, insert
from tests.conftest import Connect

pytestmark = pytest.mark.django_db

AT = datetime(2026, 6, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "words"), [("retention", "was removed by retention on"), ("erasure", "was erased on")]
)
def test_it_says_so_and_refuses_a_replay(
    program: Program, webhook: Webhook, connect: Connect, change: str, words: str
) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "shop.open")
    (removed,) = insert([build_delivery(webhook, body=b"", content_change=change, content_changed_at=AT)])
    path = f"/deliveries/{removed.pk}"

    document = program.data(path)
    body = program.error(f"{path}/body", status=404)
    replay = program.error(f"{path}/replay", method="POST", content_type="application/json", status=409)

    assert (document["content_change"], document["content_changed_at"]) == (change, "2026-06-30T12:00:00Z")
    assert (document["size"], document["payload"], document["headers"]) == (0, None, {})
    assert words in body["message"]
    assert replay["message"] == body["message"]
    assert not Run.objects.exists()
