"""The board's receivers and its page, tested as in any project: `python manage.py test example_project`."""
# ruff: noqa: S101 - plain asserts, as in the package's own tests

import re
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.test import TestCase
from django.urls import reverse

from nateq_webhooks.models import Delivery
from nateq_webhooks.testing import deliver, make_event

from .expectations import EVENT_THAT_FAILS, Receiver
from .models import Effect, Ticket


class BoardTests(TestCase):
    """Events are delivered as Nateq delivers them."""

    def deliver(self, event: str, *, hour: int = 12, **envelope: Any) -> Delivery:
        """Deliver an event that happened at an hour, with the example's data or other data."""
        timestamp = datetime(2026, 6, 30, hour, tzinfo=UTC).isoformat()
        return deliver(make_event(event) | {"timestamp": timestamp} | envelope)

    def test_a_ticket_moves_across_the_board(self) -> None:
        for hour, (event, status) in enumerate(
            [("ticket.created", "open"), ("ticket.updated", "pending"), ("ticket.closed", "closed")]
        ):
            self.deliver(event, hour=hour)
            assert Ticket.objects.get().status == status
        assert Ticket.objects.get().events_applied == 3

    def test_an_older_event_that_comes_late_does_not_overwrite_a_newer_one(self) -> None:
        self.deliver("ticket.closed", hour=14)
        self.deliver("ticket.created", hour=9)

        ticket = Ticket.objects.get()
        assert ticket.status == Ticket.Status.CLOSED
        assert ticket.happened_at.hour == 14
        assert ticket.events_applied == 2

    def test_a_ticket_without_an_id_is_a_failure_on_the_delivery_and_nothing_on_the_board(self) -> None:
        for hour, data in enumerate([{"subject": "no id"}, [], "text", {"id": ""}, {"id": ["tkt_1"]}]):
            with self.assertLogs("nateq_webhooks", "ERROR"):
                delivery = self.deliver("ticket.created", hour=hour, data=data)
            assert delivery.status in {Delivery.Status.FAILED, Delivery.Status.DEAD}
        assert not Ticket.objects.exists()

    def test_a_ticket_of_odd_and_endless_texts_is_shown_cut(self) -> None:
        data = {
            "id": 7,
            "subject": "x" * 10_000,
            "requester": None,
            "status": ["open"],
            "priority": {"level": 3},
            "channel": "y" * 300,
        }
        self.deliver("ticket.updated", data=data)

        ticket = Ticket.objects.get(external_id="7")
        assert ticket.subject == "x" * 200
        assert (ticket.customer, ticket.priority, ticket.channel) == ("", "", "y" * 40)
        assert ticket.status == Ticket.Status.PENDING

    def test_the_failing_crm_leaves_the_journal_its_work(self) -> None:
        with self.assertLogs("nateq_webhooks", "ERROR"):
            delivery = self.deliver(EVENT_THAT_FAILS)

        assert delivery.status in {Delivery.Status.FAILED, Delivery.Status.DEAD}
        assert [effect.receiver for effect in Effect.objects.all()] == [Receiver.JOURNAL]

    def test_the_page_escapes_what_customers_wrote_and_lets_each_text_choose_its_direction(self) -> None:
        subject = "<script>alert(1)</script>"
        requester = {"name": "سارة <b>الحربي</b>"}
        self.deliver("ticket.created", data={"id": "tkt_1", "subject": subject, "requester": requester})

        page = self.client.get(reverse("board")).content.decode()
        assert '<h3 dir="auto">&lt;script&gt;alert(1)&lt;/script&gt;</h3>' in page
        assert '<p class="customer" dir="auto">سارة &lt;b&gt;الحربي&lt;/b&gt;</p>' in page
        assert "<script" not in page

    def test_the_page_leads_to_the_failed_deliveries_in_the_admin(self) -> None:
        with self.assertLogs("nateq_webhooks", "ERROR"):
            self.deliver(EVENT_THAT_FAILS)
        self.deliver("user.created")
        self.client.force_login(get_user_model().objects.create_superuser("demo"))

        page = self.client.get(reverse("board")).content.decode()
        link = re.search(r'<a class="bad" href="([^"]+)">1 retrying</a>', page)
        assert link is not None
        changelist = self.client.get(link[1]).context["cl"]
        assert [delivery.event for delivery in changelist.result_list] == [EVENT_THAT_FAILS]

    def test_an_empty_board_has_its_three_columns(self) -> None:
        page = self.client.get(reverse("board")).content.decode()

        assert page.count("No tickets") == len(Ticket.Status) == 3

    def test_a_long_column_says_that_there_is_more(self) -> None:
        Ticket.objects.bulk_create(
            Ticket(external_id=f"tkt_{n}", subject=f"Ticket {n}", status="open", happened_at=datetime.now(UTC))
            for n in range(31)
        )

        page = self.client.get(reverse("board")).content.decode()
        assert page.count("<article") == 30
        assert '<span class="count">31</span>' in page
        assert "older ones in the admin" in page
