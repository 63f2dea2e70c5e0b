"""Celery with Redis and an empty task: the app that its worker loads, and what the measuring process does with it.

The worker is started after the tasks were sent, and writes down when it began the first and ended the last of them.
"""

import json
import os
import sys
import time
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
PREFIX = os.environ.setdefault("BENCH_CELERY_PREFIX", f"nateq_webhooks_bench_{uuid.uuid4().hex}_")
"""Of all keys in Redis."""
START_SECONDS = 60.0


def missing() -> str:
    """Return why Celery can't be measured here; nothing if it can."""
    if absent := [name for name in ("celery", "redis") if not find_spec(name)]:
        return f"{' and '.join(absent)} not installed"
    import redis

    try:
        redis.Redis.from_url(REDIS_URL, socket_connect_timeout=1).ping()
    except redis.RedisError:
        return f"no Redis at {REDIS_URL}; REDIS_URL names another"
    return ""


def make_app() -> Any:
    """Return the app; its worker counts the tasks."""
    import celery
    from celery import signals

    app = celery.Celery("benchmarks", broker=REDIS_URL, set_as_current=False)
    app.conf.update(
        broker_transport_options={"global_keyprefix": PREFIX},
        task_ignore_result=True,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    app.task(name="nothing")(_nothing)
    if "BENCH_CELERY_FILE" in os.environ:
        count, file = int(os.environ["BENCH_CELERY_COUNT"]), Path(os.environ["BENCH_CELERY_FILE"])
        moments: list[float] = []
        signals.task_prerun.connect(
            lambda **_named: moments.append(time.monotonic()) if not moments else None, weak=False
        )
        left = [count]

        def after(**_named: object) -> None:
            left[0] -= 1
            if not left[0]:
                moments.append(time.monotonic())
                file.write_text(json.dumps(moments))

        signals.task_postrun.connect(after, weak=False)
    return app


def _nothing() -> None:
    """Do nothing."""


def rate(count: int, folder: Path) -> float:
    """Send tasks, let one worker process do them, and return how many it did per second. Raises `RuntimeError`."""
    from benchmarks.processes import running

    app, file = make_app(), folder / "celery.json"
    file.unlink(missing_ok=True)
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(count):
            app.tasks["nothing"].apply_async(producer=producer)
    options = ["--pool=solo", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=error"]
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.celery_worker", "worker", *options]
    named = {"BENCH_CELERY_FILE": str(file), "BENCH_CELERY_COUNT": str(count)}
    with (folder / "celery.log").open("wb") as log, running(command, log, **named) as process:
        deadline = time.monotonic() + START_SECONDS + count / 50
        while not file.exists() or not file.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Celery's worker failed: {(folder / 'celery.log').read_text()[-2000:]}")
            time.sleep(0.05)
        began, ended = json.loads(file.read_text())
    return count / (ended - began)


def clean_up() -> None:
    """Remove every key from Redis."""
    import redis

    client = redis.Redis.from_url(REDIS_URL)
    for key in client.scan_iter(f"{PREFIX}*"):
        client.delete(key)
