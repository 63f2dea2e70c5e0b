"""`manage.py nateq_status`: for people, and for monitoring."""

import json
import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.maintenance import Maintenance, worker_name
from nateq_webhooks.dispatch.pauses import pause_hold
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hold import breaker_scope
from nateq_webhooks.runners.worker import drain
from tests.dispatch.scene import ALIAS, Connect, Deliver
from tests.runners.processes import process

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _receiver(connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "test.one")


def status(*arguments: str) -> tuple[int, str]:
    """Return the exit code and what is said."""
    out = StringIO()
    try:
        call_command("nateq_status", *arguments, stdout=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def as_json(*arguments: str) -> tuple[int, dict[str, Any]]:
    code, text = status("--json", *arguments)
    return code, json.loads(text)


def test_when_all_is_well() -> None:
    code, text = status()

    assert code == 0
    assert text == (
        "Deliveries whose receivers are still to be started: 0\nOldest due: none\nWorkers seen lately: none\n"
    )


def test_json_has_every_figure(deliver: Deliver) -> None:
    Maintenance(ALIAS).heartbeat()
    dispatch.pause(receiver="test.one", reason="moved", by="sara")
    deliver()
    api.run_due()

    code, found = as_json()

    assert code == 1
    figures = ["now", "undispatched", "oldest_due", "lag_seconds", "receivers", "paused", "workers", "replays"]
    assert list(found) == [*figures, "needs_attention", "unreadable_secrets"]
    counts = {"waiting": 1, "running": 0, "failing": 0, "dead": 0, "held": 1, "orphaned": 0}
    assert found["receivers"] == {"test.one": counts}
    (pause,) = found["paused"]
    shown = (pause["scope"], pause["reason"], pause["by"], pause["automatic"])
    assert shown == ("receiver:test.one", "moved", "sara", False)
    assert [worker["name"] for worker in found["workers"]] == [worker_name()]
    assert found["needs_attention"] == ["paused"]


def test_the_text_has_the_same_figures(deliver: Deliver) -> None:
    dispatch.pause(receiver="test.one", reason="moved", by="sara")
    deliver()
    api.run_due()

    code, text = status()

    assert code == 1
    lines = text.splitlines()
    assert re.split(r"\s{2,}", lines[2].strip()) == [
        *("Waiting", "Running", "Retrying", "Failed for good", "Held", "Unknown receiver", "receiver")
    ]
    assert lines[3].split() == ["1", "0", "0", "0", "1", "0", "test.one"]
    assert lines[2].index("receiver", -10) == lines[3].index("test.one")
    assert lines[4].startswith("Paused: receiver:test.one since 20")
    assert lines[4].endswith("by sara. moved")
    assert lines[-1] == "Needs attention: something is paused"


def test_a_paused_webhook_is_named(webhook: Webhook) -> None:
    dispatch.pause(webhook=webhook)
    pause_hold(ALIAS, breaker_scope(webhook.pk, "test.one"), probe_at=timezone.now())

    text = status()[1]
    assert "Paused: webhook:shop since" in text
    assert "Paused: webhook:shop/receiver:test.one since" in text
    assert str(webhook.pk) not in text
    shown = [(each["scope"], each["webhook"]) for each in as_json()[1]["paused"]]
    assert sorted(shown) == [(f"webhook:{webhook.pk}", "shop"), (breaker_scope(webhook.pk, "test.one"), "shop")]


def test_work_that_is_long_due_needs_attention(deliver: Deliver) -> None:
    deliver()
    code, found = as_json()
    assert (code, found["undispatched"], found["needs_attention"]) == (0, 1, [])

    long_ago = timezone.now() - timedelta(seconds=400)
    Run.objects.create(delivery=Delivery.objects.get(), receiver="test.one", next_try_at=long_ago)
    code, found = as_json()
    assert (code, found["needs_attention"]) == (1, ["lag"])
    assert 400 <= found["lag_seconds"] < 500
    assert as_json("--max-lag", "3600")[0] == 0


def test_dead_runs_need_attention_until_a_replay_succeeds(deliver: Deliver) -> None:
    delivery = deliver()
    drain()
    Run.objects.update(status="dead")
    code, found = as_json()
    assert (code, found["needs_attention"], found["receivers"]["test.one"]["dead"]) == (1, ["dead"], 1)
    assert as_json("--max-dead", "1")[0] == 0
    assert status()[1].splitlines()[-1] == "Needs attention: runs failed for good"

    dispatch.replay(delivery)
    drain()

    assert as_json()[0] == 0


def test_its_exit_code_is_that_of_the_process(deliver: Deliver) -> None:
    with process("-m", "django", "nateq_status") as calm:
        assert calm.wait_until_it_ends() == 0
    dispatch.pause()
    with process("-m", "django", "nateq_status", "--json") as troubled:
        assert troubled.wait_until_it_ends() == 1
        assert json.loads(troubled.output)["paused"][0]["scope"] == ""
