"""Webhooks in the admin: set up, secrets that go in and never come out, and no deleting of what has deliveries."""

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client, override_settings
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from nateq_webhooks import dispatch
from nateq_webhooks.models import AuditEntry, Delivery, Secret, Webhook
from nateq_webhooks.protocol.events import EVENTS
from tests.admin.pages import secret_row, webhook_form
from tests.admin.pages import shown as page
from tests.conftest import SECRET, Sender, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

LIST = "/admin/nateq_webhooks/webhook/"
ADD = f"{LIST}add/"


def change_url(webhook: Webhook) -> str:
    return reverse("admin:nateq_webhooks_webhook_change", args=[webhook.pk])


def delete_url(webhook: Webhook) -> str:
    return reverse("admin:nateq_webhooks_webhook_delete", args=[webhook.pk])


def add_form(**over: Any) -> dict[str, Any]:
    return {"name": "support", "is_active": "on", "new_secret": ""} | over


def everywhere(client: Client, webhook: Webhook) -> str:
    """Every page that could speak of a webhook."""
    urls = [LIST, ADD, change_url(webhook), f"{LIST}{webhook.pk}/history/", f"{LIST}?q=shop", "/admin/"]
    return "".join(page(client, url) for url in urls)


def history() -> str:
    return "".join(f"{entry.object_repr} {entry.change_message}" for entry in LogEntry.objects.all())


def test_the_list_shows_each_webhook_in_a_bounded_number_of_queries(
    boss: Client, webhook: Webhook, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        Webhook.objects.create(name=f"shop {number}", events=["ticket.created"])

    with django_assert_max_num_queries(6):
        shown = page(boss, LIST)

    assert "shop 19" in shown
    assert f"/admin/nateq_webhooks/delivery/?webhook__id__exact={webhook.pk}" in shown


def test_the_list_names_the_first_events_and_counts_the_rest(boss: Client) -> None:
    Webhook.objects.create(name="many", events=list(EVENTS))
    Webhook.objects.create(name="one", events=["ticket.created"])

    shown = page(boss, LIST)

    assert "conversation.started, conversation.ended, conversation.assigned and 9 more" in shown
    assert ">ticket.created<" in shown


def test_the_change_page_shows_the_full_url_to_paste_into_nateq(boss: Client, webhook: Webhook) -> None:
    shown = page(boss, change_url(webhook))

    assert f">https://shop.example/nateq/{webhook.pk}/<" in shown
    assert "View on site" not in shown


@override_settings(NATEQ_WEBHOOKS={})
def test_without_a_public_url_the_page_shows_the_path_and_names_the_setting(boss: Client, webhook: Webhook) -> None:
    shown = page(boss, change_url(webhook))

    assert f">/nateq/{webhook.pk}/<" in shown
    assert "NATEQ_WEBHOOKS[&quot;PUBLIC_URL&quot;]" in shown


@override_settings(ROOT_URLCONF="tests.admin.without_receiver_urls")
def test_the_page_says_how_to_include_missing_urls(boss: Client, webhook: Webhook) -> None:
    assert "include(&quot;nateq_webhooks.urls&quot;)" in page(boss, change_url(webhook))


def test_a_generated_secret_is_shown_once_and_never_again(boss: Client) -> None:
    response = boss.post(ADD, add_form(_continue="1"), follow=True)

    webhook = Webhook.objects.get()
    assert webhook.secret.startswith("whsec_")
    assert webhook.secret in response.content.decode()
    assert webhook.secret not in everywhere(boss, webhook)
    assert webhook.secret not in history()


def test_a_pasted_secret_is_kept_without_the_space_around_it_and_not_echoed(boss: Client) -> None:
    response = boss.post(ADD, add_form(new_secret=" whsec_pasted_0123456789abcdef\n", _continue="1"), follow=True)

    webhook = Webhook.objects.get()
    assert webhook.secret == "whsec_pasted_0123456789abcdef"
    assert "whsec_" not in response.content.decode()
    assert "whsec_" not in everywhere(boss, webhook)
    assert "whsec_" not in history()


def test_a_webhook_is_set_up_by_hand_with_the_secret_that_nateq_made(boss: Client) -> None:
    """Nateq shows its secret after it got the URL, so the webhook here comes first."""
    assert "Nateq makes the secret and shows it once" in page(boss, ADD)
    boss.post(ADD, add_form())
    webhook = Webhook.objects.get()
    assert webhook.get_absolute_url() in page(boss, change_url(webhook))

    boss.post(change_url(webhook), webhook_form(new_secret="whsec_made_by_nateq_0123456789abcdef"))

    assert Sender(webhook).post(envelope(), secret="whsec_made_by_nateq_0123456789abcdef").status_code == 200
    assert Delivery.objects.count() == 1


def test_a_refused_form_does_not_give_the_secret_back(boss: Client, webhook: Webhook) -> None:
    response = boss.post(ADD, add_form(name="shop", new_secret="whsec_pasted_0123456789abcdef"))

    assert "already exists" in response.content.decode()
    assert "whsec_" not in response.content.decode()


@override_settings(NATEQ_WEBHOOKS={"SECRET_ENCODING": "base64"})
def test_a_secret_that_could_verify_nothing_is_refused_at_its_field(boss: Client) -> None:
    response = boss.post(ADD, add_form(new_secret="whsec_?"))

    errors = response.context["adminform"].form.errors
    assert list(errors) == ["new_secret"]
    assert len(errors["new_secret"]) == 1
    assert not Webhook.objects.exists()


def test_an_error_about_the_stored_secret_is_shown_at_the_field_for_a_new_one(boss: Client) -> None:
    webhook = Webhook.objects.create(name="shop", secret="")

    refused = boss.post(change_url(webhook), webhook_form())
    taken = boss.post(change_url(webhook), webhook_form(new_secret="whsec_new_0123456789abcdef"))

    assert list(refused.context["adminform"].form.errors) == ["new_secret"]
    assert taken.status_code == 302
    assert not Secret.objects.exists()


@pytest.mark.parametrize("entered", ["", SECRET], ids=["no secret", "the same secret"])
def test_saving_without_another_secret_keeps_the_secret(boss: Client, webhook: Webhook, entered: str) -> None:
    boss.post(change_url(webhook), webhook_form(new_secret=entered, organization_id="org_1"))

    webhook.refresh_from_db()
    assert (webhook.secret, webhook.organization_id) == (SECRET, "org_1")
    assert not Secret.objects.exists()


def test_a_replaced_secret_stays_accepted_for_two_days(boss: Client, webhook: Webhook, sender: Sender) -> None:
    response = boss.post(
        change_url(webhook), webhook_form(new_secret="whsec_new_0123456789abcdef", _continue="1"), follow=True
    )

    former = Secret.objects.get()
    assert former.secret == SECRET
    assert (former.expires_at, former.is_retiring) == (None, True)
    assert f"The former one ({former}) is accepted until" in response.content.decode()
    shown = everywhere(boss, webhook) + history()
    assert "whsec_" not in shown
    assert str(former) in shown
    assert sender.post(envelope(delivery_id="late"), secret=SECRET).status_code == 200
    assert sender.post(envelope(delivery_id="new"), secret="whsec_new_0123456789abcdef").status_code == 200
    assert Delivery.objects.get(delivery_id="late").secret_id == str(former)


def test_another_secret_can_be_added_and_deleted_but_not_read(boss: Client, webhook: Webhook, sender: Sender) -> None:
    added = secret_row(webhook, new_secret="whsec_other_0123456789abcdef")
    boss.post(change_url(webhook), webhook_form(**added))

    other = Secret.objects.get()
    assert (other.secret, other.expires_at) == ("whsec_other_0123456789abcdef", None)
    assert sender.post(envelope(), secret="whsec_other_0123456789abcdef").status_code == 200
    assert str(other) in page(boss, change_url(webhook))
    assert "whsec_" not in everywhere(boss, webhook) + history()

    kept = {"older_secrets-INITIAL_FORMS": "1"} | secret_row(webhook, id=str(other.pk))
    boss.post(change_url(webhook), webhook_form(**kept))
    other.refresh_from_db()
    assert other.secret == "whsec_other_0123456789abcdef"

    boss.post(change_url(webhook), webhook_form(**kept, **{"older_secrets-0-DELETE": "on"}))
    assert not Secret.objects.exists()
    assert "whsec_" not in history()


def test_an_added_secret_that_is_empty_is_refused(boss: Client, webhook: Webhook) -> None:
    row = secret_row(webhook, expires_at_0="2030-01-01", expires_at_1="00:00:00")

    response = boss.post(change_url(webhook), webhook_form(**row))

    formset = response.context["inline_admin_formsets"][0].formset
    assert [list(errors) for errors in formset.errors] == [["new_secret"]]
    assert len(formset.errors[0]["new_secret"]) == 1


def test_a_user_who_may_only_view_sees_no_secret_and_no_field_for_one(
    staff: Callable[..., Client], webhook: Webhook
) -> None:
    Secret.objects.create(webhook=webhook, secret="whsec_older_0123456789abcdef")

    shown = page(staff("view_webhook", "view_secret"), change_url(webhook))

    assert f"/nateq/{webhook.pk}/" in shown
    assert "sec_" in shown
    assert "whsec_" not in shown
    assert "new_secret" not in shown.replace("field-new_secret", "").replace("column-new_secret", "")


@pytest.mark.parametrize(
    "query", ["secret__startswith=w", "older_secrets__secret__startswith=w", "secret=whsec_test_0123456789abcdef"]
)
def test_the_list_can_not_be_asked_for_a_secret_letter_by_letter(boss: Client, webhook: Webhook, query: str) -> None:
    assert boss.get(f"{LIST}?{query}").status_code == 400


def test_the_lists_own_filters_work(boss: Client, webhook: Webhook) -> None:
    assert ">shop<" in page(boss, f"{LIST}?is_active__exact=1&registration__exact=manual")
    assert ">shop<" not in page(boss, f"{LIST}?is_active__exact=0")


@pytest.mark.parametrize(
    ("form", "events"),
    [
        ({}, []),
        (
            {"events": ["ticket.created", "lead.created"], "other_events": "invoice.paid، ticket.created"},
            ["ticket.created", "lead.created", "invoice.paid"],
        ),
    ],
    ids=["none, which means all", "published ones and others"],
)
def test_events_are_chosen_or_named(boss: Client, form: dict[str, Any], events: list[str]) -> None:
    boss.post(ADD, add_form(**form))

    assert Webhook.objects.get().events == events


def test_saving_keeps_event_names_that_are_not_published(boss: Client, webhook: Webhook) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(events=["invoice.paid", "ticket.closed"])
    form = boss.get(change_url(webhook)).context["adminform"].form

    boss.post(
        change_url(webhook),
        webhook_form(events=form.initial["events"], other_events=form.initial["other_events"]),
    )

    webhook.refresh_from_db()
    assert set(webhook.events) == {"invoice.paid", "ticket.closed"}


def test_events_that_are_no_list_of_names_can_be_repaired(boss: Client, webhook: Webhook) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(events={"ticket.created": True})
    assert page(boss, change_url(webhook))

    Webhook.objects.filter(pk=webhook.pk).update(events=["ticket.created", {"name": "x"}])
    form = boss.get(change_url(webhook)).context["adminform"].form

    assert form.initial["events"] == ["ticket.created"]


def test_a_webhook_with_deliveries_is_deactivated_and_not_deleted(
    boss: Client, webhook: Webhook, sender: Sender
) -> None:
    sender.post(envelope())

    assert "Deactivate it instead" in page(boss, change_url(webhook))
    for response in (boss.get(delete_url(webhook), follow=True), boss.post(delete_url(webhook), follow=True)):
        assert response.redirect_chain == [(change_url(webhook), 302)]
        assert "Deactivate it instead" in response.content.decode()
    assert Webhook.objects.filter(pk=webhook.pk).exists()


def test_deleting_selected_webhooks_spares_those_with_deliveries_and_loads_none_of_them(
    boss: Client, webhook: Webhook, sender: Sender, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    empty = Webhook.objects.create(name="empty")
    for number in range(30):
        sender.post(envelope(delivery_id=number))
    form = {"action": "delete_selected", "_selected_action": [str(webhook.pk), str(empty.pk)]}

    with django_assert_max_num_queries(10) as queries:
        asked = boss.post(LIST, form)
    confirmed = boss.post(LIST, form | {"post": "yes"})

    for response in (asked, confirmed):
        assert "shop: It has deliveries" in response.content.decode()
    assert not any('"body"' in query["sql"] for query in queries.captured_queries)
    assert Webhook.objects.count() == 2


def test_a_webhook_without_deliveries_can_be_deleted(boss: Client, webhook: Webhook) -> None:
    Secret.objects.create(webhook=webhook, secret="whsec_older_0123456789abcdef")
    asked = boss.get(delete_url(webhook))
    boss.post(delete_url(webhook), {"post": "yes"})
    Webhook.objects.create(name="another")
    boss.post(
        LIST,
        {
            "action": "delete_selected",
            "post": "yes",
            "_selected_action": [str(each.pk) for each in Webhook.objects.all()],
        },
    )

    assert "whsec_" not in asked.content.decode()
    assert not Webhook.objects.exists()
    assert "whsec_" not in history()


def test_who_deletes_a_registered_webhook_is_told_what_stays_at_nateq(boss: Client) -> None:
    webhook = Webhook.objects.create(name="my <shop>", registration="registered", nateq_id="wh_81")
    Webhook.objects.create(name="by hand")
    form = {"action": "delete_selected", "_selected_action": [str(each.pk) for each in Webhook.objects.all()]}

    asked = [page(boss, delete_url(webhook)), boss.post(LIST, form).content.decode().replace("<wbr>", "")]
    boss.post(delete_url(webhook), {"post": "yes"})

    for shown in asked:
        assert "It is registered at Nateq (id: wh_81) and stays there" in shown
        assert '<code dir="ltr">manage.py nateq_webhook delete --name &#x27;my &lt;shop&gt;&#x27;</code>' in shown
    assert asked[0].count("answered with 404") == 1
    assert "If it was set up at Nateq by hand, delete it there, too." in asked[1]
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.details) == ("webhook_deleted", {"stays_at_nateq": "wh_81"})


def test_a_refused_save_as_new_shows_the_form_again(boss: Client, webhook: Webhook) -> None:
    """The admin has no such button, but Django answers the request: its page has no webhook to link to."""
    answer = boss.post(change_url(webhook), {"_saveasnew": "1", "name": ""})

    assert answer.status_code == 200
    assert answer.context["errors"]
    assert f"{LIST}{webhook.pk}/pause/" not in answer.content.decode()


def test_deleting_an_unknown_webhook_leads_back_to_the_index(boss: Client, webhook: Webhook) -> None:
    url = delete_url(webhook)
    webhook.delete()

    assert boss.get(url).status_code == 302


def test_posted_values_are_not_in_error_reports(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss.raise_request_exception = False
    monkeypatch.setattr(Webhook, "save", Mock(side_effect=RuntimeError("a bug")))
    response = boss.post(change_url(webhook), webhook_form(new_secret="whsec_new_0123456789abcdef"))

    assert response.status_code == 500
    assert response.wsgi_request.sensitive_post_parameters == "__ALL__"  # type: ignore[attr-defined]


def test_the_list_marks_what_is_switched_off_or_paused(boss: Client, webhook: Webhook) -> None:
    Webhook.objects.create(name="off", is_active=False)
    dispatch.pause(webhook=webhook, reason="inventory <b>", by="sara")

    text = page(boss, "/admin/nateq_webhooks/webhook/")

    assert "Switched off" in text
    assert "inventory &lt;b&gt;" in text
    assert "sara" in text
    assert text.count("nateq-warn") == 1

    dispatch.pause(reason="deployment")
    assert page(boss, "/admin/nateq_webhooks/webhook/").count("Everything is paused") == 1
