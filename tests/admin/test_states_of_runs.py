"""What the pages say of a run that runs, waits, is held back, or whose receiver is not connected any more."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from nateq_webhooks import dispatch, signals
from nateq_webhooks.admin.deliveries import replay_many
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Replay, Run, Webhook
from tests.admin.pages import detail_url, shown
from tests.builders import store_deliveries, store_run
from tests.conftest import Connect

pytestmark = pytest.mark.django_db

CRM, MAIL, GONE = "shop.crm", "shop.mail", "shop.gone"
RUNS = "/admin/nateq_webhooks/run/"
DELIVERIES = "/admin/nateq_webhooks/delivery/"
NO_WORKER = "No worker was seen"


@pytest.fixture(autouse=True)
def _receivers(connect: Connect) -> None:
    for name in (CRM, MAIL):
        connect(signals.ticket_created, lambda **kwargs: None, name)


def store(webhook: Webhook, status: str, **runs: str) -> Delivery:
    """Store a delivery with a run of each receiver in a status."""
    [delivery] = store_deliveries(webhook, status=status)
    for name, run_status in runs.items():
        is_due = run_status in ("waiting", "failed")
        columns = {"next_try_at": timezone.now()} if is_due else {}
        store_run(delivery, f"shop.{name}", status=run_status, **columns)
    return delivery


@pytest.fixture
def parked(webhook: Webhook) -> Delivery:
    """A delivery whose only run waits for a receiver that no process knows."""
    delivery = store(webhook, "received", gone="waiting")
    api.run_due()
    assert Run.objects.get().is_parked
    return delivery


def text(page: str) -> str:
    """Return a page's text, with a space between elements."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def act(client: Client, delivery: Delivery, page: str, **fields: str) -> str:
    """Press a button of a delivery's page, and return the page that follows."""
    url = reverse(f"admin:nateq_webhooks_delivery_{page}", args=[delivery.pk])
    return text(client.post(url, fields, follow=True).content.decode().replace("<wbr>", ""))


def ask(client: Client, delivery: Delivery, which: str) -> str:
    """Return the page that asks before a delivery runs again."""
    url = reverse("admin:nateq_webhooks_delivery_replay", args=[delivery.pk])
    return text(shown(client, f"{url}?which={which}"))


class TestUnknownReceiver:
    def test_a_delivery_that_waits_for_one_says_so(self, boss: Client, parked: Delivery) -> None:
        page = text(shown(boss, detail_url(parked)))

        assert "What ran? … Waits for an unknown receiver: 1" in page
        assert "What failed? … Nothing so far." in page

    def test_one_that_failed_before_is_not_retrying_any_more(self, boss: Client, webhook: Webhook) -> None:
        delivery = store(webhook, "failed", gone="failed", crm="succeeded")
        api.run_due()
        assert Run.objects.get(receiver=GONE).is_parked

        delivery.refresh_from_db()
        assert delivery.status == "received"
        page = text(shown(boss, detail_url(delivery)))
        assert "In progress" in page
        assert "Retrying" not in page
        assert "shop.gone : unknown receiver" in text(shown(boss, DELIVERIES))

    def test_try_now_says_what_it_left_alone(self, boss: Client, parked: Delivery) -> None:
        page = act(boss, parked, "try_now")

        assert "Try now: no run waits for a try any more (1 run left alone, as its receiver is not connected)." in page
        assert Replay.objects.get().disconnected == 1

    def test_the_page_of_its_run_shows_no_next_try(self, boss: Client, parked: Delivery) -> None:
        page = shown(boss, reverse("admin:nateq_webhooks_run_change", args=[Run.objects.get().pk]))

        assert "Waits for an unknown receiver" in page
        assert not re.search(r"\b(8999|9000)-", page)

    def test_one_that_failed_is_named_whichever_receivers_run_again(self, boss: Client, webhook: Webhook) -> None:
        delivery = store(webhook, "dead", crm="dead", gone="dead")

        for which in ("all", "failed"):
            assert f"These failed, but are not connected any more, and can't run: {GONE}" in ask(boss, delivery, which)

    def test_a_group_of_its_failures_is_not_offered_for_a_replay(self, boss: Client, webhook: Webhook) -> None:
        store(webhook, "dead", crm="dead", gone="dead")

        for url in ("/admin/nateq_webhooks/", f"{RUNS}receiver/?name={GONE}"):
            page = shown(boss, url)
            assert "not connected here" in page
            assert not re.search(rf"run/retry/[^\"]*receiver={GONE}", page)
        assert re.search(rf"run/retry/[^\"]*receiver={CRM}", shown(boss, "/admin/nateq_webhooks/"))

    def test_a_retry_of_nothing_has_no_button(self, boss: Client, webhook: Webhook) -> None:
        store(webhook, "dead", crm="dead", gone="dead")
        button = '<input type="submit" class="default" value="Retry">'

        assert button not in shown(boss, f"{RUNS}retry/?receiver={GONE}")
        assert button in shown(boss, f"{RUNS}retry/?receiver={CRM}")


class TestUnfinished:
    def test_each_receiver_that_is_left_out_has_its_status(self, boss: Client, webhook: Webhook) -> None:
        running = ask(boss, store(webhook, "received", crm="running"), "all")
        waiting = ask(boss, store(webhook, "failed", crm="failed"), "all")

        assert f"so they do not run again: {CRM} ▸ Running" in running
        assert "Try now" not in running
        assert f"so they do not run again: {CRM} ↻ Retrying" in waiting
        assert "Those that wait are started by Try now on the delivery's page" in waiting

    def test_try_now_says_that_a_run_has_started(self, boss: Client, webhook: Webhook) -> None:
        page = act(boss, store(webhook, "received", crm="running"), "try_now")

        assert "Try now: no run waits for a try any more (1 already running)." in page

    def test_the_symbol_is_that_of_the_worst_run(self, boss: Client, webhook: Webhook) -> None:
        for status, symbol in (("dead", "✕"), ("failed", "↻"), ("running", "▸"), ("waiting", "…"), ("dropped", "⊘")):
            page = text(shown(boss, detail_url(store(webhook, "received", crm="succeeded", mail=status))))
            assert f"What ran? {symbol} " in page, status

    def test_a_replay_without_runs_is_not_done_to_a_hundred_percent(self, boss: Client, webhook: Webhook) -> None:
        replay = dispatch.try_now([store(webhook, "processed", crm="succeeded")])

        assert "nothing to run" in shown(boss, "/admin/nateq_webhooks/replay/")
        page = shown(boss, reverse("admin:nateq_webhooks_replay_change", args=[replay.pk]))
        assert "There was nothing to run." in page


class TestHeld:
    def test_a_replay_says_what_is_held_and_a_worker_is_not_the_advice(self, boss: Client, webhook: Webhook) -> None:
        dispatch.pause(receiver=MAIL, reason="moving", by="lina")
        delivery = store(webhook, "processed", crm="succeeded", mail="succeeded")

        page = act(boss, delivery, "replay", which="all")

        assert "2 runs made. 1 is held back by a pause or a limit, and starts when that ends." in page
        assert NO_WORKER not in page
        replay = Replay.objects.get()
        page = shown(boss, reverse("admin:nateq_webhooks_replay_change", args=[replay.pk]))
        assert "1 left (1 held)" in page
        assert NO_WORKER not in page

    @pytest.mark.parametrize(("paused", "is_told"), [(CRM, True), (MAIL, False), (None, True)])
    def test_who_is_asked_before_a_retry_learns_of_the_pause(
        self, boss: Client, webhook: Webhook, paused: str | None, is_told: bool
    ) -> None:
        delivery = store(webhook, "dead", crm="dead")
        dispatch.pause(receiver=paused)

        pages = [ask(boss, delivery, "failed"), text(shown(boss, f"{RUNS}retry/?receiver={CRM}"))]

        assert [("Something is paused." in page) for page in pages] == [is_told, is_told]

    def test_who_is_asked_before_a_replay_of_many_learns_of_the_pause(self, boss: Client, webhook: Webhook) -> None:
        store(webhook, "dead", crm="dead")
        url = "/admin/nateq_webhooks/delivery/replay-many/?status=dead"

        assert "Something is paused." not in shown(boss, url)
        dispatch.pause(webhook=webhook)
        assert "Something is paused." in shown(boss, url)

    def test_the_list_of_runs_says_what_holds_each_back(self, boss: Client, webhook: Webhook) -> None:
        store(webhook, "received", crm="waiting", mail="waiting", gone="succeeded")
        dispatch.pause(receiver=MAIL)

        assert shown(boss, RUNS).count('title="The receiver is paused">receiver paused<') == 1

    def test_a_receiver_is_partly_paused_by_a_pause_of_a_webhook(self, boss: Client, webhook: Webhook) -> None:
        dispatch.pause(webhook=webhook)
        dispatch.pause(receiver=MAIL)

        page = text(shown(boss, f"{RUNS}receivers/"))

        assert f"{CRM} ticket.created - ‖ Partly paused The webhook shop is paused" in page
        assert "‖ Paused The receiver is paused" in page
        assert "‖ Partly paused" in text(shown(boss, f"{RUNS}receiver/?name={CRM}"))


def test_a_webhook_that_is_switched_off_says_so_on_its_page(boss: Client, webhook: Webhook) -> None:
    url = reverse("admin:nateq_webhooks_webhook_change", args=[webhook.pk])
    assert "⊘ Switched off" not in text(shown(boss, url))

    Webhook.objects.update(is_active=False)

    assert "⊘ Switched off Nateq gets 404, and nothing is stored." in text(shown(boss, url))


class TestWhoMayNotSeeReplays:
    """What the replay's page would say is in the message."""

    PERMISSIONS = "view_delivery", "view_run", "replay_delivery"

    @pytest.fixture(autouse=True)
    def _left_to_workers(self, settings: Settings) -> None:
        settings.NATEQ_WEBHOOKS = {"DISPATCH": "worker"}

    def retried(self, client: Client) -> str:
        form = {"receiver": MAIL, "reason": ""}
        return text(client.post(f"{RUNS}retry/", form, follow=True).content.decode())

    def replayed(self, client: Client, delivery: Delivery) -> str:
        form = {"deliveries": str(delivery.pk), "which": "all", "reason": "again"}
        return text(client.post(f"{DELIVERIES}replay-many/", form, follow=True).content.decode())

    def test_a_retry_says_what_is_held_and_that_a_worker_is_missing(
        self, staff: Callable[..., Client], webhook: Webhook
    ) -> None:
        store(webhook, "dead", mail="dead")
        assert NO_WORKER in self.retried(staff(*self.PERMISSIONS))

        store(webhook, "dead", mail="dead")
        Run.objects.filter(status="waiting").update(status="succeeded")
        dispatch.pause(receiver=MAIL)
        page = self.retried(staff(*self.PERMISSIONS))
        assert "1 is held back by a pause or a limit" in page
        assert NO_WORKER not in page

    def test_so_does_a_replay_of_many(self, staff: Callable[..., Client], webhook: Webhook) -> None:
        delivery = store(webhook, "processed", mail="succeeded")
        dispatch.pause(receiver=MAIL)

        page = self.replayed(staff(*self.PERMISSIONS), delivery)

        assert "2 runs made. 1 is held back by a pause or a limit" in page
        assert NO_WORKER in page  # for the other one

    def test_and_one_that_is_still_being_created(
        self, staff: Callable[..., Client], webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replay_many, "MAX_IN_REQUEST", 0)

        page = self.replayed(staff(*self.PERMISSIONS), store(webhook, "processed", mail="succeeded"))

        assert "Requested a replay of 1 delivery." in page
        assert "this does not continue by itself" in page


class TestTheListSaysWhyADeliveryIsInProgress:
    def row(self, client: Client) -> str:
        [row] = re.findall(r'(?s)<td class="field-shown_outcome[^>]*>(.*?)</td>', shown(client, DELIVERIES))
        return text(row)

    def test_it_waits_for_an_unknown_receiver(self, boss: Client, parked: Delivery) -> None:
        assert self.row(boss) == "shop.gone : unknown receiver"

    def test_a_pause_holds_it_back(self, boss: Client, webhook: Webhook) -> None:
        store(webhook, "received", crm="succeeded", mail="waiting")
        assert self.row(boss) == "-"

        dispatch.pause(receiver=MAIL)
        assert self.row(boss) == "shop.mail : receiver paused"
        dispatch.pause()
        assert self.row(boss) == "shop.mail : paused"
        store_run(Delivery.objects.get(), "shop.other", status="waiting")
        assert self.row(boss) == "shop.mail : paused (and 1 more)"

    def test_one_that_failed_is_not_tried_again_while_it_is_held(self, boss: Client, webhook: Webhook) -> None:
        delivery = store(webhook, "failed", mail="failed", crm="waiting")
        assert self.row(boss) == "shop.mail : ValueError: no ticket"

        dispatch.pause(receiver=CRM)
        assert self.row(boss) == "shop.mail : ValueError: no ticket"
        dispatch.pause(receiver=MAIL)
        assert self.row(boss) == "shop.mail (receiver paused): ValueError: no ticket"
        Run.objects.filter(delivery=delivery, receiver=MAIL).update(status="dead", next_try_at=None)
        assert self.row(boss) == "shop.mail : ValueError: no ticket"

    def test_it_has_no_runs_yet_as_everything_is_paused(self, boss: Client, webhook: Webhook) -> None:
        [delivery] = store_deliveries(webhook, status="received", dispatch_at=timezone.now())
        started = "What ran? ⊘ Its receivers have not been started yet."
        assert self.row(boss) == "-"
        assert f"{started} What failed?" in text(shown(boss, detail_url(delivery)))

        dispatch.pause(reason="moving", by="lina")
        assert self.row(boss) == "paused"
        page = text(shown(boss, detail_url(delivery)))
        assert re.search(rf"{re.escape(started)} Everything is paused since \S+ \S+ by lina : moving What failed", page)

    def test_the_statements_do_not_grow_with_the_rows(self, boss: Client, webhook: Webhook) -> None:
        dispatch.pause(receiver=MAIL)

        def count() -> int:
            with CaptureQueriesContext(connection) as found:
                shown(boss, DELIVERIES)
            return len(found)

        store(webhook, "received", mail="waiting")
        numbers = [count()]
        for _ in range(5):
            store(webhook, "received", mail="waiting")
        numbers.append(count())
        assert numbers[0] == numbers[1]
