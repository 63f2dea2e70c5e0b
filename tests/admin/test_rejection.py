"""Refused requests in the admin: listed, filtered, explained in words, deleted, and never changed."""

import html
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.html import escape

from nateq_webhooks.admin import diagnosis_text
from nateq_webhooks.admin.dashboard import refusals as module
from nateq_webhooks.inbox import Refusal
from nateq_webhooks.inbox.diagnosis import Cause, Finding, Hint, hint
from nateq_webhooks.inbox.recorder import MAX_BUFFERED, recorder
from nateq_webhooks.models import Rejection, Webhook
from nateq_webhooks.models.rejection import MAX_REJECTIONS_KEPT, REASON_LABELS, reason_text
from nateq_webhooks.protocol.alterations import Alteration
from nateq_webhooks.protocol.secret_forms import Form
from nateq_webhooks.protocol.signatures import Reason, sign
from tests.admin.pages import shown as page
from tests.builders import ago, store_rejection
from tests.conftest import SECRET, Sender, envelope

pytestmark = pytest.mark.django_db

LIST = "/admin/nateq_webhooks/rejection/"

Make = Callable[..., Rejection]


@pytest.fixture
def make(webhook: Webhook) -> Make:
    defaults: dict[str, Any] = {"webhook": webhook, "size": 2048, "remote_addr": "192.0.2.7"}
    return lambda reason="no_match", **fields: store_rejection(reason=reason, **(defaults | fields))


def url_of(rejection: Rejection, what: str = "change") -> str:
    return reverse(f"admin:nateq_webhooks_rejection_{what}", args=[rejection.pk])


def test_the_list_shows_time_address_size_and_reason(boss: Client, make: Make) -> None:
    rejection = make()

    shown = page(boss, LIST)

    for text in (
        rejection.received_at.isoformat(),
        "shop",
        "Signed with a secret we don&#x27;t know",
        "192.0.2.7",
        "2.0\xa0KB",
    ):
        assert text in shown


def test_the_list_is_filtered_by_webhook_and_by_reason(boss: Client, make: Make) -> None:
    other = Webhook.objects.create(name="support")
    mine = make("missing")
    theirs = make("too_large", webhook=other)

    def listed(query: str) -> list[int]:
        return [rejection.pk for rejection in boss.get(f"{LIST}?{query}").context["cl"].result_list]

    assert listed("") == [theirs.pk, mine.pk]
    assert listed(f"webhook__id__exact={other.pk}") == [theirs.pk]
    assert listed("reason=missing") == [mine.pk]
    choices = page(boss, LIST)
    for words in REASON_LABELS.values():
        assert escape(str(words)) in choices


def test_the_list_is_filtered_by_requests_to_no_webhook(boss: Client, make: Make) -> None:
    make("missing")
    stray = store_rejection(None, "unknown_url")

    choices = re.findall(r'<a href="(\?webhook__isnull[^"]*)"[^>]*>([^<]*)</a>', page(boss, LIST))

    [(query, label)] = choices
    assert label.strip() == "Unknown webhook"
    assert [rejection.pk for rejection in boss.get(f"{LIST}{query}").context["cl"].result_list] == [stray.pk]


def test_the_list_shows_how_many_more_requests_were_refused(boss: Client, make: Make) -> None:
    make(hint=hint(Finding(Cause.EMPTY_BODY), dropped=873))

    assert "body lost on the way, and 873 more" in page(boss, LIST)
    assert "873 more requests were refused about that time and are not listed." in page(
        boss, url_of(Rejection.objects.get())
    )


def test_a_refused_request_is_explained_on_its_page(boss: Client, sender: Sender) -> None:
    Webhook.objects.create(name="support", secret="whsec_support_0123456789abcdef")
    sender.post(envelope(), secret="whsec_support_0123456789abcdef", headers={"X-Odd": "value of it"})
    recorder.flush()

    shown = page(boss, url_of(Rejection.objects.get()))

    assert 'It is signed with the secret of the webhook “<bdi class="nateq-text">support</bdi>”.' in shown
    assert "give each webhook there the URL shown on its page here" in shown
    assert "X-Nateq-Signature" in shown
    assert "X-Odd" in shown
    assert "value of it" not in shown


def test_an_altered_body_is_explained(boss: Client, sender: Sender) -> None:
    body = json.dumps(envelope()).encode()
    altered = json.dumps(envelope(), separators=(",", ":")).encode()
    sender.post(altered, signature="", headers={"X-Signature": sign(body, SECRET)})
    recorder.flush()

    shown = page(boss, url_of(Rejection.objects.get()))

    assert "it rewrote its JSON." in shown
    assert 'The signature comes in the header <bdi class="nateq-text">X-Signature</bdi>.' in shown


def test_the_page_and_the_question_before_deleting_name_the_rejection(boss: Client, make: Make) -> None:
    rejection = make(received_at=datetime(2026, 6, 1, 22, 30, tzinfo=UTC))

    for zone, at in (("UTC", "2026-06-01 22:30:00"), ("Asia/Riyadh", "2026-06-02 01:30:00")):
        with timezone.override(zone):
            shown = page(boss, url_of(rejection))
            assert f"<h2>Signed with a secret we don&#x27;t know, {at}</h2>" in shown
            assert f"<bdi>Signed with a secret we don&#x27;t know, {at}</bdi>" in shown  # the breadcrumb
            assert "no_match" not in shown
            assert f"don&#x27;t know, {at}" in page(boss, url_of(rejection, "delete"))


def test_a_request_that_was_not_examined_leads_to_the_newest_one_that_explains(boss: Client, make: Make) -> None:
    make("missing", hint=hint(Finding(Cause.MISSING_HEADER)))
    explaining = make("missing", hint=hint(Finding(Cause.RENAMED_HEADER, {"header": "X-Sig"})))
    make("no_match", hint=hint(Finding(Cause.ALTERED_BODY, {"how": ["compressed"]})))
    newest = make("missing")

    shown = page(boss, url_of(newest))

    assert "signature in another header" in shown
    assert url_of(explaining) in shown
    assert "body changed on the way" not in shown
    assert "Another request" not in page(boss, url_of(explaining))


def test_the_page_says_that_a_request_was_not_diagnosed(boss: Client, make: Make) -> None:
    assert "This request was not examined" in page(boss, url_of(make()))


@pytest.mark.parametrize("code", [*Reason, *Refusal])
def test_every_reason_has_a_text(code: str) -> None:
    assert reason_text(code) != code


@pytest.mark.parametrize("code", Cause)
def test_every_cause_has_a_complete_hint(code: Cause) -> None:
    details: dict[str, Any] = {
        "webhook": "support",
        "secret": "sec_1",
        "limit": 1024,
        "form": Form.DECODED.value,
        "id": "e1",
        "address": "192.0.2.7",
    }
    told = diagnosis_text.sentences("no_match", Hint.read(hint(Finding(code, details | {"how": ["compressed"]}))))

    assert told
    assert told != diagnosis_text.sentences("no_match", Hint())
    assert not any("?" in sentence or "{" in sentence for sentence in told)


@pytest.mark.parametrize("form", Form)
def test_every_form_of_a_secret_has_a_hint(form: Form) -> None:
    assert diagnosis_text.sentences("no_match", Hint.read(hint(Finding(Cause.SECRET_FORM, {"form": form.value}))))


def test_every_alteration_has_a_text() -> None:
    assert set(diagnosis_text.ALTERATIONS) == set(Alteration)


@pytest.mark.parametrize(
    "code", ["too_large", "no_length", "not_post", "other_organization", "stale", "future", "no_timestamp"]
)
def test_some_reasons_are_explained_without_a_body(code: str) -> None:
    from nateq_webhooks.inbox.diagnosis import plain_finding

    told = diagnosis_text.sentences(code, Hint.read(hint(plain_finding(Refusal(code)))))

    assert len(told) == 1
    assert "not examined" not in told[0]


@pytest.mark.parametrize(
    "text", ["no JSON", "[]", '{"code": ["x"], "details": 7, "dropped": "x"}', '{"code": "later"}', "[" * 100_000]
)
def test_a_hint_of_another_version_is_no_error(boss: Client, make: Make, text: str) -> None:
    rejection = make("a_later_reason", hint=text, header_names={"not": "a list"}, size=None, remote_addr=None)

    assert "a_later_reason" in page(boss, LIST)
    assert "a_later_reason" in page(boss, url_of(rejection))


def test_names_from_outside_are_shown_as_text(boss: Client, make: Make) -> None:
    evil = "</script><b>\u202e"
    finding = Finding(Cause.OTHER_WEBHOOK, {"webhook": evil, "header": evil})
    rejection = make(hint=hint(finding), header_names=[evil], remote_addr=evil)

    for shown in (page(boss, LIST), page(boss, url_of(rejection))):
        assert "<b>" not in shown
        assert "\u202e" not in shown


def test_nobody_can_add_or_change_a_rejection(boss: Client, make: Make) -> None:
    rejection = make()

    assert boss.get(f"{LIST}add/").status_code == 403
    assert boss.post(url_of(rejection), {"reason": "none"}).status_code == 403
    rejection.refresh_from_db()
    assert rejection.reason == "no_match"
    assert 'name="_save"' not in page(boss, url_of(rejection))


def test_a_user_with_the_permission_deletes_one_or_selected_rejections(
    staff: Callable[..., Client], make: Make
) -> None:
    client = staff("view_rejection", "delete_rejection")
    one, two, three = make(), make(), make()

    assert client.post(url_of(one, "delete"), {"post": "yes"}).status_code == 302
    chosen = {"action": "delete_selected", "_selected_action": [two.pk], "post": "yes"}
    assert client.post(LIST, chosen).status_code == 302

    assert list(Rejection.objects.all()) == [three]


def test_a_user_without_the_permission_deletes_none(staff: Callable[..., Client], make: Make) -> None:
    client = staff("view_rejection")
    rejection = make()

    assert "Signed with a secret we don&#x27;t know" in page(client, LIST)
    assert client.post(url_of(rejection, "delete"), {"post": "yes"}).status_code == 403
    client.post(LIST, {"action": "delete_selected", "_selected_action": [rejection.pk], "post": "yes"})
    assert Rejection.objects.exists()


@pytest.mark.urls("tests.admin.single_model_sites")
def test_it_is_registered_on_any_admin_site(boss: Client, make: Make) -> None:
    rejection = make()

    shown = page(boss, f"/refused/nateq_webhooks/rejection/{rejection.pk}/change/")

    assert '<bdi class="nateq-text">shop</bdi>' in shown
    assert "/nateq_webhooks/webhook/" not in shown
    assert page(boss, "/refused/nateq_webhooks/rejection/")


def test_where_a_request_is_deleted_it_is_named_in_words(boss: Client, make: Make) -> None:
    rejection = make("no_match")
    name = "Signed with a secret we don&#x27;t know, "

    asks = page(boss, url_of(rejection, "delete"))
    for shown in (asks, page(boss, url_of(rejection, "history"))):
        assert name in shown
        assert "no_match" not in shown
    form = {"action": "delete_selected", ACTION_CHECKBOX_NAME: [rejection.pk]}
    for answer in (boss.post(LIST, form), boss.post(url_of(rejection, "delete"), {"post": "yes"}, follow=True)):
        assert name in answer.content.decode()
        assert "no_match, " not in answer.content.decode()
    assert LogEntry.objects.get().object_repr.startswith("Signed with a secret we don't know, ")
    assert str(make("of_a_newer_version")).startswith("of_a_newer_version, ")


def test_hints_are_translated_when_they_are_shown() -> None:
    with translation.override("ar"):
        assert diagnosis_text.sentences("no_match", Hint.read(hint(Finding(Cause.NO_LENGTH))))
    assert not any(isinstance(words, str) for words in (*diagnosis_text.CAUSES.values(), *REASON_LABELS.values()))


def test_the_dashboard_counts_also_what_was_not_recorded(boss: Client, sender: Sender, webhook: Webhook) -> None:
    for _ in range(MAX_BUFFERED + 30):
        sender.post(envelope(), secret="whsec_of_somebody_else_0123")
    recorder.flush()

    assert Rejection.objects.count() == MAX_BUFFERED
    assert f"shop: {MAX_BUFFERED + 30} refused: Signed with a secret" in page(boss, "/admin/nateq_webhooks/")

    Rejection.objects.all().delete()
    now = timezone.now()
    rows = [Rejection(webhook=webhook, reason="not_hex", received_at=now) for _ in range(MAX_REJECTIONS_KEPT + 5)]
    Rejection.objects.record(rows)
    assert f"shop: {MAX_REJECTIONS_KEPT} or more refused: " in page(boss, "/admin/nateq_webhooks/")


@pytest.mark.parametrize("has_webhook", [True, False], ids=["of a webhook", "of an unknown URL"])
def test_the_dashboards_link_lists_the_requests_that_it_counts(
    boss: Client, webhook: Webhook, make: Make, *, has_webhook: bool
) -> None:
    of = {"webhook": webhook} if has_webhook else {"webhook": None, "reason": Refusal.UNKNOWN_URL}
    counted = [make(received_at=ago(hours=hours), **of) for hours in (1, 23)]
    make(received_at=ago(hours=25), **of)

    found = re.search(rf'href="({LIST}\?[^"]*)"', page(boss, "/admin/nateq_webhooks/"))
    assert found
    listed = page(boss, html.unescape(found[1]))

    assert set(re.findall(rf"{LIST}(\d+)/change/", listed)) == {str(rejection.pk) for rejection in counted}


def test_the_dashboard_lists_get_requests_last(webhook: Webhook) -> None:
    now = timezone.now()
    made = [("not_post", 5 + number) for number in range(module.MAX_REFUSALS + 5)] + [("no_match", 1)]
    for number, (reason, count) in enumerate(made):
        other = Webhook.objects.create(name=f"number {number}")
        Rejection.objects.bulk_create([Rejection(webhook=other, reason=reason, received_at=now)] * count)

    told = module.refusals(now)

    assert len(told) == module.MAX_REFUSALS
    assert [told[0].reason, told[1].reason] == ["no_match", "not_post"]
