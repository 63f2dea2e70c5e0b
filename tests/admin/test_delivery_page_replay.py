"""Having a delivery run again from its page: asked first, permitted, recorded."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Replay, Run
from tests.admin.pages import detail_url, shown
from tests.conftest import Connect, Sender, envelope

pytestmark = pytest.mark.django_db


@pytest.fixture
def pending(sender: Sender, receivers: None) -> Delivery:
    """A delivery of two receivers, one of which has failed and is to be tried again."""
    sender.post(envelope())
    return Delivery.objects.get()


@pytest.fixture
def delivery(pending: Delivery) -> Delivery:
    """A delivery of two receivers, one of which has failed for good."""
    pending.runs.filter(status="failed").update(status="dead", next_try_at=None)
    return pending


def replay_url(delivery: Delivery) -> str:
    return reverse("admin:nateq_webhooks_delivery_replay", args=[delivery.pk])


def links(client: Client, delivery: Delivery) -> dict[str, str]:
    """The ways to have it run again that the page offers, by their labels; the last one of each label."""
    page = shown(client, detail_url(delivery))
    found = re.findall(r'<a[^>]* href="([^"]*/delivery/\d+/replay/[^"]*)">([^<]*)</a>', page)
    return {label: unescape(url) for url, label in found}


def replayed() -> list[str]:
    return sorted(Run.objects.exclude(round=0).values_list("receiver", flat=True))


def confirm(client: Client, url: str, **more: str) -> None:
    """Press the button of the page that asks, with what its form holds."""
    page = shown(client, url)
    fields = dict(re.findall(r'<input type="hidden" name="(which|receiver)" value="([^"]*)"', page))
    response = client.post(url.partition("?")[0], fields | more)
    assert response.status_code == 302


def test_all_receivers_run_again_after_a_confirmation(boss: Client, delivery: Delivery) -> None:
    url = links(boss, delivery)["Run all again"]
    asked = shown(boss, url)
    assert "shop.fail" in asked
    assert "shop.succeed" in asked
    assert replayed() == []

    confirm(boss, url, reason="the bug is <mended>")

    assert replayed() == ["shop.fail", "shop.succeed"]
    replay = Replay.objects.get()
    assert (replay.by, replay.reason) == ("boss", "the bug is <mended>")
    page = shown(boss, detail_url(delivery))
    assert f"Replay {replay.pk}: 2 runs made." in page
    assert "reason: " in page
    assert "the bug is &lt;mended&gt;" in page


def test_only_those_that_failed_run_again(boss: Client, delivery: Delivery) -> None:
    url = links(boss, delivery)["Run the failed ones again"]
    assert "shop.succeed" not in shown(boss, url)

    confirm(boss, url)

    assert replayed() == ["shop.fail"]


def test_a_run_that_is_to_be_tried_again_is_brought_forward(boss: Client, pending: Delivery) -> None:
    url = links(boss, pending)["Run the failed ones again"]
    assert "is brought forward instead" in shown(boss, url)

    confirm(boss, url, reason="CRM is back")

    assert replayed() == []
    replay = Replay.objects.get()
    page = shown(boss, detail_url(pending))
    assert f"Replay {replay.pk}: 0 runs made, 1 brought forward." in page
    assert "replayed it" in page
    assert 'brought forward: <bdi class="nateq-text">shop.fail</bdi>' in page
    assert "CRM is back" in page


def test_a_running_run_is_not_touched_and_the_page_says_so(boss: Client, pending: Delivery) -> None:
    pending.runs.filter(status="failed").update(status="running")

    confirm(boss, f"{replay_url(pending)}?which=one&receiver=shop.fail")

    assert replayed() == []
    page = shown(boss, detail_url(pending))
    assert f"Replay {Replay.objects.get().pk}: 0 runs made, 1 already running." in page


def test_one_receiver_runs_again(boss: Client, delivery: Delivery) -> None:
    url = f"{replay_url(delivery)}?which=one&receiver=shop.succeed"
    assert url in unescape(shown(boss, detail_url(delivery)))

    confirm(boss, url)

    assert replayed() == ["shop.succeed"]


def test_a_replayed_receiver_runs(boss: Client, delivery: Delivery) -> None:
    confirm(boss, f"{replay_url(delivery)}?which=one&receiver=shop.succeed")

    while api.run_due():
        pass

    assert Run.objects.get(receiver="shop.succeed", round=Replay.objects.get().pk).status == Run.Status.SUCCEEDED


def test_a_replay_is_in_the_admins_history(boss: Client, delivery: Delivery) -> None:
    confirm(boss, f"{replay_url(delivery)}?which=failed", reason="mended")

    entry = LogEntry.objects.get()
    assert entry.object_id == str(delivery.pk)
    message = f"Replayed with shop.fail (replay {Replay.objects.get().pk}: 1 run made). mended"
    assert entry.get_change_message() == message
    assert message in shown(boss, reverse("admin:nateq_webhooks_delivery_history", args=[delivery.pk]))


def test_a_failed_receiver_that_is_no_longer_connected_is_named_and_left_out(boss: Client, delivery: Delivery) -> None:
    Run.objects.create(delivery=delivery, receiver="shop.gone", status=Run.Status.DEAD)

    page = shown(boss, f"{replay_url(delivery)}?which=failed")

    assert "not connected any more" in page
    assert "shop.gone" in page
    assert "shop.gone" not in "".join(links(boss, delivery).values())


def test_an_invalid_delivery_offers_nothing_to_run(boss: Client, sender: Sender, connect: Connect) -> None:
    connect(signals.event_received, lambda **kwargs: None, "shop.all")
    sender.post(b"no json")
    invalid = Delivery.objects.get()

    assert links(boss, invalid) == {}
    assert "There is no receiver to run." in shown(boss, replay_url(invalid))
    assert boss.post(replay_url(invalid), {"which": "all"}).status_code == 200
    assert Replay.objects.count() == 0


@pytest.mark.parametrize("query", [{"which": "other"}, {"which": "one", "receiver": "shop.unknown"}, {"which": "one"}])
def test_an_unknown_choice_is_not_found(boss: Client, delivery: Delivery, query: dict[str, str]) -> None:
    assert boss.get(replay_url(delivery), query).status_code == 404
    assert boss.post(replay_url(delivery), query).status_code == 404


def test_a_user_may_replay_without_view_payload(staff: Callable[..., Client], delivery: Delivery) -> None:
    confirm(staff("view_delivery", "replay_delivery"), f"{replay_url(delivery)}?which=all", reason="x" * 900 + "\0")

    assert len(replayed()) == 2
    assert Replay.objects.get().reason == "x" * 500
