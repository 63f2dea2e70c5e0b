"""What the API changes: replays, pauses, and requests that come twice."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nateq_webhooks import dispatch
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Replay, Run, Webhook
from nateq_webhooks.models.idempotent_answer import KEPT_FOR, IdempotentAnswer
from nateq_webhooks.signals import ticket_created
from tests.api.conftest import API, Program, answers_at_once, issue, staff
from tests.builders import store_deliveries, store_run
from tests.conftest import Connect

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _receivers(connect: Connect) -> Any:
    for name in ("shop.crm", "shop.mail"):
        connect(ticket_created, lambda **kwargs: None, name)
    with override_settings(NATEQ_WEBHOOKS={"DISPATCH": "worker"}):
        yield


@pytest.fixture
def delivery(webhook: Webhook) -> Delivery:
    """A delivery that one receiver has processed and that another one has given up."""
    [delivery] = store_deliveries(webhook, status="dead")
    store_run(delivery, "shop.crm")
    store_run(delivery, "shop.mail", status="dead")
    return delivery


def post(program: Program, path: str, document: Any = None, **options: Any) -> Any:
    body = b"" if document is None else json.dumps(document).encode()
    return program.ask(path, method="POST", data=body, content_type="application/json", **options)


def details(program: Program, path: str, document: Any, status: int = 422, **options: Any) -> Any:
    return post(program, path, document, status=status, **options).json()["error"].get("details")


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (None, ["shop.crm", "shop.mail"]),
        ({"failed_only": True}, ["shop.mail"]),
        ({"receivers": ["shop.crm"], "reason": "CRM was down"}, ["shop.crm"]),
    ],
)
def test_a_delivery_runs_again(program: Program, delivery: Delivery, body: Any, names: list[str]) -> None:
    data = post(program, f"/deliveries/{delivery.pk}/replay", body, status=202).json()["data"]

    replay = Replay.objects.get()
    assert (data["id"], data["runs"], data["receivers"]) == (replay.pk, len(names), names)
    assert (replay.by, replay.reason) == ("API key key 0", (body or {}).get("reason", ""))
    assert sorted(Run.objects.filter(round=replay.pk).values_list("receiver", flat=True)) == names


@pytest.mark.parametrize("is_atomic", [False, True], ids=["", "ATOMIC_REQUESTS"])
@pytest.mark.django_db(transaction=True)
def test_without_a_worker_the_request_runs_the_receivers_and_a_repetition_runs_none(
    program: Program, delivery: Delivery, connect: Connect, monkeypatch: pytest.MonkeyPatch, is_atomic: bool
) -> None:
    """As the admin's "Run again" does; what failed is tried again when a client asks how far the replay is."""
    calls: list[str] = []
    connect(ticket_created, lambda **kwargs: calls.append("bill"), "shop.bill")
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", is_atomic)
    with override_settings(NATEQ_WEBHOOKS={"DISPATCH": "inline"}):
        answers = [
            post(program, f"/deliveries/{delivery.pk}/replay", {}, status=202, headers={"Idempotency-Key": "k"}).json()
            for _ in range(2)
        ]

    assert calls == ["bill"]
    assert answers[0] == answers[1]
    assert (answers[0]["data"]["runs"], answers[0]["data"]["needs_worker"]) == (3, False)
    assert set(Run.objects.filter(round=answers[0]["data"]["id"]).values_list("status", flat=True)) == {"succeeded"}
    delivery.refresh_from_db()
    assert delivery.status == "processed"


@pytest.mark.parametrize(("runs_a_worker", "needs_worker"), [(False, True), (True, False)])
def test_a_replay_that_nobody_runs_is_told_to_need_a_worker(
    program: Program, delivery: Delivery, runs_a_worker: bool, needs_worker: bool
) -> None:
    if runs_a_worker:
        api.Maintenance("default").heartbeat()

    data = post(program, f"/deliveries/{delivery.pk}/replay", {}, status=202).json()["data"]

    assert data["needs_worker"] is needs_worker
    assert program.data(f"/replays/{data['id']}")["needs_worker"] is needs_worker
    assert set(Run.objects.filter(round=data["id"]).values_list("status", flat=True)) == {"waiting"}


@pytest.mark.parametrize("runs_a_worker", [False, True])
def test_the_end_of_a_pause_starts_what_nobody_else_would(
    program: Program, delivery: Delivery, runs_a_worker: bool
) -> None:
    dispatch.pause(receiver="shop.mail")
    dispatch.replay([delivery.pk], ["shop.mail"])
    if runs_a_worker:
        api.Maintenance("default").heartbeat()

    with override_settings(NATEQ_WEBHOOKS={"DISPATCH": "inline"}):
        document = post(program, "/receivers/shop.mail/resume", {}).json()["data"]

    assert document["pauses"] == []
    assert Run.objects.latest("pk").status == ("waiting" if runs_a_worker else "succeeded")


def test_a_staff_users_name_is_kept_with_the_replay(delivery: Delivery) -> None:
    program = staff("view_delivery", "replay_delivery", name="sara")
    program.cookies["csrftoken"] = token = "a" * 32

    assert post(program, f"/deliveries/{delivery.pk}/replay", status=403).json()["error"]["message"].startswith("CSRF")
    post(program, f"/deliveries/{delivery.pk}/replay", status=202, headers={"X-CSRFToken": token})
    form = {"receivers": "shop.crm", "csrfmiddlewaretoken": token}
    refused = program.post(f"{API}/deliveries/{delivery.pk}/replay", form)

    assert Replay.objects.get().by == "sara"
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"receivers": []}, {"receivers"}),
        ({"receivers": "shop.crm"}, {"receivers"}),
        ({"receivers": ["shop.gone"]}, {"receivers"}),
        ({"receivers": [{"a": 1}]}, {"receivers"}),
        ({"receivers": ["\0", "\ud800"]}, {"receivers"}),
        ({"receivers": ["shop.crm"], "failed_only": True}, {"failed_only"}),
        ({"failed_only": "perhaps"}, {"failed_only"}),
        ({"failed_only": "true"}, {"failed_only"}),
        ({"failed_only": 1}, {"failed_only"}),
        ({"reason": 5}, {"reason"}),
        ({"receivers": [5]}, {"receivers"}),
        ({"reason": "x" * 501}, {"reason"}),
        ({"reason": ["a"]}, {"reason"}),
        ({"which": "all", "reason": "\0"}, {"which", "reason"}),
    ],
)
def test_a_wrong_field_is_named_and_nothing_runs(
    program: Program, delivery: Delivery, body: Any, names: set[str]
) -> None:
    assert set(details(program, f"/deliveries/{delivery.pk}/replay", body)) == names
    assert not Replay.objects.exists()


def test_what_can_not_run_is_said(program: Program, webhook: Webhook) -> None:
    [invalid, fine] = (store_deliveries(webhook, status=status)[0] for status in ("invalid", "processed"))

    assert "receivers" in details(program, f"/deliveries/{invalid.pk}/replay", {})
    assert "receivers" in details(program, f"/deliveries/{fine.pk}/replay", {"failed_only": True})


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b'"a"', b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}", b"a=1"]
)
def test_a_body_that_is_no_json_object_is_a_400(program: Program, delivery: Delivery, body: bytes) -> None:
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        response = program.ask(
            f"/deliveries/{delivery.pk}/replay", method="POST", data=body, content_type=content_type, status=400
        )
        assert response.json()["error"]["message"].startswith("The body can't be read")


def test_a_body_that_is_too_large_is_a_413(program: Program, delivery: Delivery) -> None:
    body = b'{"reason": "' + b"x" * 3_000_000 + b'"}'
    program.ask(
        f"/deliveries/{delivery.pk}/replay", method="POST", data=body, content_type="application/json", status=413
    )


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=80),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
            lambda child: st.one_of(
                st.lists(child, max_size=3),
                st.dictionaries(st.one_of(st.sampled_from(["receivers", "failed_only", "reason"]), st.text()), child),
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ),
    path=st.sampled_from(["/deliveries/{pk}/replay", "/receivers/shop.crm/pause", "/receivers/shop.crm/resume"]),
    key=st.one_of(st.none(), st.text(alphabet=st.characters(max_codepoint=255), max_size=250)),
)
def test_any_body_and_any_idempotency_key(delivery: Delivery, body: bytes, path: str, key: str | None) -> None:
    program = Program(issue(name=f"key {issue_number()}", requests_per_minute=10_000))
    headers = {} if key is None else {"Idempotency-Key": key}
    response = program.generic(
        "POST", API + path.format(pk=delivery.pk), body, content_type="application/json", headers=headers
    )

    assert response.status_code in (200, 202, 400, 422)
    assert response.json()["success"] is (response.status_code < 300)


def issue_number() -> int:
    _numbers.append(1)
    return len(_numbers)


_numbers: list[int] = []


class TestPause:
    def test_a_receiver_pauses_and_resumes(self, program: Program) -> None:
        paused = post(program, "/receivers/shop.crm/pause", {"reason": "CRM is down"}).json()["data"]

        [hold] = api.paused()
        assert (hold.scope, hold.reason, hold.paused_by) == ("receiver:shop.crm", "CRM is down", "API key key 0")
        assert [pause["reason"] for pause in paused["pauses"]] == ["CRM is down"]
        [listed, other] = program.data("/receivers")
        assert (listed["name"], listed["pauses"], other["pauses"]) == ("shop.crm", paused["pauses"], [])
        assert program.data("/status")["needs_attention"] == ["paused"]
        assert post(program, "/receivers/shop.crm/resume").json()["data"]["pauses"] == []
        assert api.paused() == []

    def test_a_secret_that_can_not_be_read_needs_attention(
        self, program: Program, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("NATEQ_TEST_SECRET", raising=False)
        Webhook.objects.filter(pk=webhook.pk).update(secret="env:NATEQ_TEST_SECRET")

        answer = program.data("/status")

        assert answer["needs_attention"] == ["unreadable_secret"]
        assert "unreadable_secrets" not in answer  # the names of webhooks

    def test_a_pause_of_everything_is_shown_with_each_receiver(self, program: Program) -> None:
        dispatch.pause(reason="Deployment")

        assert {pause["of_receiver"] for row in program.data("/receivers") for pause in row["pauses"]} == {False}

    @pytest.mark.parametrize("name", ["shop.gone", "%00", "x" * 5000, "%ED%A0%80"])
    def test_an_unknown_receiver_is_404(self, program: Program, name: str) -> None:
        for action in ("pause", "resume"):
            program.error(f"/receivers/{name}/{action}", method="POST", status=404)

    def test_unknown_fields_are_named(self, program: Program) -> None:
        assert set(details(program, "/receivers/shop.crm/pause", {"until": "tomorrow"})) == {"until"}
        assert set(details(program, "/receivers/shop.crm/resume", {"reason": "x"})) == {"reason"}


class TestIdempotency:
    def path(self, delivery: Delivery) -> str:
        return f"/deliveries/{delivery.pk}/replay"

    def test_a_repeated_request_gets_the_first_answer_and_runs_nothing(
        self, program: Program, delivery: Delivery
    ) -> None:
        first = post(program, self.path(delivery), {"reason": "a"}, status=202, headers={"Idempotency-Key": "k"})
        again = post(program, self.path(delivery), {"reason": "a"}, status=202, headers={"Idempotency-Key": "k"})

        assert again.json() == first.json()
        assert (first.headers.get("Idempotency-Replayed"), again["Idempotency-Replayed"]) == (None, "true")
        assert Replay.objects.count() == 1

    def test_a_key_means_one_request_of_one_caller(self, program: Program, delivery: Delivery) -> None:
        key = {"Idempotency-Key": "k"}
        post(program, self.path(delivery), {"reason": "a"}, status=202, headers=key)

        assert details(program, self.path(delivery), {"reason": "b"}, headers=key) == {
            "Idempotency-Key": "was used for another request."
        }
        post(Program(issue(name="another")), self.path(delivery), {"reason": "b"}, status=202, headers=key)
        assert Replay.objects.count() == 2

    @pytest.mark.parametrize("key", ["", "x" * 201, "\u00e9", "a\tb"])
    def test_a_key_that_is_none_is_named(self, program: Program, delivery: Delivery, key: str) -> None:
        assert set(details(program, self.path(delivery), {}, headers={"Idempotency-Key": key})) == {"Idempotency-Key"}

    def test_a_refused_request_keeps_nothing(self, program: Program, delivery: Delivery) -> None:
        key = {"Idempotency-Key": "k"}

        details(program, self.path(delivery), {"receivers": ["shop.gone"]}, headers=key)
        post(program, self.path(delivery), {"receivers": ["shop.crm"]}, status=202, headers=key)

    def test_an_answer_is_kept_for_a_day(self, program: Program, delivery: Delivery) -> None:
        key = {"Idempotency-Key": "k"}
        post(program, self.path(delivery), {}, status=202, headers=key)
        row = IdempotentAnswer.objects.get()
        IdempotentAnswer.objects.update(created_at=row.created_at - KEPT_FOR + timedelta(minutes=1))
        post(program, self.path(delivery), {}, status=202, headers=key)
        assert Replay.objects.count() == 1
        IdempotentAnswer.objects.update(created_at=row.created_at - KEPT_FOR)

        post(program, self.path(delivery), {}, status=202, headers=key)

        assert Replay.objects.count() == 2
        assert IdempotentAnswer.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_request_at_the_same_moment_is_carried_out_once(delivery: Delivery) -> None:
    key = issue()

    answers = answers_at_once(key, f"/deliveries/{delivery.pk}/replay")

    assert Replay.objects.count() == 1
    assert len(answers) == 4
    assert all(answer == answers[0] for answer in answers), answers
