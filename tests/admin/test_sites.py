"""Other admin sites than the default one, which may know some of the models only."""

import pytest
from django.test import Client

from nateq_webhooks.models import Delivery
from tests.conftest import Sender, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin.single_model_sites"), pytest.mark.pages]


def test_a_site_with_deliveries_only_links_to_nothing_else(boss: Client, delivery: Delivery) -> None:
    shown = boss.get(f"/deliveries/nateq_webhooks/delivery/{delivery.pk}/change/").content.decode()

    assert '<bdi class="nateq-text">shop</bdi>' in shown
    assert "/nateq_webhooks/webhook/" not in shown
    assert f"/deliveries/nateq_webhooks/delivery/{delivery.pk}/body/" in shown


def test_a_site_with_webhooks_only_links_to_nothing_else(boss: Client, sender: Sender) -> None:
    sender.post(envelope())

    listed = boss.get("/webhooks/nateq_webhooks/webhook/").content.decode()
    refused = boss.get(f"/webhooks/nateq_webhooks/webhook/{sender.webhook.pk}/delete/")

    assert ">shop<" in listed
    assert "/nateq_webhooks/delivery/" not in listed
    assert refused["Location"] == f"/webhooks/nateq_webhooks/webhook/{sender.webhook.pk}/change/"


def test_a_site_without_replays_replays_all_the_same(boss: Client, sender: Sender) -> None:
    sender.post(envelope())

    answer = boss.post("/deliveries/nateq_webhooks/delivery/replay-many/", {"event": "ticket.created", "which": "all"})

    assert answer["Location"] == "/deliveries/nateq_webhooks/delivery/"
