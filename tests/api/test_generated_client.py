"""A client that a kept generator makes from the description: it has no gaps, its types hold, and it works over HTTP."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from example_project.board.server import serving
from nateq_webhooks.api.schema.generator import rendered
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.signals import ticket_created
from tests.api.conftest import issue
from tests.builders import store_deliveries, store_run
from tests.conftest import Connect
from tests.test_docs import BLOCKS

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def run(*command: str, cwd: Path) -> None:
    here = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package `shop`: the client as `shop.nateq`, and the example of the docs."""
    home = tmp_path_factory.mktemp("client")
    (home / "shop").mkdir()
    (home / "shop/__init__.py").touch()
    (home / "nateq.json").write_bytes(rendered("/api/v1", "json"))
    # What the generator writes into each client is not its strictest.
    (home / "mypy.ini").write_text("[mypy]\nstrict = True\n[mypy-shop.nateq.client]\nignore_errors = True\n")
    [example] = [code for _name, code in BLOCKS if "from shop.nateq import" in code]
    (home / "shop/example.py").write_text(example)
    command = ["openapi_python_client", "generate", "--path", "nateq.json", "--meta", "none", "--fail-on-warning"]
    run(*command, "--output-path", "shop/nateq", cwd=home)
    return home


def test_its_types_and_those_of_the_example_hold(home: Path) -> None:
    run("mypy", "--config-file", "mypy.ini", "-p", "shop", cwd=home)


@pytest.fixture
def client(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The client of a program that may do everything."""
    monkeypatch.syspath_prepend(str(home))
    with serving(0) as port:
        address = f"http://127.0.0.1:{port}/api/v1"
        with module("nateq").AuthenticatedClient(address, token=issue(), raise_on_unexpected_status=True) as client:
            yield client


def module(name: str) -> Any:
    return importlib.import_module(f"shop.{name}")


@pytest.fixture
def delivery(webhook: Webhook, connect: Connect) -> Delivery:
    """A delivery that was given up, the newest of three."""
    connect(ticket_created, lambda **kwargs: None, "shop.send")
    delivery = store_deliveries(webhook, 3)[-1]
    store_run(delivery, "shop.send", status="dead")
    Delivery.objects.filter(pk=delivery.pk).update(status="dead")
    return delivery


def test_it_reads_lists_pages_and_details(client: Any, webhook: Webhook, delivery: Delivery) -> None:
    api, models = module("nateq.api.deliveries"), module("nateq.models")
    for name in ("list_deliveries", "get_delivery", "get_delivery_body", "list_delivery_runs"):
        module(f"nateq.api.deliveries.{name}")

    first = api.list_deliveries.sync(client=client, limit=2)
    second = api.list_deliveries.sync(client=client, limit=2, cursor=first.meta.next_cursor)
    detail = api.get_delivery.sync(delivery.pk, client=client).data
    runs = api.list_delivery_runs.sync(delivery.pk, client=client).data
    body = api.get_delivery_body.sync(delivery.pk, client=client)

    assert [one.id for one in first.data + second.data] == sorted(
        Delivery.objects.values_list("pk", flat=True), reverse=True
    )
    assert second.meta.next_cursor is None
    assert (detail.status, detail.webhook_id, detail.received_at) == (
        models.DeliveryStatus.DEAD,
        webhook.pk,
        delivery.received_at,
    )
    assert [(run.receiver, run.status.value) for run in runs] == [("shop.send", "dead")]
    assert body.payload.read() == delivery.body


def test_the_example_of_the_docs_replays_what_was_given_up(client: Any, delivery: Delivery) -> None:
    key = client.token

    [replay] = module("example").replay_the_dead(client._base_url, key)

    assert delivery.runs.get(round=replay).receiver == "shop.send"


def test_an_action_is_done_once_and_an_error_is_a_document(client: Any, delivery: Delivery) -> None:
    receivers, models = module("nateq.api.receivers"), module("nateq.models")
    pause = module("nateq.api.receivers.pause_receiver")
    module("nateq.api.webhooks.get_webhook")

    body = models.ReasonFields(reason="moving")
    answers = [pause.sync_detailed("shop.send", client=client, body=body, idempotency_key="once") for _time in range(2)]
    other = module("nateq.api.webhooks").get_webhook.sync(client=client, webhook=delivery.webhook_id)
    refused = receivers.pause_receiver.sync("shop.none", client=client)

    assert [answer.headers.get("Idempotency-Replayed") for answer in answers] == [None, "true"]
    assert [pause.reason for pause in answers[0].parsed.data.pauses] == ["moving"]
    assert other.data.name == "shop"
    assert isinstance(refused, models.ErrorAnswer)
    assert (refused.error.code.value, refused.error.message) == ("NOT_FOUND", "There is no receiver shop.none")


def test_the_state_and_the_description_are_read(client: Any, delivery: Delivery) -> None:
    for name in ("receivers.list_receivers", "receivers.get_status", "description.get_docs"):
        module(f"nateq.api.{name}")

    status = module("nateq.api.receivers").get_status.sync(client=client).data
    page = module("nateq.api.description").get_docs.sync(client=client)

    assert "dead" in status.needs_attention
    assert status.receivers["shop.send"].dead == 1
    assert "/deliveries/{delivery}" in page
