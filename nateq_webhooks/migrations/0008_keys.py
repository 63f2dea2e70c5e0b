"""Make the webhook a part of the keys of order and of the circuit breaker, in what is under way, too."""

import hashlib
from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

PORTION = 1000
"""Rows read and written at once."""


def add_webhook_to_turns(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Give each turn (now an order lock) the key that `dispatch.order.turn_key` computes; which run is up does not change."""
    alias = schema_editor.connection.alias
    turns = apps.get_model("nateq_webhooks", "Turn").objects.using(alias)
    deliveries = apps.get_model("nateq_webhooks", "Delivery").objects.using(alias)
    last = 0
    while portion := list(turns.filter(pk__gt=last).order_by("pk")[:PORTION]):
        last = portion[-1].pk
        pks = {turn.position for turn in portion}
        webhooks = dict(deliveries.filter(pk__in=pks).values_list("pk", "webhook_id"))
        for turn in portion:
            key = hashlib.sha256(f"{webhooks.get(turn.position)}\0{turn.key}".encode()).hexdigest()
            turn.key, turn.up = key, turn.up and key
        turns.bulk_update(portion, ["key", "up"])


def add_webhook_to_breakers(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Replace each hold of a receiver that the circuit breaker paused by one per webhook that has held runs."""
    alias = schema_editor.connection.alias
    gates = apps.get_model("nateq_webhooks", "Gate").objects.using(alias)
    runs = apps.get_model("nateq_webhooks", "Run").objects.using(alias)
    for gate in gates.filter(is_automatic=True, paused_at__isnull=False, scope__startswith="receiver:"):
        held = runs.filter(lane=gate.pk)
        for webhook in list(held.order_by().values_list("delivery__webhook_id", flat=True).distinct()):
            new, _created = gates.get_or_create(
                scope=f"webhook:{webhook}/{gate.scope}",
                defaults={
                    "paused_at": gate.paused_at,
                    "reason": gate.reason,
                    "is_automatic": True,
                    "probe_at": gate.probe_at,
                    "failures": gate.failures,
                    "is_cleared": False,
                },
            )
            mine = held.filter(delivery__webhook_id=webhook)
            while pks := list(mine.values_list("pk", flat=True)[:PORTION]):
                runs.filter(pk__in=pks).update(lane=new.pk)
        # Workers take out the runs that a process of an earlier version still assigns to this hold.
        gates.filter(pk=gate.pk).update(paused_at=None, reason="", is_automatic=False, probe_at=None, is_cleared=False)
    gates.filter(scope__startswith="receiver:", is_automatic=False).update(failures=0)


class Migration(migrations.Migration):

    dependencies = [
        ('nateq_webhooks', '0007_content'),
    ]

    operations = [
        migrations.RunPython(add_webhook_to_turns, migrations.RunPython.noop, elidable=True),
        migrations.RunPython(add_webhook_to_breakers, migrations.RunPython.noop, elidable=True),
    ]
