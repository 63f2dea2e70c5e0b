"""Webhooks that the API creates, changes, deletes and rotates: here, and at Nateq where they are registered."""

import json
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.core.signals import got_request_exception
from django.db import IntegrityError, connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.views.debug import ExceptionReporter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nateq_webhooks import remote
from nateq_webhooks.api.idempotency import UNDER_WAY_FOR
from nateq_webhooks.client import NateqClient
from nateq_webhooks.models import Delivery, EventType, Secret, Webhook
from nateq_webhooks.models.idempotent_answer import IdempotentAnswer
from nateq_webhooks.remote.local_webhooks import rotate_here, secret_id
from nateq_webhooks.sandbox import Fault, Sandbox
from tests.api.conftest import API, Program, answers_at_once, issue, staff
from tests.builders import ago, store_deliveries
from tests.conftest import SECRET, Sender, SharedSandbox, envelope
from tests.remote.conftest import KEY, both_sides_agree, connected

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

SITE = "https://shop.example"
NEW = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
TOKEN = "a" * 32


@pytest.fixture(autouse=True)
def _address() -> Iterator[None]:
    with override_settings(NATEQ_WEBHOOKS={"PUBLIC_URL": SITE}):
        yield


def send(program: Program, method: str, path: str, document: Any = None, **options: Any) -> Any:
    body = b"" if document is None else json.dumps(document).encode()
    return program.ask(path, method=method, data=body, content_type="application/json", **options)


def create(program: Program, document: Any = None, **options: Any) -> Any:
    return send(program, "POST", "/webhooks", document, **{"status": 201, **options}).json()["data"]


def details(program: Program, method: str, path: str, document: Any) -> Any:
    return send(program, method, path, document, status=422).json()["error"]["details"]


def reason(program: Program, method: str, path: str, status: int, **options: Any) -> str:
    """Return why a request is refused, in which neither a secret nor the key for Nateq is."""
    text = send(program, method, path, options.pop("document", None), status=status, **options).text
    assert KEY not in text
    for secret in Webhook.objects.values_list("secret", flat=True):
        assert secret not in text
    return str(json.loads(text)["error"]["message"])


def session(*permissions: str) -> tuple[Program, dict[str, Any]]:
    program = staff(*permissions)
    program.cookies["csrftoken"] = TOKEN
    return program, {"headers": {"X-CSRFToken": TOKEN}}


class TestCreation:
    def test_a_webhook_has_a_secret_that_only_this_answer_has(self, program: Program) -> None:
        made = create(program, {"events": ["ticket.created", "ticket.created"]})

        row = Webhook.objects.get()
        secret = {"secret": row.secret, "secret_id": secret_id(row), "notice": made["notice"]}
        assert made == program.data(f"/webhooks/{row.pk}") | secret
        assert "has not registered it at Nateq" in made["notice"]
        assert f"manage.py nateq_webhook create --name 'Webhook {row.pk}'." in made["notice"]
        assert (made["id"], made["events"], made["is_active"]) == (str(row.pk), ["ticket.created"], True)
        assert made["url"] == row.public_url
        assert row.registration == Webhook.Registration.MANUAL
        assert row.secret not in program.ask("/webhooks").text

    def test_what_the_secret_signs_is_stored(self, program: Program) -> None:
        made = create(program, {"name": "shop", "is_active": True})

        answer = Sender(Webhook.objects.get(name="shop")).post(envelope(), secret=made["secret"])

        assert answer.status_code == 200
        assert program.data("/deliveries")[0]["secret_id"] == made["secret_id"]

    def test_an_address_with_a_new_id_is_the_webhooks(self, program: Program) -> None:
        url = f"{SITE}/nateq/{uuid.uuid4()}/"

        assert create(program, {"url": url, "events": ["ticket.created"]})["url"] == url
        assert set(details(program, "POST", "/webhooks", {"url": url, "events": ["ticket.created"]})) == {"url"}
        assert Webhook.objects.count() == 1

    @pytest.mark.parametrize(
        "url",
        [
            "", "https://shop.example/", f"{SITE}/nateq/", f"https://other.example/nateq/{NEW}/",
            f"{SITE}/nateq/{NEW}", f"{SITE}/nateq/{NEW}/?a=1", NEW, "x" * 10_000, "\0",
            "\ud800", 2**70, None, [], {},
        ],
    )  # fmt: skip
    def test_any_other_address_is_refused(self, program: Program, url: Any) -> None:
        assert set(details(program, "POST", "/webhooks", {"url": url})) == {"url"}
        assert not Webhook.objects.exists()

    @pytest.mark.parametrize(
        ("document", "names"),
        [
            ({"events": "ticket.created"}, {"events"}),
            ({"events": ["ticket.eaten"]}, {"events"}),
            ({"events": [["a"]]}, {"events"}),
            ({"events": None}, {"events"}),
            ({"events": ["x" * 10_000]}, {"events"}),
            ({"events": ["ticket.created"] * 501}, {"events"}),
            ({"events": ["\0", "\ud800"]}, {"events"}),
            ({"is_active": "perhaps"}, {"is_active"}),
            ({"is_active": None}, {"is_active"}),
            ({"name": ""}, {"name"}),
            ({"name": "x" * 101}, {"name"}),
            ({"name": "\ud800"}, {"name"}),
            ({"organization_id": "x" * 201}, {"organization_id"}),
            ({"secret": SECRET}, {"secret"}),
            ({"registration": "registered", "nateq_id": "wh_1"}, {"registration", "nateq_id"}),
        ],
    )
    def test_a_wrong_field_is_named_and_nothing_is_made(self, program: Program, document: Any, names: set[str]) -> None:
        assert set(details(program, "POST", "/webhooks", document)) == names
        assert not Webhook.objects.exists()

    def test_an_event_of_nateqs_catalogue_is_known(self, program: Program) -> None:
        EventType.objects.create(name="ticket.merged")

        assert create(program, {"events": ["ticket.merged"]})["events"] == ["ticket.merged"]

    def test_a_name_is_used_once(self, program: Program) -> None:
        create(program, {"name": "shop"})

        assert set(details(program, "POST", "/webhooks", {"name": "shop"})) == {"name"}

    @pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"])
    def test_a_body_that_is_no_json_object_is_a_400(self, program: Program, body: bytes) -> None:
        for method, path in (("POST", "/webhooks"), ("PATCH", f"/webhooks/{uuid.uuid4()}")):
            program.ask(path, method=method, data=body, content_type="application/json", status=400)


class TestOrganizations:
    def test_a_keys_webhook_is_of_its_organization(self) -> None:
        program = Program(issue("webhooks:manage", organization_id="org_1"))

        assert create(program)["organization_id"] == "org_1"
        assert create(program, {"organization_id": "org_1"})["organization_id"] == "org_1"
        for document in ({"organization_id": "org_2"}, {"organization_id": ""}):
            assert set(details(program, "POST", "/webhooks", document)) == {"organization_id"}

    def test_a_key_learns_nothing_of_another_organizations_webhooks(self, program: Program) -> None:
        theirs = create(program, {"name": "shop", "organization_id": "org_2"})
        mine = Program(issue(organization_id="org_1"))

        for method, path in (("PATCH", ""), ("DELETE", ""), ("POST", "/rotate-secret")):
            assert reason(mine, method, f"/webhooks/{theirs['id']}{path}", 404).startswith("There is no webhook")
        free = details(mine, "POST", "/webhooks", {"name": "free", "url": "https://other.example/"})
        assert details(mine, "POST", "/webhooks", {"name": "shop", "url": theirs["url"]}) == free
        own = create(mine)
        assert set(details(mine, "PATCH", f"/webhooks/{own['id']}", {"organization_id": "org_2"})) == {
            "organization_id"
        }
        assert Webhook.objects.get(name="shop").secret == theirs["secret"]

    def test_a_key_of_all_organizations_chooses(self, program: Program) -> None:
        made = create(program, {"organization_id": "org_9"})

        moved = send(program, "PATCH", f"/webhooks/{made['id']}", {"organization_id": "", "name": "support"})
        assert (moved.json()["data"]["organization_id"], moved.json()["data"]["name"]) == ("", "support")


class TestChange:
    def test_each_field_changes_by_itself(self, program: Program) -> None:
        made = create(program, {"events": ["ticket.created"]})
        path = f"/webhooks/{made['id']}"
        changes: list[dict[str, Any]] = [
            {"is_active": False},
            {"events": []},
            {"name": "shop"},
            {"url": made["url"]},
            {},
        ]
        for change in changes:
            before = program.data(path)
            after = send(program, "PATCH", path, change).json()["data"]
            assert {key: value for key, value in after.items() if key != "modified_at"} == {
                key: value for key, value in (before | change).items() if key != "modified_at"
            }
            assert after == program.data(path)
        assert Webhook.objects.get().secret == made["secret"]

    def test_names_that_it_has_already_stay(self, program: Program) -> None:
        webhook = Webhook.objects.create(name="shop", events=["ticket.merged"])

        send(program, "PATCH", f"/webhooks/{webhook.pk}", {"events": ["ticket.merged", "ticket.created"]})

        webhook.refresh_from_db()
        assert webhook.events == ["ticket.merged", "ticket.created"]

    def test_another_address_or_name_is_refused(self, program: Program) -> None:
        one, other = create(program, {"name": "one"}), create(program, {"name": "other"})

        for change in ({"url": other["url"]}, {"name": "other"}, {"id": other["id"]}):
            assert details(program, "PATCH", f"/webhooks/{one['id']}", {"is_active": False} | change).keys() == {
                *change
            }
        assert program.data(f"/webhooks/{one['id']}")["is_active"] is True

    def test_an_unusable_secret_keeps_nobody_from_changing_the_rest(self, program: Program) -> None:
        webhook = Webhook.objects.create(name="shop", secret="")

        send(program, "PATCH", f"/webhooks/{webhook.pk}", {"is_active": False})

        assert not Webhook.objects.get().is_active


class TestRotation:
    def test_the_former_secret_is_kept_as_the_admin_keeps_it(self, program: Program, webhook: Webhook) -> None:
        rotated = send(program, "POST", f"/webhooks/{webhook.pk}/rotate-secret").json()["data"]

        webhook.refresh_from_db()
        former = Secret.objects.get()
        assert rotated["secret"] == webhook.secret != SECRET
        assert (former.secret, former.is_retiring, former.expires_at) == (SECRET, True, None)
        for secret in (SECRET, rotated["secret"]):
            assert Sender(webhook).post(envelope(delivery_id=secret), secret=secret).status_code == 200

    def test_one_that_was_registered_at_this_moment_is_not_rotated_here_only(
        self, program: Program, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def late(found: Webhook) -> Any:
            Webhook.objects.update(registration=Webhook.Registration.REGISTERED, nateq_id="wh_1")
            return rotate_here(found)

        monkeypatch.setattr("nateq_webhooks.api.webhook_changes.rotate_here", late)

        assert "registered at Nateq" in reason(program, "POST", f"/webhooks/{webhook.pk}/rotate-secret", 409)
        assert Webhook.objects.get().secret == SECRET


class TestDeletion:
    def test_a_webhook_without_deliveries_is_gone(self, program: Program) -> None:
        made = create(program)

        answer = send(program, "DELETE", f"/webhooks/{made['id']}").json()["data"]

        assert answer | {"notice": ""} == {"id": made["id"], "deleted": True, "notice": ""}
        assert "delete it there, too" in answer["notice"]
        program.error(f"/webhooks/{made['id']}", status=404)
        send(program, "DELETE", f"/webhooks/{made['id']}", status=404)

    def test_deliveries_are_kept(self, program: Program, webhook: Webhook) -> None:
        store_deliveries(webhook)

        assert "has deliveries" in reason(program, "DELETE", f"/webhooks/{webhook.pk}", 409)
        assert Delivery.objects.count() == 1


class TestStaff:
    def test_a_user_who_may_not_see_secrets_gets_none(self) -> None:
        program, options = session("add_webhook", "change_webhook")

        made = create(program, **options)

        assert made["secret"] is None
        assert made["secret_id"] == secret_id(Webhook.objects.get())
        send(program, "POST", f"/webhooks/{made['id']}/rotate-secret", status=403, **options)
        allowed, options = session("add_webhook", "reveal_secret")
        assert create(allowed, **options)["secret"].startswith("whsec_")

    @pytest.mark.parametrize(("action", "method"), [("add", "POST"), ("change", "PATCH"), ("delete", "DELETE")])
    def test_what_the_projects_admin_does_not_permit_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, webhook: Webhook, action: str, method: str
    ) -> None:
        own = admin.site.get_model_admin(Webhook)
        monkeypatch.setattr(own, f"has_{action}_permission", lambda *args: False)
        program, options = session("add_webhook", "change_webhook", "delete_webhook")

        path = "/webhooks" if method == "POST" else f"/webhooks/{webhook.pk}"
        assert "does not permit" in reason(program, method, path, 403, **options)
        assert Webhook.objects.count() == 1

    def test_a_user_learns_why_a_webhook_with_deliveries_stays(self, webhook: Webhook) -> None:
        store_deliveries(webhook)
        program, options = session("delete_webhook")

        assert "has deliveries" in reason(program, "DELETE", f"/webhooks/{webhook.pk}", 409, **options)


class TestIdempotency:
    key: Any = {"headers": {"Idempotency-Key": "k"}}

    def test_a_repeated_creation_gets_the_first_answer_and_its_secret(self, program: Program) -> None:
        first = send(program, "POST", "/webhooks", {"name": "shop"}, status=201, **self.key)
        again = send(program, "POST", "/webhooks", {"name": "shop"}, status=201, **self.key)

        assert again.json() == first.json()
        assert again["Idempotency-Replayed"] == "true"
        assert Webhook.objects.count() == 1

    def test_no_kept_answer_has_a_secret_in_it(self, program: Program) -> None:
        made = create(program, **self.key)
        path = f"/webhooks/{made['id']}/rotate-secret"
        rotated = send(program, "POST", path, headers={"Idempotency-Key": "r"}).json()["data"]

        kept = str(list(IdempotentAnswer.objects.values()))
        assert made["secret"] not in kept
        assert rotated["secret"] not in kept
        assert send(program, "POST", path, headers={"Idempotency-Key": "r"}).json()["data"] == rotated
        assert create(program, **self.key) == made | {"secret": None}  # it is the webhook's no more

    def test_the_answer_stays_when_the_webhook_is_gone_or_hidden(self) -> None:
        key = issue("webhooks:manage", name="mine", organization_id="org_1")
        made = create(Program(key), **self.key)
        Webhook.objects.update(organization_id="org_2")
        assert create(Program(key), **self.key) == made | {"secret": None}
        Webhook.objects.all().delete()
        assert create(Program(key), **self.key) == made | {"secret": None}
        assert not Webhook.objects.exists()

    def test_a_change_and_a_deletion_are_done_once(self, program: Program) -> None:
        path = f"/webhooks/{create(program)['id']}"
        for method in ("PATCH", "DELETE"):
            key = {"Idempotency-Key": method}
            first = send(program, method, path, headers=key).json()
            again = send(program, method, path, headers=key)
            assert (again.json(), again["Idempotency-Replayed"]) == (first, "true")
        assert not Webhook.objects.exists()


def test_writes_count_for_the_limit_of_the_key() -> None:
    program = Program(issue(requests_per_minute=2))
    for left in (1, 0):
        assert send(program, "POST", "/webhooks", status=201)["X-RateLimit-Remaining"] == str(left)

    refused = send(program, "POST", "/webhooks", status=429)

    assert 1 <= int(refused["Retry-After"]) <= 60
    assert Webhook.objects.count() == 2


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("nateq_webhooks.api.idempotency.success", "/webhooks"),
        ("nateq_webhooks.api.idempotency.success", "/webhooks/{pk}/rotate-secret"),
        ("nateq_webhooks.api.webhooks.secret_document", "/webhooks"),
        ("nateq_webhooks.api.webhooks.secret_document", "/webhooks/{pk}/rotate-secret"),
        ("nateq_webhooks.api.webhook_changes.invalid", "/webhooks"),
        ("nateq_webhooks.remote.local_webhooks.keep_former", "/webhooks/{pk}/rotate-secret"),
    ],
)
def test_no_report_of_an_error_shows_a_secret(
    program: Program, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, place: str, path: str, debug: bool
) -> None:
    reports: list[str] = []

    def report(*, request: Any, **_: Any) -> None:
        with override_settings(DEBUG=debug):
            reporter = ExceptionReporter(request, *sys.exc_info())
            reports.append(reporter.get_traceback_html() + reporter.get_traceback_text())

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a bug")

    program.raise_request_exception = False
    new = "whsec_" + "90" * 16  # the report has lines of this file, too
    monkeypatch.setattr(Webhook._meta.get_field("secret"), "default", lambda: new)
    monkeypatch.setattr("nateq_webhooks.remote.local_webhooks.generate_secret", lambda: new)
    monkeypatch.setattr(place, fail)
    if place.endswith("invalid"):
        monkeypatch.setattr(Webhook, "save", lambda *args, **kwargs: _clash())
    got_request_exception.connect(report)
    try:
        address = API + path.format(pk=webhook.pk)
        answer = program.generic("POST", address, headers={"Idempotency-Key": "k"})
    finally:
        got_request_exception.disconnect(report)

    assert answer.status_code == 500
    assert len(reports) == 1
    assert "a bug" in reports[0]
    for shown in (reports[0], answer.text):
        assert new not in shown
        assert SECRET not in shown
    assert not IdempotentAnswer.objects.exists()
    assert Webhook.objects.get().secret == SECRET


def _clash() -> None:
    raise IntegrityError("UNIQUE constraint failed")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/webhooks", "/webhooks/{pk}/rotate-secret"])
def test_the_same_request_at_the_same_moment_is_carried_out_once(webhook: Webhook, path: str) -> None:
    key = issue()

    answers = answers_at_once(key, path.format(pk=webhook.pk))

    assert len(answers) == 4
    assert all(answer == answers[0] for answer in answers), answers
    assert answers[0][1]["data"]["secret"].startswith("whsec_")
    assert Webhook.objects.count() + Secret.objects.count() == 2


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [("POST", "/webhooks", 12), ("PATCH", "/{pk}", 14), ("POST", "/{pk}/rotate-secret", 20), ("DELETE", "/{pk}", 18)],
)
def test_a_write_takes_few_statements(program: Program, method: str, path: str, limit: int) -> None:
    found = create(program)
    counts = []
    for rows in (0, 200):
        Webhook.objects.bulk_create(Webhook(name=f"other {rows} {number}") for number in range(rows))
        address = path if path == "/webhooks" else f"/webhooks{path.format(pk=found['id'])}"
        with CaptureQueriesContext(
            connection,
        ) as seen:
            send(program, method, address, status=201 if address == "/webhooks" else 200)
        counts.append(len(seen))
        found = create(program)
    assert counts[0] == counts[1] <= limit, counts


class TestRegistered:
    """A webhook that is registered at Nateq, here the sandbox, changes on both sides or on none."""

    @pytest.fixture
    def sandbox(self, shared_sandbox: SharedSandbox) -> Sandbox:
        return shared_sandbox(key=KEY, rate_limit=1_000_000, seed=7)

    @pytest.fixture
    def nateq(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[NateqClient]:
        with connected(sandbox) as client:
            yield client

    @pytest.fixture
    def registered(self, nateq: NateqClient) -> Webhook:
        return remote.register(nateq, "shop", ["ticket.created"]).webhook

    def test_a_change_is_made_on_both_sides(self, program: Program, registered: Webhook, sandbox: Sandbox) -> None:
        change = {"events": ["lead.created"], "is_active": False, "name": "sales"}
        data = send(program, "PATCH", f"/webhooks/{registered.pk}", change).json()["data"]

        [there] = sandbox.webhooks.all()
        here = Webhook.objects.get()
        assert (there.events, there.is_active) == (("lead.created",), False)
        assert (here.events, here.is_active, here.name) == (["lead.created"], False, "sales")
        assert (data["events"], data["is_active"], data["name"]) == (["lead.created"], False, "sales")
        assert (here.secret, here.claim) == (there.secret, "")

    def test_a_rotation_is_made_on_both_sides(self, program: Program, registered: Webhook, sandbox: Sandbox) -> None:
        former = registered.secret
        path, key = f"/webhooks/{registered.pk}/rotate-secret", {"Idempotency-Key": "k"}
        rotated = send(program, "POST", path, headers=key)

        both_sides_agree(sandbox)
        assert rotated.json()["data"]["secret"] == Webhook.objects.get().secret != former
        assert Secret.objects.get().secret == former
        assert send(program, "POST", path, headers=key).json() == rotated.json()
        assert rotated.json()["data"]["secret"] not in str(list(IdempotentAnswer.objects.values()))
        both_sides_agree(sandbox)

    def test_a_deletion_is_made_on_both_sides(self, program: Program, registered: Webhook, sandbox: Sandbox) -> None:
        data = send(program, "DELETE", f"/webhooks/{registered.pk}").json()["data"]

        assert data == {"id": str(registered.pk), "deleted": True, "notice": None}
        assert sandbox.webhooks.all() == []
        assert not Webhook.objects.exists()

    def test_one_with_deliveries_is_switched_off_here(
        self, program: Program, registered: Webhook, sandbox: Sandbox
    ) -> None:
        store_deliveries(registered)

        data = send(program, "DELETE", f"/webhooks/{registered.pk}").json()["data"]

        assert data == {"id": str(registered.pk), "deleted": False, "notice": None}
        assert sandbox.webhooks.all() == []
        assert not Webhook.objects.get().is_active

    def test_an_interrupted_deletion_is_completed_on_both_sides(
        self, program: Program, registered: Webhook, sandbox: Sandbox
    ) -> None:
        Webhook.objects.update(
            registration=Webhook.Registration.MANUAL, is_active=False
        )  # killed before Nateq's answer

        assert send(program, "DELETE", f"/webhooks/{registered.pk}").json()["data"]["deleted"] is True

        assert sandbox.webhooks.all() == []
        assert not Webhook.objects.exists()

    @pytest.mark.parametrize("fault", [Fault.API_403, Fault.API_401, Fault.API_500])
    @pytest.mark.parametrize(
        ("method", "path", "document"),
        [("PATCH", "", {"is_active": False}), ("POST", "/rotate-secret", None), ("DELETE", "", None)],
    )
    def test_what_nateq_refuses_is_refused_here_and_can_be_sent_again(
        self,
        program: Program,
        registered: Webhook,
        sandbox: Sandbox,
        fault: Fault,
        method: str,
        path: str,
        document: Any,
    ) -> None:
        sandbox.faults.set(fault, rate=1)
        path = f"/webhooks/{registered.pk}{path}"
        key = {"Idempotency-Key": "k"}
        status = 502 if fault is Fault.API_500 else 409
        assert "at Nateq" in reason(program, method, path, status, document=document, headers=key)
        here = Webhook.objects.get()
        assert (here.secret, here.is_active) == (registered.secret, True) == (sandbox.webhooks.all()[0].secret, True)
        assert not IdempotentAnswer.objects.exists()

        sandbox.faults.clear()
        send(program, method, path, document, headers=key)
        if method == "POST":
            both_sides_agree(sandbox)

    @pytest.mark.parametrize(("method", "path"), [("PATCH", ""), ("POST", "/rotate-secret"), ("DELETE", "")])
    def test_without_a_key_for_nateq_it_is_refused_with_the_reason(
        self, program: Program, registered: Webhook, sandbox: Sandbox, method: str, path: str
    ) -> None:
        with override_settings(NATEQ_WEBHOOKS={"PUBLIC_URL": SITE, "BASE_URL": sandbox.base_url}):
            address = f"/webhooks/{registered.pk}{path}"
            assert "API_KEY" in reason(
                program, method, address, 409, document={"is_active": False} if method == "PATCH" else None
            )
        both_sides_agree(sandbox)

    def test_what_another_process_works_on_is_refused(self, program: Program, registered: Webhook) -> None:
        Webhook.objects.update(claim="host/1/x", claimed_until=ago(minutes=-1))

        assert "Another run" in reason(program, "POST", f"/webhooks/{registered.pk}/rotate-secret", 409)

    def test_what_is_only_here_changes_without_nateq(
        self, program: Program, registered: Webhook, sandbox: Sandbox
    ) -> None:
        sandbox.faults.set(Fault.API_500, rate=1)

        send(program, "PATCH", f"/webhooks/{registered.pk}", {"name": "sales", "organization_id": "org_1"})

        assert Webhook.objects.get().name == "sales"

    def test_a_request_that_is_under_way_is_not_carried_out_twice(self, program: Program, registered: Webhook) -> None:
        path, key = f"/webhooks/{registered.pk}/rotate-secret", {"Idempotency-Key": "k"}
        first = send(program, "POST", path, headers=key).json()
        IdempotentAnswer.objects.update(status=0, document=None)  # as while the first one calls Nateq

        assert "under way" in reason(program, "POST", path, 409, headers=key)
        IdempotentAnswer.objects.update(created_at=ago(seconds=UNDER_WAY_FOR.total_seconds() - 60))
        assert "under way" in reason(program, "POST", path, 409, headers=key)
        IdempotentAnswer.objects.update(created_at=ago(seconds=UNDER_WAY_FOR.total_seconds() + 60))
        again = send(program, "POST", path, headers=key).json()

        assert again["data"]["secret"] != first["data"]["secret"]
        assert send(program, "POST", path, headers=key).json() == again

    @pytest.mark.django_db(transaction=True)
    def test_each_step_is_committed_where_requests_are_transactions(
        self, program: Program, registered: Webhook, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

        send(program, "PATCH", f"/webhooks/{registered.pk}", {"is_active": True}, headers={"Idempotency-Key": "a"})
        send(program, "POST", f"/webhooks/{registered.pk}/rotate-secret")
        both_sides_agree(sandbox)
        send(program, "DELETE", f"/webhooks/{registered.pk}", headers={"Idempotency-Key": "c"})
        assert sandbox.webhooks.all() == []

    def test_no_call_to_nateq_is_made_in_a_transaction(
        self, program: Program, registered: Webhook, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In the test's own transaction Django counts one block; each call must find no further one."""
        from nateq_webhooks.client.transport import Transport

        depths = []
        request = Transport.request

        def watched(*args: Any) -> Any:
            depths.append(len(connection.savepoint_ids))
            return request(*args)

        outer = len(connection.savepoint_ids)
        monkeypatch.setattr(Transport, "request", watched)
        send(program, "PATCH", f"/webhooks/{registered.pk}", {"is_active": True}, headers={"Idempotency-Key": "a"})
        send(program, "POST", f"/webhooks/{registered.pk}/rotate-secret", headers={"Idempotency-Key": "b"})
        send(program, "DELETE", f"/webhooks/{registered.pk}", headers={"Idempotency-Key": "c"})

        assert len(depths) >= 3
        assert set(depths) == {outer}


@settings(max_examples=100, deadline=timedelta(seconds=30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.dictionaries(
        st.one_of(st.sampled_from(["url", "events", "is_active", "name", "organization_id"]), st.text(max_size=5)),
        st.recursive(
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(),
                st.floats(),
                st.text(alphabet=st.characters(exclude_categories=()), max_size=20),
                st.sampled_from(["ticket.created", "x" * 10_000, "\0", 2**70]),
            ),
            lambda child: st.one_of(st.lists(child, max_size=3), st.dictionaries(st.text(max_size=3), child)),
            max_leaves=6,
        ),
        max_size=4,
    ),
    method=st.sampled_from(["POST", "PATCH"]),
)
def test_any_document(webhook: Webhook, document: Any, method: str) -> None:
    program = Program(issue(name=f"key {uuid.uuid4()}", requests_per_minute=10_000))
    path = "/webhooks" if method == "POST" else f"/webhooks/{webhook.pk}"
    response = program.generic(method, API + path, json.dumps(document).encode(), content_type="application/json")

    assert response.status_code in (200, 201, 422)
    assert response.json()["success"] is (response.status_code < 300)
