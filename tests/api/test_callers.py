"""Who may ask: keys in every state, from every address; sessions of staff; and what a key of one organization sees."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.test import override_settings
from django.utils import timezone

from nateq_webhooks.models import ApiKey, Delivery, Webhook
from tests.api.conftest import Program, issue, staff
from tests.builders import ago, store_deliveries, store_rejection, store_run
from tests.conftest import envelope
from tests.settings import MIDDLEWARE

pytestmark = [pytest.mark.django_db, pytest.mark.pages]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "MISSING_API_KEY"),
        ("tg_live_0123", "INVALID_AUTH_FORMAT"),
        ("Basic dXNlcjpwYXNz", "INVALID_AUTH_FORMAT"),
        ("Bearer", "INVALID_AUTH_FORMAT"),
        ("Bearer two keys", "INVALID_AUTH_FORMAT"),
        ("Bearer sk_live_0123", "INVALID_API_KEY_FORMAT"),
        ("Bearer tg_live_\u00e9", "INVALID_API_KEY_FORMAT"),
        ("Bearer tg_live_0123", "INVALID_API_KEY"),
        ("Bearer tg_live_" + "0" * 10_000, "INVALID_API_KEY"),
    ],
)
def test_a_key_is_refused_with_nateqs_codes(header: str, code: str) -> None:
    program = Program()

    response = program.ask("/webhooks", status=401, headers={"Authorization": header} if header else None)

    assert response.json()["error"]["code"] == code
    assert response["WWW-Authenticate"] == "Bearer"


def test_a_revoked_key_is_refused_by_the_next_request() -> None:
    program = Program(issue())
    program.ask("/webhooks")

    ApiKey.objects.revoke()

    assert program.error("/webhooks", status=401)["message"] == "The API key is revoked"


def test_an_expired_key_is_refused() -> None:
    assert Program(issue(expires_at=ago(seconds=1))).error("/webhooks", status=401)["code"] == "INVALID_API_KEY"
    Program(issue(expires_at=timezone.now() + timedelta(minutes=1))).ask("/webhooks")


def test_a_key_is_used_from_its_addresses_only() -> None:
    program = Program(issue(allowed_addresses=["192.0.2.0/24"]))

    assert program.error("/webhooks", status=403)["code"] == "IP_NOT_ALLOWED"
    program.ask("/webhooks", REMOTE_ADDR="192.0.2.9")
    forged: Any = {"HTTP_X_FORWARDED_FOR": "192.0.2.9"}
    assert program.error("/webhooks", status=403, **forged)["message"].endswith("from 127.0.0.1")
    with override_settings(NATEQ_WEBHOOKS={"TRUSTED_PROXIES": 1}):
        program.ask("/webhooks", **forged)


def test_its_last_use_is_noted() -> None:
    Program(issue()).ask("/webhooks")

    assert ApiKey.objects.get().last_used_at is not None


def test_a_key_without_the_scope_is_told_which() -> None:
    error = Program(issue("webhooks:read", "payloads:read")).error("/deliveries", status=403)

    assert error["code"] == "INSUFFICIENT_SCOPE"
    assert error["details"] == {"required": ["deliveries:read"], "granted": ["payloads:read", "webhooks:read"]}


def test_a_key_in_the_header_counts_more_than_a_session() -> None:
    program = staff("view_webhook")

    program.ask("/webhooks")
    assert program.error("/webhooks", status=401, headers={"Authorization": "Bearer x"})["code"]


class TestStaff:
    def test_needs_the_permission_of_the_model(self) -> None:
        assert staff("view_delivery").error("/webhooks", status=403)["details"] == {
            "required": ["view_webhook or change_webhook"]
        }
        staff("change_webhook").ask("/webhooks")

    def test_who_is_no_staff_is_refused(self) -> None:
        program = staff("view_webhook", is_staff=False)

        assert program.error("/webhooks", status=403)["code"] == "INSUFFICIENT_PERMISSION"

    def test_a_changing_request_needs_a_csrf_token(self) -> None:
        program = staff("view_webhook")

        assert "CSRF" in program.error("/webhooks", method="POST", status=403)["message"]
        program.cookies["csrftoken"] = token = "a" * 32
        program.error("/webhooks/events", method="POST", status=405, headers={"X-CSRFToken": token})

    def test_what_customers_wrote_needs_its_permission(self, webhook: Webhook) -> None:
        [delivery] = store_deliveries(webhook, headers={"X-Note": "hi"}, payload={"data": 1})

        hidden = staff("view_delivery").data(f"/deliveries/{delivery.pk}")
        seen = staff("view_delivery", "view_payload").data(f"/deliveries/{delivery.pk}")

        assert (hidden["headers"], hidden["payload"]) == ({"X-Note": None}, None)
        assert (seen["headers"], seen["payload"]) == ({"X-Note": "[redacted]"}, {"data": 1})

    @pytest.fixture
    def hiding(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """The project's admin hides the deliveries of org_2."""
        own = admin.site.get_model_admin(Delivery)
        rows = Delivery.objects.exclude(organization_id="org_2")
        monkeypatch.setattr(own, "get_queryset", lambda request: rows)

    def test_rows_that_the_projects_admin_hides_are_hidden(self, webhook: Webhook, hiding: Any) -> None:
        seen, hidden = (store_deliveries(webhook, organization_id=org)[0] for org in ("org_1", "org_2"))
        store_run(hidden)
        program = staff("view_delivery", "view_run", "view_webhook")

        assert [row["id"] for row in program.data("/deliveries")] == [seen.pk]
        assert [row["id"] for row in program.data("/deliveries", {"status": "processed"})] == [seen.pk]
        assert [row["id"] for row in program.data(f"/webhooks/{webhook.pk}/logs")] == [str(seen.pk)]
        program.error(f"/deliveries/{hidden.pk}", status=404)
        program.error(f"/deliveries/{hidden.pk}/runs", status=404)
        assert "hidden from you" in program.error("/status", status=403)["message"]

    def test_an_admin_that_decides_row_by_row_leaves_nothing_to_see(self, monkeypatch: pytest.MonkeyPatch) -> None:
        own = type(admin.site.get_model_admin(Delivery))
        monkeypatch.setattr(own, "has_view_permission", lambda *_args: True)

        assert "row by row" in staff("view_delivery").error("/deliveries", status=403)["message"]


class TestOneOrganization:
    @pytest.fixture
    def ours(self, db: None) -> Webhook:
        return Webhook.objects.create(name="ours", organization_id="org_1")

    @pytest.fixture
    def theirs(self, db: None) -> Webhook:
        return Webhook.objects.create(name="theirs", organization_id="org_2")

    @pytest.fixture
    def program(self, db: None) -> Program:
        return Program(issue(organization_id="org_1"))

    def test_lists_have_nothing_of_another_organization(self, program: Program, ours: Webhook, theirs: Webhook) -> None:
        [mine], [other] = (store_deliveries(one, organization_id=one.organization_id) for one in (ours, theirs))
        store_run(mine)
        rejection = store_rejection(ours)
        store_rejection(theirs)

        assert [row["id"] for row in program.data("/webhooks")] == [str(ours.pk)]
        assert program.ask("/webhooks").json()["meta"]["total"] == 1
        for query in ({}, {"status": "processed"}, {"organization": "org_1"}, {"resource": "tkt_1"}):
            assert [row["id"] for row in program.data("/deliveries", query)] == [mine.pk]
        for query in ({"organization": "org_2"}, {"webhook": str(theirs.pk)}):
            assert program.data("/deliveries", query) == []
        assert [row["id"] for row in program.data("/rejections")] == [rejection.pk]
        assert program.data("/rejections", {"webhook": str(theirs.pk)}) == []
        assert [row["id"] for row in program.data(f"/webhooks/{ours.pk}/logs")] == [str(mine.pk)]
        assert other.pk not in [row["id"] for row in program.data("/deliveries")]

    def test_what_belongs_to_another_is_not_found_like_what_does_not_exist(
        self, program: Program, theirs: Webhook
    ) -> None:
        [other] = store_deliveries(theirs, organization_id="org_2")
        missing = other.pk + 1

        for path in ("", "/body", "/runs"):
            refused = program.error(f"/deliveries/{other.pk}{path}", status=404)
            absent = program.error(f"/deliveries/{missing}{path}", status=404)
            assert refused == {**absent, "message": absent["message"].replace(str(missing), str(other.pk))}
        for path in ("", "/logs"):
            program.error(f"/webhooks/{theirs.pk}{path}", status=404)

    def test_a_webhook_of_several_organizations_is_not_named(self, program: Program, webhook: Webhook) -> None:
        [mine] = store_deliveries(webhook)

        assert program.data(f"/deliveries/{mine.pk}")["webhook_id"] is None
        assert [row["webhook_id"] for row in program.data("/deliveries")] == [None]
        assert program.data("/webhooks") == []

    def test_figures_over_all_organizations_are_refused(self, program: Program) -> None:
        for path in ("/receivers", "/status"):
            assert program.error(path, status=403)["code"] == "INSUFFICIENT_PERMISSION"

    def test_the_cause_of_a_refusal_does_not_name_another_webhook(self, program: Program, ours: Webhook) -> None:
        hint = '{"code": "other_webhook", "details": {"webhook": "theirs"}}'
        store_rejection(ours, hint=hint)

        [mine] = program.data("/rejections")
        [whole] = Program(issue()).data("/rejections")

        assert (mine["likely_cause"], mine["details"]) == ("other_webhook", {})
        assert whole["details"] == {"webhook": "theirs"}


def test_a_key_that_sees_no_payloads_gets_neither_headers_nor_errors_nor_the_body(sender: Any) -> None:
    sender.post(envelope(), headers={"User-Agent": "Nateq", "Cookie": "a=b"})
    delivery = Delivery.objects.get()
    store_run(delivery, error="no such customer")
    without, having = Program(issue("deliveries:read")), Program(issue("deliveries:read", "payloads:read"))

    assert set(without.data(f"/deliveries/{delivery.pk}")["headers"].values()) == {None}
    assert without.data(f"/deliveries/{delivery.pk}")["payload"] is None
    assert without.data(f"/deliveries/{delivery.pk}/runs")[0]["error"] is None
    without.error(f"/deliveries/{delivery.pk}/body", status=403)
    shown = having.data(f"/deliveries/{delivery.pk}")
    assert (shown["headers"]["User-Agent"], shown["headers"]["Cookie"]) == ("Nateq", "[redacted]")
    assert shown["payload"]["data"]["id"] == "tkt_1"
    assert having.data(f"/deliveries/{delivery.pk}/runs")[0]["error"] == "no such customer"
    body = having.ask(f"/deliveries/{delivery.pk}/body")
    assert body.content == bytes(delivery.body)
    assert body["Content-Disposition"] == f'attachment; filename="delivery-{delivery.pk}.json"'
    assert body["Content-Type"] == "application/octet-stream"
    assert body["X-Content-Type-Options"] == "nosniff"


def test_a_site_without_sessions_takes_keys(db: None) -> None:
    kept = [name for name in MIDDLEWARE if not any(part in name for part in ("sessions", "auth", "messages"))]
    with override_settings(MIDDLEWARE=kept):
        Program(issue()).ask("/webhooks")
        Program().error("/webhooks", status=401)


def test_no_answer_has_a_signing_secret(program: Program, webhook: Webhook) -> None:
    paths = ("/webhooks", f"/webhooks/{webhook.pk}")

    assert webhook.secret not in "".join(program.ask(path).content.decode() for path in paths)
