"""Other contents under a delivery's id, on its page and in the list."""

from collections.abc import Callable

import pytest
from django.test import Client

from nateq_webhooks.admin import formatting
from nateq_webhooks.models import Delivery, OtherContent
from tests.admin.pages import detail_url, shown
from tests.admin.test_delivery_page import timeline
from tests.conftest import Sender, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

LIST = "/admin/nateq_webhooks/delivery/"
HEADING = "Different contents with this delivery id"


@pytest.fixture
def delivery(sender: Sender) -> Delivery:
    sender.post(envelope(data="one"))
    sender.post(envelope("ticket.<i>updated", data="</pre><b>two", attempt=2))
    return Delivery.objects.get()


def test_the_page_shows_the_note_the_time_and_the_bytes(boss: Client, delivery: Delivery) -> None:
    page = shown(boss, detail_url(delivery))

    assert "The sender used the delivery id again for different content." in page
    text = timeline(page)
    assert "Sent again with different content; it was kept, and no receiver ran" in text
    assert "attempt 2 · from 127.0.0.1" in text
    assert "further" not in text
    assert HEADING in page
    assert "&quot;&lt;/pre&gt;&lt;b&gt;two&quot;" in page
    assert "<b>two" not in page
    assert "<i>updated" not in page


def test_a_user_without_view_payload_sees_only_that_there_was_one(
    staff: Callable[..., Client], delivery: Delivery
) -> None:
    page = shown(staff("view_delivery"), detail_url(delivery))

    assert "Sent again with different content" in timeline(page)
    assert HEADING not in page
    assert "two" not in page


def test_the_page_says_that_bytes_are_not_kept(boss: Client, delivery: Delivery) -> None:
    OtherContent.objects.update(body=b"")

    assert "Its bytes are not kept" in shown(boss, detail_url(delivery))


def test_long_bytes_are_cut(boss: Client, sender: Sender) -> None:
    sender.post(envelope(data="one"))
    sender.post(envelope(data="é" * 100_000))

    page = shown(boss, detail_url(Delivery.objects.get()))

    assert "Only the beginning is shown" in page
    assert len(page) < 100_000


def test_the_list_marks_it(boss: Client, delivery: Delivery, sender: Sender) -> None:
    assert "2, with different contents" in shown(boss, LIST)
    OtherContent.objects.all().delete()
    assert "with different contents" not in shown(boss, LIST)


def test_a_delivery_without_others_has_no_such_section(boss: Client, sender: Sender) -> None:
    sender.post(envelope())
    sender.post(envelope(attempt=2))

    assert HEADING not in shown(boss, detail_url(Delivery.objects.get()))


@pytest.mark.parametrize(("size", "words"), [(1, "1 byte"), (2, "2 bytes"), (1_234_567, "1,234,567 bytes")])
def test_a_size_is_in_the_singular_or_the_plural_and_grouped(size: int, words: str) -> None:
    assert formatting.size(size) == words
