"""A delivery's page: whether it was received and genuine, what ran, what failed, and related deliveries."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.test.utils import override_settings
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from nateq_webhooks import signals
from nateq_webhooks.admin.deliveries.notes import sentence
from nateq_webhooks.admin.deliveries.related import superseding
from nateq_webhooks.models import Attempt, Delivery, Reissue, Replay, Run, RunTry, Secret, Webhook
from nateq_webhooks.protocol.signatures import sign
from tests.admin.pages import body_url, detail_url, fail, shown
from tests.builders import store_run
from tests.conftest import SECRET, Connect, Sender, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

LIST = "/admin/nateq_webhooks/delivery/"

STATEMENTS = 23
"""Of a page with everything on it: two for the user, one for the delivery, six for its neighbours, and others."""


def text_of(page: str, start: str, end: str) -> str:
    """The words between two marks of a page, without tags."""
    part = page.partition(start)[2].partition(end)[0]
    assert part, f"{start!r} is not there"
    return " ".join(re.sub(r"<[^>]*>", " ", part).split())


def answers(page: str) -> str:
    return text_of(page, '<dl class="nateq-answers">', "</dl>")


def timeline(page: str) -> str:
    return text_of(page, '<ol class="nateq-timeline">', "</ol>")


@pytest.mark.usefixtures("receivers")
def test_the_four_questions_are_answered_at_the_top(boss: Client, sender: Sender) -> None:
    sender.post(envelope())
    sender.post(envelope(attempt=2))

    text = answers(shown(boss, detail_url(Delivery.objects.get())))

    assert re.search(r"Was it received\? ✓ Yes: [-\d]+ [:\d]+ · 2 attempts", text)
    assert "Was it genuine? ✓ Yes: the stored bytes verify again." in text
    assert "What ran? ↻ Retrying: 1 · Succeeded: 1" in text
    assert "What failed? ↻ shop.fail (Retrying)" in text


def test_the_answers_of_a_delivery_that_went_well(boss: Client, sender: Sender, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "shop.succeed")
    sender.post(envelope())

    text = answers(shown(boss, detail_url(Delivery.objects.get())))

    assert "What ran? ✓ Succeeded: 1 What failed? ✓ Nothing." in text


def test_a_receiver_that_succeeded_in_a_replay_no_longer_counts_as_failed(
    boss: Client, sender: Sender, connect: Connect
) -> None:
    connect(signals.ticket_created, fail, "shop.fail")
    sender.post(envelope())
    delivery = Delivery.objects.get()
    replay = Replay.objects.create(by="sara", reason="mended")
    Run.objects.create(delivery=delivery, receiver="shop.fail", round=replay.pk, status=Run.Status.SUCCEEDED, tries=1)

    assert "What ran? ✓ Succeeded: 1 What failed? ✓ Nothing." in answers(shown(boss, detail_url(delivery)))


def test_the_timeline_lists_everything_in_the_order_it_happened(
    boss: Client, sender: Sender, connect: Connect, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    connect(signals.ticket_created, fail, "shop.fail")
    data = {"id": "tkt_1", "conversation_id": "cnv_1"}
    sender.post(envelope(data=data))
    sender.post(envelope(data=data, attempt=2))
    delivery, now = Delivery.objects.get(), timezone.now()
    replay = Replay.objects.create(by="sara", reason="the bug is mended")
    for moment, receiver in ((1, "shop.fail"), (2, "shop.other")):
        Run.objects.create(
            delivery=delivery,
            receiver=receiver,
            round=replay.pk,
            status=Run.Status.SUCCEEDED,
            tries=3,
            duration=timedelta(milliseconds=12),
            created_at=now,
            started_at=now + timedelta(seconds=moment),
        )
    shown(boss, detail_url(delivery))

    with django_assert_num_queries(STATEMENTS):
        page = shown(boss, detail_url(delivery))

    listed = timeline(page)
    expected = [
        "Happened (Nateq&#x27;s time) 2026-06-30 07:00:00",
        "Received, verified and stored",
        "attempt 1 · from 127.0.0.1 · signed with " + delivery.secret_id,
        "shop.fail : Retrying",
        "1 try",
        "next try",
        "LookupError: no such &lt;customer&gt;",
        "Traceback (most recent call last)",
        "Sent again; already stored",
        "attempt 2",
        "sara replayed it",
        "reason: the bug is mended",
        "shop.fail : Succeeded",
        f"3 tries · 12 ms · replay {replay.pk}",
        "shop.other : Succeeded",
    ]
    places = [listed.find(text) for text in expected]
    assert -1 not in places, dict(zip(expected, places, strict=True))
    assert places == sorted(places)
    assert "<details>" in page
    assert all(reverse("admin:nateq_webhooks_run_change", args=[run.pk]) in page for run in Run.objects.all())
    assert reverse("admin:nateq_webhooks_webhook_change", args=[sender.webhook.pk]) in page
    assert SECRET not in page


def test_attempts_without_a_row_are_shown_as_a_number(boss: Client, delivery: Delivery) -> None:
    Delivery.objects.update(attempts_seen=61)
    Attempt.objects.bulk_create(Attempt(delivery=delivery, number=n) for n in range(2, 52))

    assert "Received 10 more times" in timeline(shown(boss, detail_url(delivery)))


def test_runs_of_a_replay_without_a_row_are_shown(boss: Client, delivery: Delivery) -> None:
    Run.objects.create(delivery=delivery, receiver="shop.gone", round=7, held_by=-1)

    text = timeline(shown(boss, detail_url(delivery)))

    assert "Somebody replayed it" in text
    assert "replay 7 · Waits for an earlier delivery of the same key" in text


def test_the_page_says_why_nothing_ran(boss: Client, delivery: Delivery) -> None:
    assert "No receiver was connected to this event." in answers(shown(boss, detail_url(delivery)))

    Delivery.objects.update(dispatch_at=delivery.received_at)
    assert "Its receivers have not been started yet." in answers(shown(boss, detail_url(delivery)))

    Delivery.objects.update(status=Delivery.Status.IGNORED)
    assert "The webhook does not list this event" in answers(shown(boss, detail_url(delivery)))


def test_a_delivery_with_very_many_runs_shows_the_newest_and_links_to_all(
    boss: Client, sender: Sender, monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    monkeypatch.setattr("nateq_webhooks.admin.deliveries.timeline.MAX_RUNS_SHOWN", 1)
    connect(signals.ticket_created, lambda **kwargs: None, "shop.first")
    connect(signals.ticket_created, lambda **kwargs: None, "shop.second")
    sender.post(envelope())
    delivery = Delivery.objects.get()

    page = shown(boss, detail_url(delivery))

    assert "shop.second" not in timeline(page)
    assert f"/admin/nateq_webhooks/run/?delivery__id__exact={delivery.pk}" in page


def test_the_number_of_tracebacks_is_bounded(boss: Client, delivery: Delivery) -> None:
    Run.objects.bulk_create(
        Run(
            delivery=delivery, receiver=f"shop.r{n:03}", status=Run.Status.DEAD, error="Oops", traceback="line\n" * 4000
        )
        for n in range(100)
    )

    page = shown(boss, detail_url(delivery))

    assert page.count("<summary>Traceback</summary>") == 10
    assert len(page) < 400_000
    assert "and 95 more" in answers(page)


def test_the_signature_verifies_again_with_the_current_an_older_and_an_expired_secret(
    boss: Client, sender: Sender, webhook: Webhook
) -> None:
    def genuine() -> str:
        return (
            answers(shown(boss, detail_url(Delivery.objects.get()))).partition("genuine? ")[2].partition(" What ran")[0]
        )

    sender.post(envelope())
    assert genuine() == "✓ Yes: the stored bytes verify again."

    webhook.secret = "whsec_next_0123456789abcdef"
    webhook.save()
    older = Secret.objects.create(webhook=webhook, secret=SECRET)
    assert genuine() == "✓ Yes: the stored bytes verify again."

    older.expires_at = timezone.now() - timedelta(days=1)
    older.save()
    assert genuine() == "✓ Yes: the stored bytes verify again, with a secret that has expired since."

    older.delete()
    assert "it can&#x27;t be checked any more, as its secret was retired" in genuine()


def test_a_body_that_was_changed_afterwards_does_not_verify_again(boss: Client, sender: Sender) -> None:
    sender.post(envelope())
    Delivery.objects.update(body=b"{}")

    assert "Was it genuine? ✕ No: what is stored is not what was signed." in answers(
        shown(boss, detail_url(Delivery.objects.get()))
    )


def test_the_signature_is_found_in_the_webhooks_own_header_and_after_that_was_renamed(
    boss: Client, webhook: Webhook
) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(signature_header="X-Shop-Signature")
    raw = b'{"event": "ticket.created"}'
    Client().post(
        webhook.get_absolute_url(),
        raw,
        content_type="application/json",
        headers={"X-Shop-Signature": sign(raw, SECRET)},
    )
    delivery = Delivery.objects.get()
    assert "genuine? ✓ Yes" in answers(shown(boss, detail_url(delivery)))

    Webhook.objects.filter(pk=webhook.pk).update(signature_header="X-Renamed")
    assert "genuine? ✓ Yes" in answers(shown(boss, detail_url(delivery)))

    Delivery.objects.update(headers={"Host": "shop.example"})
    assert "as the signature header that is configured now was not stored" in answers(shown(boss, detail_url(delivery)))


def test_the_signature_verifies_after_the_site_has_changed_the_encoding_of_its_secrets(
    boss: Client, sender: Sender, webhook: Webhook
) -> None:
    webhook.secret = "whsec_" + "ab" * 32
    webhook.save()
    sender.post(envelope(), secret=webhook.secret)

    with override_settings(NATEQ_WEBHOOKS={"SECRET_ENCODING": "base64"}):
        assert "genuine? ✓ Yes" in answers(shown(boss, detail_url(Delivery.objects.get())))


def test_headers_that_may_hold_a_secret_are_masked_by_name_and_by_value(boss: Client, sender: Sender) -> None:
    secret = {"X-Forwarded-Auth": "s3cr3t", "User-Agent": "whsec_leaked_0123456789abcdef"}
    sender.post(envelope(), headers=secret | {"X-Request-Id": "hello"})
    delivery = Delivery.objects.get()
    delivery.headers["X-Old-Name"] = "stored before names were masked"
    delivery.save()

    page = shown(boss, detail_url(delivery))

    for value in (*secret.values(), "stored before names"):
        assert value not in page
    masked = {"X-Old-Name": "masked", "X-Forwarded-Auth": "masked", "User-Agent": "masked", "X-Request-Id": "hello"}
    for name, value in masked.items():
        assert text_of(page, f"<bdi>{name}</bdi>", "</tr>").startswith(value)
    assert delivery.headers["X-Nateq-Signature"] in page


@pytest.mark.parametrize("body", [b"no json \xff", b"[1]", b"", b"{" * 2000, b'{"data": "\x00"}'])
def test_an_invalid_delivery_has_a_page_that_says_why(boss: Client, sender: Sender, body: bytes) -> None:
    assert sender.post(body).status_code == 400
    delivery = Delivery.objects.get()

    assert "Invalid" in shown(boss, LIST)
    page = shown(boss, detail_url(delivery))

    assert sentence(delivery.notes[0]) in page
    assert "It could not be read, so no receiver ran." in answers(page)
    assert "What failed? ! It could not be parsed; the notes say why." in answers(page)
    assert f"Delivery {delivery.pk}" in page


@override_settings(SECURE_CONTENT_TYPE_NOSNIFF=False)
def test_the_stored_bytes_are_downloaded_and_never_interpreted(boss: Client, sender: Sender) -> None:
    body = b"<html><script>alert(1)</script>\xff"
    sender.post(body)
    delivery = Delivery.objects.get()

    response = boss.get(body_url(delivery))

    assert response.content == body
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"] == f'attachment; filename="delivery-{delivery.pk}.txt"'
    assert boss.get(f"{LIST}0/body/").status_code == 404


def related(client: Client, delivery: Delivery) -> list[str]:
    page = shown(client, detail_url(delivery))
    rows = page.partition('id="nateq-related"')[2].partition("</table>")[0].split("<tr>")[2:]
    return [" ".join(re.sub(r"<[^>]*>", " ", row).split()) for row in rows]


def test_related_deliveries_of_the_same_resource_show_the_superseding_one(boss: Client, sender: Sender) -> None:
    for hour, event in enumerate(("ticket.created", "ticket.updated", "ticket.closed")):
        sender.post(envelope(event, delivery_id=event, timestamp=f"2026-06-30T1{hour}:00:00Z"))
    sender.post(envelope("user.created", delivery_id="another kind", timestamp="2026-06-30T19:00:00Z"))
    sender.post(envelope("ticket.updated", delivery_id="another organization", organization_id="org_2"))

    updated = Delivery.objects.get(event="ticket.updated", organization_id="org_1")
    found = related(boss, updated)

    assert superseding(updated) in updated.superseding()
    assert text_of(shown(boss, detail_url(updated)), "<dt>Superseded by</dt>", "</dd>") == "ticket.closed ticket.closed"
    assert found == [
        "Superseded by this newer event ticket.closed ticket.closed ⊘ No receiver 2026-06-30 07:00:00",
        "Same resource ticket.created ticket.created ⊘ No receiver 2026-06-30 05:00:00",
    ]


@pytest.mark.parametrize("data", [{"conversation_id": "cnv_1"}, {"conversation": {"id": "cnv_1"}}])
def test_related_deliveries_are_of_the_same_conversation(boss: Client, sender: Sender, data: dict[str, Any]) -> None:
    sender.post(envelope("conversation.started", delivery_id="started", data={"id": "cnv_1"}))
    sender.post(envelope("conversation.started", delivery_id="foreign", data={"id": "cnv_1"}, organization_id="org_2"))
    sender.post(envelope("message.received", delivery_id="message", data={"id": "msg_1", **data}))
    message = Delivery.objects.get(event="message.received")

    assert [line.split(" 2026")[0] for line in related(boss, message)] == [
        "Same conversation conversation.started started ⊘ No receiver"
    ]
    assert f"{LIST}?q=data.conversation_id%3Dcnv_1" in shown(boss, detail_url(message))


def test_related_deliveries_have_the_same_content_under_another_id(boss: Client, sender: Sender) -> None:
    first, second = (
        sender.post(envelope(delivery_id=name, data={"id": 1})) and Delivery.objects.get(delivery_id=name)
        for name in ("dlv_1", "dlv_2")
    )
    Reissue.objects.create(delivery=second, original=first)

    assert related(boss, first)[0].startswith("Same content, received again with this id ticket.created dlv_2")
    assert related(boss, second)[0].startswith("Same content, first received with this id ticket.created dlv_1")


def test_a_delivery_without_a_time_has_related_ones_of_the_same_resource(boss: Client, sender: Sender) -> None:
    sender.post(envelope(delivery_id="timeless", timestamp=None))
    sender.post(envelope(delivery_id="timely"))

    found = related(boss, Delivery.objects.get(delivery_id="timeless"))

    assert [line.split(" ⊘")[0] for line in found] == ["Same resource ticket.created timely"]


@pytest.mark.parametrize("name", ["0", "x", "9" * 30, "1/2"])
def test_a_delivery_that_is_not_there_leads_back_to_the_index(boss: Client, name: str) -> None:
    assert boss.get(f"{LIST}{name}/change/").status_code in (302, 404)


@pytest.mark.urls("tests.admin.single_model_sites")
def test_all_of_its_pages_stay_on_their_admin_site(
    boss: Client, sender: Sender, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nateq_webhooks.admin.deliveries.timeline.MAX_RUNS_SHOWN", 1)
    connect(signals.ticket_created, lambda **kwargs: None, "shop.first")
    connect(signals.ticket_created, lambda **kwargs: None, "shop.second")
    sender.post(envelope(data={"id": "tkt_1", "conversation_id": "cnv_1"}))
    base = f"/deliveries/nateq_webhooks/delivery/{Delivery.objects.get().pk}"

    for url in (f"{base}/change/", f"{base}/payload/", f"{base}/payload/?find=tkt", f"{base}/replay/"):
        page = shown(boss, url)
        links = re.findall(r' (?:href|action|data-nateq-copy-url)="([^"]*)"', page)
        assert f"{base}/payload/" in links or url.endswith("/replay/")
        assert [link for link in links if link and not re.match(r"/deliveries/|/static/|/$|\?|#", link)] == []
    assert boss.post(f"{base}/replay/", {"which": "all"})["Location"] == f"{base}/change/"


def test_the_page_uses_the_template_that_a_site_can_override(boss: Client, sender: Sender) -> None:
    sender.post(envelope())

    response = boss.get(detail_url(Delivery.objects.get()))

    assert response.templates[0].name == "admin/nateq_webhooks/delivery/change_form.html"


def test_an_attempt_of_the_same_moment_is_listed_after_the_delivery(boss: Client, delivery: Delivery) -> None:
    Attempt.objects.create(
        delivery=delivery, number=1, received_at=delivery.received_at - timedelta(milliseconds=3), remote_addr=None
    )

    page = shown(boss, detail_url(delivery))

    assert page.index("Received, verified and stored") < page.index("Sent again; already stored")


def test_a_delivery_of_another_webhook_is_marked_and_supersedes_nothing(boss: Client, sender: Sender) -> None:
    other = Sender(Webhook.objects.create(name="<b>of another party", secret=SECRET))
    sender.post(envelope(delivery_id="a"))
    other.post(envelope("ticket.updated", delivery_id="b", timestamp="2026-06-30T13:00:00Z"))

    page = shown(boss, detail_url(Delivery.objects.get(delivery_id="a")))

    assert "Same resource (webhook &lt;b&gt;of another party" in page
    assert "Superseded" not in page


class TestEarlierTries:
    @pytest.fixture
    def run(self, delivery: Delivery) -> Run:
        """A run that failed twice, and succeeded with its third try."""
        start = delivery.received_at
        run = store_run(delivery, "shop.send", tries=3, started_at=start + timedelta(seconds=30))
        for number in (1, 2):
            RunTry.objects.create(
                run=run,
                number=number,
                started_at=start + timedelta(seconds=number),
                finished_at=start + timedelta(seconds=number, milliseconds=12),
                duration=timedelta(milliseconds=12),
                error=f"ValueError: no {number}",
            )
        return run

    def test_the_timeline_has_each_failed_try_with_its_duration_and_error(self, boss: Client, run: Run) -> None:
        listed = timeline(shown(boss, detail_url(run.delivery)))

        assert re.search(r"shop.send : try 1 failed [-\d]+ [:\d]+ · 12 ms ValueError: no 1", listed)
        assert listed.index("no 1") < listed.index("no 2") < listed.index("shop.send : Succeeded")

    def test_the_try_that_a_run_shows_itself_is_not_listed_twice(self, boss: Client, run: Run) -> None:
        last = run.failed_tries.get(number=2)
        Run.objects.update(status=Run.Status.FAILED, tries=2, finished_at=last.finished_at, error=last.error)

        listed = timeline(shown(boss, detail_url(run.delivery)))

        assert listed.count("no 2") == 1
        assert "try 2 failed" not in listed

    def test_errors_are_hidden_without_the_permission(self, staff: Callable[..., Client], run: Run) -> None:
        reader = staff("view_delivery", "view_run")
        for url in (detail_url(run.delivery), reverse("admin:nateq_webhooks_run_change", args=[run.pk])):
            page = shown(reader, url)

            assert "ValueError" not in page
            assert "try 1" in page

    def test_the_page_of_the_run_lists_them(self, boss: Client, run: Run) -> None:
        page = text_of(
            shown(boss, reverse("admin:nateq_webhooks_run_change", args=[run.pk])), '<ol class="nateq-tries">', "</ol>"
        )

        assert page.index("ValueError: no 2") < page.index("ValueError: no 1")
        assert "try 2 · " in page
        assert " · 12 ms" in page
