"""Every operation as every kind of caller: the table in docs/reference/api.md is what this module finds.

`NATEQ_WRITE_DOCS=1 pytest tests/api/test_matrix.py` writes it.
"""

import json
import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from nateq_webhooks.models import ApiKey, Delivery, Replay, Webhook
from nateq_webhooks.protocol.api import Scope
from nateq_webhooks.signals import ticket_created
from tests.api.conftest import Program, issue, staff
from tests.api.operations import OPERATIONS, Operation, methods_of, routes
from tests.builders import ago, store_deliveries, store_rejection, store_run
from tests.conftest import Connect

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "api.md"

OURS: Final = (
    "view_webhook",
    "add_webhook",
    "change_webhook",
    "delete_webhook",
    "reveal_secret",
    "view_delivery",
    "view_run",
    "view_rejection",
    "view_payload",
    "replay_delivery",
    "view_replay",
)

TOKEN: Final = "a" * 32
"""A CSRF token."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _revoked() -> Program:
    key = issue(name="revoked")
    ApiKey.objects.filter(name="revoked").revoke()
    return Program(key)


CALLERS: Final[dict[str, Callable[[], Program]]] = {
    "nobody": Program,
    "unknown, revoked or expired key": _revoked,
    "key from another address": lambda: Program(issue(allowed_addresses=["192.0.2.7"])),
    **{f"key `{scope}`": lambda scope=scope: Program(issue(scope)) for scope in Scope},  # type: ignore[misc]
    "key with all scopes": lambda: Program(issue()),
    "key of its organization": lambda: Program(issue(organization_id="org_1")),
    "key of another organization": lambda: Program(issue(organization_id="org_2")),
    **{f"staff `{permission}`": lambda permission=permission: staff(permission) for permission in OURS},  # type: ignore[misc]
    "staff with all of these": lambda: staff(*OURS),
    "user who is not staff": lambda: staff(*OURS, is_staff=False),
}


@pytest.fixture
def delivery(db: None, connect: Connect) -> Delivery:
    """A delivery of org_1, at a webhook of that organization."""
    connect(ticket_created, lambda **kwargs: None, "shop.send")
    webhook = Webhook.objects.create(name="shop", organization_id="org_1")
    [delivery] = store_deliveries(webhook)
    store_run(delivery)
    store_rejection(webhook)
    return delivery


def answer(program: Program, operation: Operation, delivery: Delivery, method: str = "", token: str = "") -> int:
    replay = Replay.objects.create(organization_id="org_1", until=delivery.pk)
    path = operation.at(webhook=delivery.webhook_id, delivery=delivery.pk, replay=replay.pk)
    program.cookies["csrftoken"] = TOKEN
    headers = {"X-CSRFToken": token} if token else None
    body = json.dumps(operation.body or {})
    response = program.generic(method or operation.method, f"/api/v1{path}", body, headers=headers)
    assert response.status_code < 500
    return int(response.status_code)


def matrix(delivery: Delivery) -> str:
    """Return the table: a row for each caller, a column for each operation."""
    head = " | ".join(f"`{operation.label}`" for operation in OPERATIONS)
    lines = [f"| caller | {head} |", "| --- " * (len(OPERATIONS) + 1) + "|"]
    for name, make in CALLERS.items():
        program = make()
        cells = " | ".join(str(answer(program, operation, delivery, token=TOKEN)) for operation in OPERATIONS)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def test_the_table_in_the_docs_is_what_each_caller_gets(delivery: Delivery) -> None:
    page, found = PAGE.read_text(), matrix(delivery)
    if "NATEQ_WRITE_DOCS" in os.environ:
        page = re.sub(r"^\| caller \|.*\n(?:\|.*\n?)*", lambda _found: f"{found}\n", page, flags=re.MULTILINE)
        PAGE.write_text(page)

    assert found in page


@pytest.mark.any_database
@pytest.mark.parametrize("name", CALLERS)
def test_no_other_method_does_anything_and_head_is_like_get(name: str, delivery: Delivery) -> None:
    program = CALLERS[name]()
    for operation in OPERATIONS:
        allowed = answer(program, operation, delivery)
        if operation.method == "GET":
            assert answer(program, operation, delivery, "HEAD") == allowed
        for method in set(METHODS) - methods_of(operation.path):
            # A caller that is not let in learns nothing of the methods; a session without a CSRF token is stopped.
            assert answer(program, operation, delivery, method) in {405, 401, 403} - (
                {405} if allowed == 401 else set()
            )
    assert Delivery.objects.count() == Webhook.objects.filter(name="shop").count() == 1


def test_an_expired_and_an_unknown_key_get_what_a_revoked_one_gets(delivery: Delivery) -> None:
    expired, unknown = Program(issue(expires_at=ago(minutes=1))), Program("tg_live_unknown")
    lasting = Program(issue(expires_at=timezone.now() + timedelta(minutes=1)))
    for operation in OPERATIONS:
        assert answer(expired, operation, delivery) == answer(unknown, operation, delivery) == 401
        assert answer(lasting, operation, delivery) in (200, 201, 202, 409)


def test_every_url_is_tried() -> None:
    assert {operation.path for operation in OPERATIONS} == routes()
    assert set(OURS) <= set(Permission.objects.values_list("codename", flat=True))


def test_every_operation_is_documented() -> None:
    text = PAGE.read_text()

    assert [each.path for each in OPERATIONS if f"`{each.method} {each.path}`" not in text] == []
    rows = dict(re.findall(r"^\| `(\w+ [^`]+)` \|(.*)$", text, re.MULTILINE))
    for operation in OPERATIONS:
        assert set(re.findall(r"`(\w+)`", rows[f"{operation.method} {operation.path}"].split("|")[0])) == {
            *operation.parameters,
            *operation.fields,
        }
