"""The search for the first keys of some times: keys with gaps, many times at once, on each database."""

import random
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from nateq_webhooks.database.keyset.date_ranges import KeyRange, first_keys
from nateq_webhooks.models import Delivery, Webhook
from tests.builders import ago, build_delivery

pytestmark = pytest.mark.django_db

ROWS = 2_000
BEGIN = ago(hours=48)
LENGTH = timedelta(hours=48)


def store(keys: list[int]) -> None:
    """Store a delivery with each of these keys, at equal distances in time."""
    webhook = Webhook.objects.create(name="shop")
    moments = [BEGIN + LENGTH * number / len(keys) for number in range(len(keys))]
    Delivery.objects.bulk_create(
        build_delivery(webhook, moment, pk=key) for key, moment in zip(keys, moments, strict=True)
    )


def asked() -> list[datetime]:
    """Times within, before and after those of the rows; one is that of a row."""
    chance = random.Random(4)
    return [*(BEGIN + LENGTH * chance.uniform(-0.1, 1.1) for _ in range(60)), BEGIN, BEGIN + LENGTH / 2]


KEYS = {
    "dense": list(range(1, ROWS + 1)),
    "every second": list(range(2, 2 * ROWS, 2)),
    "sparse": sorted(random.Random(5).sample(range(1, 1_000 * ROWS), ROWS)),
    "old ones deleted": list(range(9_000_000, 9_000_000 + ROWS)),
    "a gap in the middle": [*range(5, 105), *range(7_000_000, 7_000_000 + 1_600), *range(9_999_000, 9_999_300)],
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_no_row_before_the_first_key_is_younger_and_none_from_it_on_is_older(keys: list[int]) -> None:
    store(keys)
    moments = asked()

    found = first_keys(Delivery, "default", "received_at", moments, KeyRange(0, keys[-1]))

    rows = list(Delivery.objects.order_by("pk").values_list("pk", "received_at"))
    for moment, first in zip(moments, found, strict=True):
        assert [pk for pk, received_at in rows if received_at >= moment] == [pk for pk, _ in rows if pk >= first]
        assert 0 <= first <= keys[-1] + 1


def test_many_times_take_few_statements() -> None:
    store(KEYS["dense"])

    with CaptureQueriesContext(connection) as captured:
        first_keys(Delivery, "default", "received_at", asked(), KeyRange(0, ROWS))

    assert len(captured) <= 4
