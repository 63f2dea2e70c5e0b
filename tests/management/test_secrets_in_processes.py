"""`manage.py nateq_secrets rotate-key` in processes of its own: killed again and again, beside deliveries."""

import random
import time
from itertools import count

import pytest

from nateq_webhooks.models import Delivery, Secret, Webhook
from nateq_webhooks.models.webhook import generate_secret
from tests.conftest import Sender, envelope
from tests.encryption import columns
from tests.runners.processes import process, run

pytest.importorskip("cryptography")

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

COMMAND = ("-m", "django", "nateq_secrets", "rotate-key", "--no-input")
WEBHOOKS = 400
KILLS = 6
SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.settings_without_admin"}


@pytest.mark.parametrize("options", [(), ("--decrypt",)], ids=["encrypt", "decrypt"])
def test_a_killed_conversion_beside_deliveries_and_rotations_loses_nothing(options: tuple[str, ...]) -> None:
    chance, number = random.Random(7), count()
    rows = [Webhook(name=str(position), secret=generate_secret()) for position in range(WEBHOOKS)]
    Webhook.objects.bulk_create(rows)
    Secret.objects.bulk_create([Secret(webhook=row, secret=generate_secret()) for row in rows[:50]])
    older = {row.pk: row.secret for row in Secret.objects.all()}
    known = {row.pk: str(row.secret) for row in rows}
    run(*COMMAND, *(() if options else ("--decrypt",)), **SETTINGS)
    before = set(columns())
    answers: list[int] = []
    ended = 0
    for _ in range(KILLS):
        with process(*COMMAND, *options, **SETTINGS) as converting:
            killed_at = time.monotonic() + chance.uniform(0.6, 2.5)
            while time.monotonic() < killed_at and converting.popen.poll() is None:
                row = chance.choice(rows)
                if chance.random() < 0.2:
                    known[row.pk] = generate_secret()
                    Webhook.objects.filter(pk=row.pk).update(secret=known[row.pk])
                body = envelope(delivery_id=f"dlv_{next(number)}")
                answers.append(Sender(row).post(body, secret=known[row.pk]).status_code)
            ended += converting.popen.poll() is not None
            converting.popen.kill()
    assert ended < KILLS
    run(*COMMAND, *options, **SETTINGS)

    assert set(answers) == {200}
    assert Delivery.objects.count() == len(answers) > 20
    assert {row.pk: row.secret for row in Webhook.objects.all()} == known
    assert {row.pk: row.secret for row in Secret.objects.all()} == older
    assert not set(columns()) & before
    is_plain = [not text.startswith("fernet:") for text in columns()]
    assert all(is_plain) if options else not any(is_plain)
