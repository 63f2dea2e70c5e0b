"""Having a delivery run again from its page: asked first, permitted, recorded."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import override_settings
from django.urls import reverse
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Replay, Run
from nateq_webhooks.models.hold import Heartbeat
from tests.admin.pages import detail_url, shown
from tests.conftest import Connect, Sender, envelope
from tests.dispatch.scene import fails_once

pytestmark = [pytest.mark.django_db, pytest.mark.pages]


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


def try_now(client: Client, delivery: Delivery, **fields: str) -> str:
    """Press "Try now"; return the page that follows."""
    url = reverse("admin:nateq_webhooks_delivery_try_now", args=[delivery.pk])
    assert f'action="{url}"' in shown(client, detail_url(delivery))
    assert client.post(url, fields).status_code == 302
    return shown(client, detail_url(delivery))


class TestTryNow:
    """A run that waits is brought forward; no run is made beside it."""

    def test_a_run_that_is_to_be_tried_again_is_due_now(self, boss: Client, pending: Delivery) -> None:
        Heartbeat.objects.create(name="host-1")

        page = try_now(boss, pending, receiver="shop.fail")

        assert replayed() == []
        run = pending.runs.get(receiver="shop.fail")
        assert run.next_try_at is not None
        assert run.next_try_at <= timezone.now()
        assert "Try now: the next try of 1 run is now." in page
        assert 'brought forward: <bdi class="nateq-text">shop.fail</bdi>' in page
        assert "had it tried now" in page
        assert "replayed it" not in page
        assert LogEntry.objects.get().get_change_message() == "Try now: the next try of 1 run is now."

    @pytest.mark.parametrize("is_atomic", [False, True], ids=["", "ATOMIC_REQUESTS"])
    @pytest.mark.django_db(transaction=True)
    def test_inline_and_without_a_worker_it_runs_in_the_request(
        self,
        boss: Client,
        sender: Sender,
        connect: Connect,
        monkeypatch: pytest.MonkeyPatch,
        is_atomic: bool,
    ) -> None:
        connect(signals.ticket_created, fails_once, "shop.fail")
        sender.post(envelope())
        assert Run.objects.get().status == "failed"
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", is_atomic)

        page = try_now(boss, Delivery.objects.get(), receiver="shop.fail")

        run = Run.objects.get()
        assert (run.status, run.tries, run.delivery.status) == ("succeeded", 2, "processed")
        report = "Try now: the next try of 1 run is now. So far: 1 succeeded, 0 failed for good, 0 left."
        assert report in page
        assert "No worker was seen" not in page

    def test_inline_a_try_that_fails_again_needs_a_worker_for_the_next_one(
        self, boss: Client, pending: Delivery
    ) -> None:
        page = try_now(boss, pending, receiver="shop.fail")

        run = pending.runs.get(receiver="shop.fail")
        assert (run.status, run.tries) == ("failed", 2)
        assert run.next_try_at is not None
        assert run.next_try_at > timezone.now()
        assert "So far: 0 succeeded, 0 failed for good, 1 left (1 retrying)." in page
        assert "No worker was seen" in page

    def test_nothing_is_said_of_a_result_where_other_processes_run_it(self, boss: Client, pending: Delivery) -> None:
        with override_settings(NATEQ_WEBHOOKS={"DISPATCH": "worker"}):
            page = try_now(boss, pending, receiver="shop.fail")

        assert "Try now: the next try of 1 run is now." in page
        assert "So far" not in page

    @pytest.mark.parametrize("receiver", [None, "shop.fail"])
    def test_what_is_paused_does_not_run(self, boss: Client, pending: Delivery, receiver: str | None) -> None:
        url = reverse("admin:nateq_webhooks_delivery_try_now", args=[pending.pk])
        dispatch.pause(receiver=receiver)

        boss.post(url, {"receiver": "shop.fail"})

        assert pending.runs.get(receiver="shop.fail").tries == 1

    def test_the_button_without_a_receiver_is_for_all_that_wait(self, boss: Client, pending: Delivery) -> None:
        try_now(boss, pending)

        assert Replay.objects.get().brought_forward == 1
        assert replayed() == []

    def test_no_replay_is_offered_for_what_waits(self, boss: Client, pending: Delivery) -> None:
        offered = links(boss, pending)
        assert set(offered) == {"Run all again"}
        page = unescape(shown(boss, detail_url(pending)))
        assert f"{replay_url(pending)}?which=one&receiver=shop.succeed" in page
        assert f"{replay_url(pending)}?which=one&receiver=shop.fail" not in page
        asked = shown(boss, offered["Run all again"])
        assert asked.index("shop.succeed") < asked.index("have not finished") < asked.index("shop.fail")

        confirm(boss, offered["Run all again"])

        assert replayed() == ["shop.succeed"]

    def test_what_has_finished_meanwhile_does_not_run_again(self, boss: Client, pending: Delivery) -> None:
        url = reverse("admin:nateq_webhooks_delivery_try_now", args=[pending.pk])
        pending.runs.update(status="succeeded", next_try_at=None)

        boss.post(url, {"receiver": "shop.fail"})

        assert replayed() == []
        assert "no run waits for a try any more" in shown(boss, detail_url(pending))

    def test_it_needs_the_permission_to_replay(self, staff: Callable[..., Client], pending: Delivery) -> None:
        reader = staff("view_delivery", "view_run")
        url = reverse("admin:nateq_webhooks_delivery_try_now", args=[pending.pk])

        assert reader.post(url).status_code == 403
        assert "Try now" not in shown(reader, detail_url(pending))
        assert Replay.objects.count() == 0

    def test_an_unknown_receiver_is_not_found(self, boss: Client, pending: Delivery) -> None:
        url = reverse("admin:nateq_webhooks_delivery_try_now", args=[pending.pk])

        assert boss.post(url, {"receiver": "shop.unknown"}).status_code == 404
        assert boss.get(url).status_code == 405


class TestResume:
    """A run that is held says by what, and may be resumed."""

    @pytest.fixture
    def held(self, pending: Delivery) -> Delivery:
        dispatch.pause(receiver="shop.fail", reason="CRM is being moved", by="sara")
        return pending

    def test_the_page_says_who_has_paused_it_and_why_and_resumes_it(self, boss: Client, held: Delivery) -> None:
        page = shown(boss, detail_url(held))
        assert "The receiver is paused" in page
        assert "sara" in page
        assert "CRM is being moved" in page
        assert ">Try now<" not in page
        [number] = re.findall(r'form="nateq-resume" name="hold" value="(\d+)"', page)
        [action] = re.findall(r'id="nateq-resume" action="([^"]+)"', page)

        response = boss.post(action, {"hold": number, "next": detail_url(held)})

        assert response["Location"] == detail_url(held)
        assert api.paused() == []
        assert ">Try now<" in shown(boss, detail_url(held))

    def test_the_button_is_not_shown_to_who_may_not_resume(self, staff: Callable[..., Client], held: Delivery) -> None:
        page = shown(staff("view_delivery", "view_run", "replay_delivery"), detail_url(held))

        assert "CRM is being moved" in page
        assert "nateq-resume" not in page


def test_a_running_run_does_not_run_again_and_the_page_says_so(boss: Client, pending: Delivery) -> None:
    pending.runs.filter(status="failed").update(status="running")
    url = f"{replay_url(pending)}?which=one&receiver=shop.fail"

    assert "There is no receiver to run." in shown(boss, url)
    assert boss.post(replay_url(pending), {"which": "one", "receiver": "shop.fail"}).status_code == 200

    assert Replay.objects.count() == 0


def test_a_form_that_does_not_say_which_runs_nothing(boss: Client, delivery: Delivery) -> None:
    assert boss.post(replay_url(delivery), {}).status_code == 404

    assert replayed() == []


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


@pytest.mark.parametrize("what", ["receiver", "everything"])
def test_try_now_says_that_a_pause_holds_the_run_back(boss: Client, pending: Delivery, what: str) -> None:
    [run] = pending.runs.filter(status="failed")
    url = reverse("admin:nateq_webhooks_delivery_try_now", args=[pending.pk])
    dispatch.pause(receiver=run.receiver if what == "receiver" else None)  # after the page was shown

    page = boss.post(url, {"receiver": run.receiver}, follow=True).content.decode()

    assert "1 is held back by a pause or a limit, and starts when that ends." in page
    replay = Replay.objects.get()
    progress = shown(boss, reverse("admin:nateq_webhooks_replay_change", args=[replay.pk]))
    [runs_url] = re.findall(r'href="([^"]*held=yes[^"]*)"', progress)
    assert "1 left (1 held)" in progress
    assert f"#{run.round}" in shown(boss, unescape(runs_url)) or run.receiver in shown(boss, unescape(runs_url))
