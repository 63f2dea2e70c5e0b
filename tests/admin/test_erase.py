"""The page that erases a person: it offers who is named, shows what would go, and asks for a typed word."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from nateq_webhooks.admin.deliveries import erase
from nateq_webhooks.models import AuditEntry, Delivery, Webhook
from nateq_webhooks.protocol import erasing
from tests.conftest import Sender, envelope
from tests.erasure.people import OMAR, SARA, Scene, dump, store_scene, ticket, traces

pytestmark = pytest.mark.django_db(transaction=True)

URL = reverse("admin:nateq_webhooks_delivery_erase")

FORM = {
    "pairs": ["data.requester.id=cus_sara9", "data.messages.author.id=cus_sara9"],
    "how": "delete",
    "organization": "",
    "since": "",
}


@pytest.fixture
def scene(webhook: Webhook) -> Scene:
    return store_scene(webhook)


def test_the_page_of_a_delivery_leads_to_the_people_that_it_names(scene: Scene, boss: Client) -> None:
    page = boss.get(reverse("admin:nateq_webhooks_delivery_change", args=[scene.tickets[0].pk])).content.decode()
    link = f"{URL}?deliveries={scene.tickets[0].pk}"
    assert link in page

    form = boss.get(link).content.decode()

    assert 'value="data.requester.id=cus_sara9"' in form
    assert 'value="data.requester.email=Sara.Harbi@example.com"' in form


def test_the_action_of_the_list_offers_the_people_of_the_selected_deliveries(scene: Scene, boss: Client) -> None:
    chosen = [scene.tickets[0].pk, scene.others[0].pk]
    page = boss.post(
        reverse("admin:nateq_webhooks_delivery_changelist"),
        {"action": "erase_selected", "_selected_action": chosen},
        follow=True,
    ).content.decode()

    assert 'value="data.requester.id=cus_sara9"' in page
    assert 'value="data.requester.id=cus_omar8"' in page


def test_what_would_go_is_shown_before_anything_is_changed(scene: Scene, boss: Client) -> None:
    before = {name: rows for name, rows in dump().items() if name.startswith("nateq_webhooks")}

    page = boss.post(URL, FORM)

    assert page.status_code == 200
    assert page.context["report"].deliveries == 5
    assert "1 other delivery quotes it" in page.content.decode()
    assert {name: rows for name, rows in dump().items() if name.startswith("nateq_webhooks")} == before


@pytest.mark.parametrize("how", ["delete", "blank"])
def test_the_typed_word_erases(scene: Scene, boss: Client, how: str) -> None:
    response = boss.post(URL, FORM | {"how": how, "confirmation": "cus_sara9"}, follow=True)

    assert response.status_code == 200
    assert "Erased. Rows deleted or blanked" in response.content.decode()
    assert traces() == []
    entries = AuditEntry.objects.filter(action="erased").values_list("source", "actor")
    assert set(entries) == {("admin", "boss")}


def test_another_word_changes_nothing(scene: Scene, boss: Client) -> None:
    response = boss.post(URL, FORM | {"confirmation": "yes"})

    assert response.status_code == 400
    assert Delivery.objects.count() == 9


def test_a_long_erasure_goes_on_from_page_to_page(scene: Scene, boss: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(erase, "SECONDS", 0)
    pages = 0
    response = boss.post(URL, FORM | {"confirmation": "cus_sara9"})
    while response.status_code == 200:
        pages += 1
        assert "done. Continue until all of it is" in response.content.decode()
        response = boss.post(URL, FORM | {"confirmation": "cus_sara9"})

    assert pages > 5
    assert traces() == []


def test_a_large_table_is_left_to_the_command(scene: Scene, boss: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(erase, "MAX_KEYS", 3)

    page = boss.post(URL, FORM | {"how": "blank", "confirmation": "cus_sara9"}).content.decode()

    assert "manage.py nateq_erase --where data.messages.author.id=cus_sara9" in page
    assert "--blank" in page
    assert Delivery.objects.count() == 9


@pytest.mark.parametrize(
    "data", [{}, {"path": "data.id"}, {"path": "", "value": "x"}, {"path": "a..b", "value": "x"}, {"since": "soon"}]
)
def test_an_unusable_form_is_shown_again(scene: Scene, boss: Client, data: dict[str, str]) -> None:
    response = boss.post(URL, {"how": "delete"} | data)

    assert response.status_code == 400
    assert "errornote" in response.content.decode()


@pytest.mark.parametrize("delivery", ["x", "0", "99999999999999999999", "-1"])
def test_a_delivery_that_is_not_there_is_no_error(scene: Scene, boss: Client, delivery: str) -> None:
    assert boss.get(URL, {"deliveries": delivery}).status_code in (200, 404)


def test_the_name_goes_everywhere_only_if_that_is_chosen(scene: Scene, boss: Client) -> None:
    other = ticket(scene.webhook, 50, OMAR, f"From {SARA['name']}")
    other.save()

    plan = boss.post(URL, FORM)
    assert plan.context["report"].names_left == 1
    assert "1 other delivery quotes only a name or a short number; it is left." in plan.content.decode()
    chosen = boss.post(URL, FORM | {"names_everywhere": "on"})
    assert (chosen.context["report"].names_left, chosen.context["report"].quoting) == (0, 2)
    fields = dict(chosen.context["hidden"])

    boss.post(URL, fields | {"pairs": FORM["pairs"], "confirmation": "cus_sara9"})

    assert SARA["name"] not in Delivery.objects.get(pk=other.pk).body.decode()


def test_a_value_that_a_browser_would_change_is_offered_and_erased(webhook: Webhook, boss: Client) -> None:
    Webhook.objects.update(has_removed=True)
    person = {"id": "usr\n9\r\n\ud800x", "name": 'Sara "Ali"\nHassan', "e=mail": "no@example.com"}
    Sender(webhook).post(envelope(delivery_id="dlv_1", data={"id": "tkt_1", "requester": person}))
    odd = Delivery.objects.get()
    ticket(webhook, 2, OMAR).save()
    page = boss.get(URL, {"deliveries": odd.pk})
    assert page.status_code == 200
    pairs = [pair for pair, *_rest in page.context["offered"] if pair.startswith("data.requester.id=")]
    assert all(erasing.is_sent_back(pair) for pair, *_rest in page.context["offered"])

    plan = boss.post(URL, FORM | {"pairs": pairs})
    assert plan.context["report"].deliveries == 1
    fields = [(name, value) for name, value in plan.context["hidden"] if name == "pairs"]
    boss.post(URL, FORM | {"pairs": [value for _name, value in fields], "confirmation": plan.context["word"]})

    assert Delivery.objects.get().delivery_id == "dlv_2"


def test_what_cannot_be_searched_is_counted(scene: Scene, boss: Client) -> None:
    Delivery.objects.filter(pk=scene.others[0].pk).update(body=b"", payload=None, content_change="retention")

    page = boss.post(URL, FORM)

    assert page.context["report"].hidden == 1
    assert "1 delivery can't be searched" in page.content.decode()
