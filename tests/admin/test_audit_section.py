"""What people did to a delivery, a webhook or a receiver, on its page."""

import re
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from nateq_webhooks import dispatch, signals
from nateq_webhooks.admin import audit_section
from nateq_webhooks.audit import Action, Source, acting, record
from nateq_webhooks.dispatch.pauses import pause_hold, resume_scope
from nateq_webhooks.models import AuditEntry, Delivery, Replay, Webhook
from nateq_webhooks.models.hold import breaker_scope
from tests.admin.pages import detail_url, shown, webhook_form
from tests.conftest import Connect, Sender, envelope

pytestmark = pytest.mark.django_db

HEADING = ">What people did<"


def section(page: str) -> str:
    """Return the section's items, empty if the page has none."""
    return page.partition('<ul class="nateq-audit">')[2].partition("</ul>")[0].replace("<wbr>", "")


def webhook_page(webhook: Webhook) -> str:
    return reverse("admin:nateq_webhooks_webhook_change", args=[webhook.pk])


def receiver_page(name: str) -> str:
    return f"{reverse('admin:nateq_webhooks_run_receiver')}?name={name}"


@pytest.fixture
def delivery(sender: Sender, connect: Connect) -> Delivery:
    connect(signals.event_received, lambda **kwargs: None, "shop.crm")
    sender.post(envelope())
    return Delivery.objects.get()


def test_a_delivery_has_its_downloads_and_its_replays(boss: Client, delivery: Delivery, sender: Sender) -> None:
    sender.post(envelope(delivery_id="dlv_2"))
    other = Delivery.objects.get(delivery_id="dlv_2")
    boss.get(reverse("admin:nateq_webhooks_delivery_body", args=[delivery.pk]))
    with acting(Source.API, "key of <mona>"):
        dispatch.replay(delivery)
        dispatch.replay(other)

    items = section(shown(boss, detail_url(delivery)))

    assert items.count("<li>") == 2
    assert "Body downloaded</a>" in items
    assert '· <bdi class="nateq-text">boss</bdi> · Admin ·' in items
    assert f'Replayed</a> · <bdi class="nateq-text">replay {Replay.objects.order_by("pk")[0].pk}</bdi>' in items
    assert "key of &lt;mona&gt;" in items
    assert "deliveries=1" in items  # each database has an order of its own
    assert "runs=1" in items
    entry = AuditEntry.objects.get(action=Action.PAYLOAD_DOWNLOADED)
    assert reverse("admin:nateq_webhooks_auditentry_change", args=[entry.pk]) in items


def test_a_webhook_has_its_secrets_and_its_pauses_and_those_of_no_other_thing(boss: Client, webhook: Webhook) -> None:
    Webhook.objects.create(name="shop2", secret="whsec_other_0123456789abcdef")
    record(Action.SECRET_CHANGED, target="shop", actor="mona")
    record(Action.SECRET_CHANGED, target="shop2", actor="omar")
    record(Action.API_KEY_CREATED, target="shop", actor="omar")
    dispatch.pause(webhook=webhook, by="lina", reason="moving")

    items = section(shown(boss, webhook_page(webhook)))

    assert items.count("<li>") == 2
    assert items.index("Paused</a>") < items.index("Secret changed</a>")
    assert "lina" in items
    assert "omar" not in items


def test_a_renamed_webhook_has_what_was_done_under_its_former_name(boss: Client, webhook: Webhook) -> None:
    record(Action.SECRET_CHANGED, target="shop", webhook_id=webhook.pk, actor="mona")
    dispatch.pause(webhook=webhook, by="lina")
    Webhook.objects.filter(pk=webhook.pk).update(name="market")
    Webhook.objects.create(name="shop", secret="whsec_other_0123456789abcdef")
    record(Action.WEBHOOK_CHANGED, target="market", webhook_id=webhook.pk, actor="omar")

    items = section(shown(boss, webhook_page(webhook)))

    assert re.findall(r">([^<>]*)</a>(?: · <bdi[^>]*>([^<]*)</bdi>)* · ", items) == [
        ("Webhook changed", "omar"),
        ("Paused", "lina"),
        ("Secret changed", "mona"),
    ]
    assert [name in items for name in (">webhook:shop<", ">shop<", ">market<")] == [True, True, False]


def test_a_webhook_has_nothing_of_a_deleted_one_of_its_name(boss: Client, webhook: Webhook) -> None:
    record(Action.WEBHOOK_DELETED, target="shop", webhook_id=uuid4(), actor="mona")

    assert HEADING not in shown(boss, webhook_page(webhook))


def test_what_is_done_in_the_admin_is_found_after_a_new_name(boss: Client, webhook: Webhook) -> None:
    """Each way in stores the id; here the admin's form, which gives the webhook its new name."""
    boss.post(webhook_page(webhook), webhook_form(name="market", is_active="on"))

    assert Webhook.objects.get(pk=webhook.pk).name == "market"
    assert set(AuditEntry.objects.values_list("webhook_id", flat=True)) == {webhook.pk}


def test_a_pause_of_one_receiver_for_a_webhook_says_so_and_is_on_both_pages(
    boss: Client, webhook: Webhook, delivery: Delivery
) -> None:
    scope = breaker_scope(webhook.pk, "shop.crm")
    pause_hold("default", scope)
    with acting(Source.ADMIN, "lina"):
        resume_scope("default", scope)

    for url in (webhook_page(webhook), receiver_page("shop.crm")):
        items = section(shown(boss, url))
        assert items.count("<li>") == 1
        assert "Resumed</a>" in items
        assert ">webhook:shop/receiver:shop.crm<" in items


def test_a_receiver_has_its_pauses(boss: Client, delivery: Delivery) -> None:
    dispatch.pause(receiver="shop.crm", by="lina")
    dispatch.resume(receiver="shop.crm")
    record(Action.REPLAYED, target="shop.crm")

    items = section(shown(boss, receiver_page("shop.crm")))

    assert items.count("<li>") == 2
    assert "Resumed</a>" in items


@pytest.mark.parametrize("may_see", [False, True])
def test_the_section_is_for_those_who_may_see_the_audit_log(
    client: Client, delivery: Delivery, webhook: Webhook, *, may_see: bool
) -> None:
    record(Action.PAYLOAD_DOWNLOADED, target=f"delivery {delivery.pk}", actor="mona")
    record(Action.SECRET_REVEALED, target=webhook.name, actor="mona")
    dispatch.pause(receiver="shop.crm", by="mona")
    user = User.objects.create_user("staff", is_staff=True)
    models = ("delivery", "webhook", "run", *(("auditentry",) if may_see else ()))
    user.user_permissions.set(Permission.objects.filter(codename__in=[f"view_{model}" for model in models]))
    client.force_login(user)

    for url in (detail_url(delivery), webhook_page(webhook), receiver_page("shop.crm")):
        assert (HEADING in shown(client, url)) is may_see, url


def test_without_entries_there_is_no_section(boss: Client, delivery: Delivery, webhook: Webhook) -> None:
    for url in (detail_url(delivery), webhook_page(webhook), receiver_page("shop.crm")):
        assert HEADING not in shown(boss, url)


def test_the_newest_are_shown_and_a_link_leads_to_the_rest(boss: Client, webhook: Webhook) -> None:
    for number in range(audit_section.MAX_SHOWN + 1):
        record(Action.SECRET_CHANGED, target=webhook.name, webhook_id=webhook.pk, actor=f"user {number}.")

    page = shown(boss, webhook_page(webhook))

    assert section(page).count("<li>") == audit_section.MAX_SHOWN
    assert "user 0." not in page
    log = f"{reverse('admin:nateq_webhooks_auditentry_changelist')}?q={webhook.pk}"
    assert log in page
    assert [entry.actor for entry in boss.get(log).context["cl"].result_list][-1] == "user 0."


def test_one_statement_reads_a_bounded_number_of_entries(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_section, "MAX_LOOKED_THROUGH", 3)
    for number in range(5):
        record(Action.SECRET_CHANGED, target=webhook.name, actor=f"user {number}.")

    with CaptureQueriesContext(connection) as captured:
        page = shown(boss, webhook_page(webhook))

    assert section(page).count("<li>") == 3
    assert len([query for query in captured if "nateq_webhooks_auditentry" in query["sql"]]) == 1
