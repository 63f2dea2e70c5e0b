"""Three receivers of every event, with accidents."""

import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

from django.utils import timezone

from nateq_webhooks import signals
from tests.control.settings import SCENARIO
from tests.control.shop.models import Effect
from tests.faults.accidents import maybe_fail

RECEIVERS = ("crm", "ledger", "journal")
WORK_SECONDS = float(os.environ.get("CONTROL_WORK_SECONDS", "0"))
TRIES_LOG = os.environ.get("CONTROL_TRIES_LOG", "")
PAUSE = threading.Event()  # never set: it is only waited on


def connect(*, atomic: bool) -> None:
    """Connect them; without `atomic` an accident after the write leaves it there, for the program's own proof."""
    for receiver in (crm, ledger, journal):
        signals.event_received.connect(receiver, atomic=atomic)


def name_of(receiver: str) -> str:
    """Return the name under which the package knows a receiver."""
    return f"{__name__}.{receiver}"


def crm(**kwargs: Any) -> None:
    _work("crm", **kwargs)


def ledger(**kwargs: Any) -> None:
    _work("ledger", **kwargs)


def journal(**kwargs: Any) -> None:
    _work("journal", **kwargs)


def _work(name: str, *, event: Any, run: Any, **_kwargs: Any) -> None:
    begun, started_at = time.monotonic(), timezone.now()
    key = str(event.data["conversation_id"])
    try:
        maybe_fail(f"{name}, before")
        before = Effect.objects.filter(receiver=name, key=key).count() if SCENARIO == "order" else None
        Effect.objects.create(
            delivery_id=event.delivery_id,
            receiver=name,
            is_replay=run.is_replay,
            started_at=started_at,
            key=key,
            seen=before,
        )
        if WORK_SECONDS:
            PAUSE.wait(random.uniform(0, 2 * WORK_SECONDS))
        maybe_fail(f"{name}, after")
    finally:
        _note_try(name, key, begun)


def _note_try(name: str, key: str, begun: float) -> None:
    """Write down from when to when this try took, whatever became of it: no rollback takes that back."""
    if TRIES_LOG:
        line = json.dumps([name, key, begun, time.monotonic()]) + "\n"
        with Path(TRIES_LOG).open("a") as log:
            log.write(line)
