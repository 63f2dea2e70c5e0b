"""The migration that moves a flag of commands out of the filters of replays."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from nateq_webhooks.dispatch.replays import interrupted
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Replay

pytestmark = pytest.mark.django_db

migration: Any = import_module("nateq_webhooks.migrations.0012_replay_command")


def test_a_command_that_was_interrupted_before_it_continues_its_replay_after_it() -> None:
    selection = Selection(event="ticket.closed", deliveries=(1, 2))
    replay = Replay.objects.create(filters=selection.as_json() | {"followed": True}, receivers=["test.one"])
    other = Replay.objects.create(filters=selection.as_json(), receivers=["test.one"])

    migration.move_flag(apps, SimpleNamespace(connection=connection))

    replay.refresh_from_db()
    other.refresh_from_db()
    assert (replay.filters, replay.is_command_waiting) == (selection.as_json(), True)
    assert (other.filters, other.is_command_waiting) == (selection.as_json(), False)
    assert interrupted("default", selection, ["test.one"]) == replay
