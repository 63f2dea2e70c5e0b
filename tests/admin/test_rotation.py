"""A new signing secret of our own making: asked for twice, in one answer only, the former one accepted for a while."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from nateq_webhooks.admin.webhooks.test_event import example
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.remote.local_webhooks import RotatedSecret, rotate_here, secret_id
from nateq_webhooks.remote.secret_rotation import retire_secrets
from tests.admin.pages import shown
from tests.conftest import SECRET, Sender, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.pages]


def page_of(webhook: Webhook, page: str = "secret") -> str:
    return reverse(f"admin:nateq_webhooks_webhook_{page}", args=[webhook.pk])


def older_secret(text: str) -> Secret:
    return next(secret for secret in Secret.objects.all() if secret.secret == text)


def confirmed(webhook: Webhook) -> dict[str, str]:
    return {"confirmed": "yes", "current": secret_id(webhook)}


def everywhere(client: Client, webhook: Webhook) -> str:
    """Every page, cookie and row that could have kept a secret."""
    urls = [page_of(webhook, page) for page in ("change", "secret", "history", "test", "pause")]
    shown = "".join(client.get(url).content.decode() for url in urls)
    history = "".join(f"{entry.object_repr} {entry.change_message}" for entry in LogEntry.objects.all())
    sessions = "".join(str(session.get_decoded()) for session in Session.objects.all())
    return shown + history + sessions + str(client.cookies)


def test_an_unconfirmed_request_changes_nothing(boss: Client, webhook: Webhook) -> None:
    asked = boss.get(page_of(webhook)).content.decode()
    boss.post(page_of(webhook), {"current": secret_id(webhook)})

    assert 'name="confirmed"' in asked
    assert secret_id(webhook) in asked
    assert SECRET not in asked
    webhook.refresh_from_db()
    assert webhook.secret == SECRET


def test_the_new_secret_is_in_the_answer_and_nowhere_else(boss: Client, webhook: Webhook) -> None:
    answer = boss.post(page_of(webhook), confirmed(webhook))

    webhook.refresh_from_db()
    assert webhook.secret != SECRET
    assert answer.content.decode().count(webhook.secret) == 1
    assert "no-store" in answer["Cache-Control"]
    assert webhook.secret not in everywhere(boss, webhook)
    assert SECRET not in everywhere(boss, webhook)
    assert "whsec_" not in str(answer.cookies)


def test_the_former_secret_is_accepted_until_the_overlap_after_the_new_one_was_seen(
    boss: Client, webhook: Webhook, sender: Sender
) -> None:
    answer = boss.post(page_of(webhook), confirmed(webhook)).content.decode()

    webhook.refresh_from_db()
    former = Secret.objects.get()
    assert former.secret == SECRET
    assert (former.expires_at, former.is_retiring) == (None, True)
    assert str(former) in answer
    assert "No delivery has used the new secret yet" in answer
    state = "New secret not seen yet; the former one is still accepted"
    assert state in boss.get(page_of(webhook, "change")).content.decode()
    event = {"payload": example(webhook, "ticket.created")}
    boss.post(page_of(webhook, "test"), event)  # signed with the new one, and by this site
    retire_secrets()
    assert Secret.objects.get().expires_at is None
    assert sender.post(envelope(delivery_id="late"), secret=SECRET).status_code == 200
    assert Secret.objects.get().expires_at is None
    assert sender.post(envelope(delivery_id="new"), secret=webhook.secret).status_code == 200
    ends = Secret.objects.get().expires_at
    assert ends is not None
    assert timedelta(hours=47) < ends - timezone.now() <= timedelta(hours=48)
    assert state not in boss.get(page_of(webhook, "change")).content.decode()


def test_a_former_secret_whose_end_was_set_before_keeps_that_end(webhook: Webhook, sender: Sender) -> None:
    ends = timezone.now() + timedelta(hours=3)
    Secret.objects.create(webhook=webhook, secret="whsec_older_0123456789abcdef", expires_at=ends)
    pasted = Secret.objects.create(webhook=webhook, secret="whsec_pasted_0123456789abcdef")

    rotate_here(webhook, known_id=secret_id(webhook))
    webhook.refresh_from_db()
    sender.post(envelope(), secret=webhook.secret)

    assert older_secret("whsec_older_0123456789abcdef").expires_at == ends
    pasted.refresh_from_db()
    assert pasted.expires_at is None
    assert older_secret(SECRET).expires_at is not None


def test_the_history_says_that_it_was_replaced(boss: Client, webhook: Webhook) -> None:
    boss.post(page_of(webhook), confirmed(webhook))

    assert "signing secret" in LogEntry.objects.get().get_change_message()


def test_posting_the_same_form_again_does_not_replace_the_secret_again(boss: Client, webhook: Webhook) -> None:
    form = confirmed(webhook)
    boss.post(page_of(webhook), form)
    webhook.refresh_from_db()

    again = boss.post(page_of(webhook), form).content.decode()

    assert "has been replaced in the meantime" in again
    assert webhook.secret not in again
    assert Webhook.objects.get().secret == webhook.secret
    assert Secret.objects.count() == 1


def test_a_former_secret_that_verifies_nothing_is_not_kept(webhook: Webhook) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(secret="")
    webhook.refresh_from_db()

    rotated = rotate_here(webhook, known_id=secret_id(webhook))

    assert rotated is not None
    assert rotated.former is None
    assert not Secret.objects.exists()


def test_a_secret_is_in_no_repr() -> None:
    assert "whsec_x_0123456789abcdef" not in repr(RotatedSecret(secret="whsec_x_0123456789abcdef", former=None))


def test_a_registered_webhook_has_its_secrets_made_at_nateq(boss: Client, webhook: Webhook) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(registration=Webhook.Registration.REGISTERED)

    for response in (boss.get(page_of(webhook)), boss.post(page_of(webhook), confirmed(webhook))):
        assert page_of(webhook, "remote") in response.content.decode()
    webhook.refresh_from_db()
    assert webhook.secret == SECRET


def test_a_user_without_reveal_secret_sees_no_field_for_one(staff: Callable[..., Client], webhook: Webhook) -> None:
    changer = staff("view_webhook", "change_webhook", "add_secret", "view_secret")
    shown = changer.get(page_of(webhook, "change")).content.decode()
    assert page_of(webhook) not in shown
    assert "new_secret" not in shown.replace("field-new_secret", "").replace("column-new_secret", "")


def test_a_generated_secret_is_not_shown_to_a_user_without_reveal_secret(
    staff: Callable[..., Client], db: None
) -> None:
    adder = staff("view_webhook", "add_webhook", "change_webhook")

    answer = adder.post(reverse("admin:nateq_webhooks_webhook_add"), {"name": "new", "is_active": "on"}, follow=True)

    assert Webhook.objects.get().secret not in answer.content.decode()
    assert "which you may not see" in answer.content.decode()


def test_the_secret_of_a_new_webhook_is_in_no_cookie_and_no_session(boss: Client, db: None) -> None:
    answer = boss.post(reverse("admin:nateq_webhooks_webhook_add"), {"name": "new", "is_active": "on"})

    secret = Webhook.objects.get().secret
    assert answer.content.decode().count(secret) == 1
    assert "no-store" in answer["Cache-Control"]
    assert secret not in everywhere(boss, Webhook.objects.get())


def test_the_webhooks_page_and_the_dashboard_say_how_far_a_rotation_is(
    boss: Client, webhook: Webhook, sender: Sender
) -> None:
    pages = (reverse("admin:nateq_webhooks_webhook_change", args=[webhook.pk]), "/admin/nateq_webhooks/")
    waiting, ending = "New secret not seen yet; the former one is still accepted", "The former secret ends in 47 h"
    assert not any(waiting in shown(boss, page) for page in pages)

    rotated = rotate_here(webhook)
    assert rotated is not None
    sender.post(envelope(delivery_id="dlv_old"), secret=SECRET)
    assert all(waiting in shown(boss, page) for page in pages)

    sender.post(envelope(delivery_id="dlv_new"), secret=rotated.secret)
    assert all(ending in shown(boss, page) for page in pages)
    assert waiting not in shown(boss, pages[1])

    Secret.objects.update(expires_at=timezone.now() + timedelta(minutes=5))
    assert "ends in less than an hour" in shown(boss, pages[1])
    Secret.objects.update(expires_at=timezone.now() - timedelta(minutes=5))
    assert "The former secret" not in shown(boss, pages[1])


def test_the_button_says_which_side_makes_the_secret(boss: Client, webhook: Webhook) -> None:
    page = reverse("admin:nateq_webhooks_webhook_change", args=[webhook.pk])
    assert "Make a new secret here" in shown(boss, page)

    Webhook.objects.update(registration=Webhook.Registration.REGISTERED, nateq_id="wh_1")
    assert "Have Nateq make a new secret" in shown(boss, page)
