"""The replay of many deliveries as a job: what it selects, how a client sees its end, and who sees it."""

import json
import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nateq_webhooks import dispatch
from nateq_webhooks.api import replays
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.replay_batches import BATCH_SIZE
from nateq_webhooks.dispatch.replays import advance, request_replay
from nateq_webhooks.models import Delivery, Replay, Run, Webhook
from nateq_webhooks.models.hold import Heartbeat
from nateq_webhooks.models.replay import ReplayedRun
from nateq_webhooks.signals import ticket_closed, ticket_created
from tests.api.conftest import API, Program, answers_at_once, issue, staff
from tests.builders import ago, build_run, store_deliveries, store_run
from tests.conftest import Connect

pytestmark = pytest.mark.django_db

RECEIVERS = ("shop.crm", "shop.mail")
TOKEN = "a" * 32


class RunsElsewhere:
    """A runner that stands for a broker with a worker: it executes what it is notified of."""

    hold = timedelta()
    runs_elsewhere = True

    def wake(self, due: dispatch.Due) -> None:
        api.run_delivery(due.pk, alias=due.alias)


ELSEWHERE = f"{__name__}.RunsElsewhere"


@pytest.fixture(autouse=True)
def _receivers(connect: Connect) -> Any:
    for name in RECEIVERS:
        connect(ticket_created, lambda **kwargs: None, name)
        connect(ticket_closed, lambda **kwargs: None, f"{name}.closed")
    with override_settings(NATEQ_WEBHOOKS={"DISPATCH": "worker"}):
        yield


def post(program: Program, document: Any = None, path: str = "/replays", status: int = 202, **options: Any) -> Any:
    body = b"" if document is None else json.dumps(document).encode()
    response = program.ask(path, method="POST", data=body, content_type="application/json", status=status, **options)
    return response.json().get("data") or response.json()["error"]


def details(program: Program, document: Any) -> Any:
    return post(program, document, status=422)["details"]


def finish(replay: int) -> None:
    """Create all runs of a job, as a worker's maintenance does it."""
    row = Replay.objects.get(pk=replay)
    while advance("default", row):
        pass


def replayed(job: Any) -> set[Any]:
    """Return which deliveries were replayed by which receivers."""
    return set(ReplayedRun.objects.filter(replay=job["id"]).values_list("run__delivery", "run__receiver"))


class TestSelection:
    @pytest.fixture
    def stored(self, webhook: Webhook) -> dict[str, Delivery]:
        other = Webhook.objects.create(name="other")
        rows: dict[str, dict[str, Any]] = {
            "dead": {"status": "dead"},
            "old": {"received_at": ago(days=2)},
            "tkt_9": {"resource_id": "tkt_9"},
            "org_2": {"organization_id": "org_2"},
            "closed": {"event": "ticket.closed"},
        }
        found = {name: store_deliveries(webhook, **columns)[0] for name, columns in rows.items()}
        return found | {"other": store_deliveries(other)[0]}

    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            ({"status": "dead"}, {"dead"}),
            ({"event": "ticket.closed"}, {"closed"}),
            ({"resource": "tkt_9"}, {"tkt_9"}),
            ({"organization": "org_2"}, {"org_2"}),
            ({"since": "2 days"}, {"dead", "tkt_9", "org_2", "closed", "other"}),
            ({"until": "2 days"}, {"old"}),
            ({"webhook": "other"}, {"other"}),
            ({"status": "dead", "resource": "tkt_9"}, set()),
            ({"all": True}, {"dead", "old", "tkt_9", "org_2", "closed", "other"}),
        ],
    )
    def test_each_filter_selects_what_the_list_shows(
        self, program: Program, stored: dict[str, Delivery], filters: dict[str, Any], names: set[str]
    ) -> None:
        if "webhook" in filters:
            filters = {"webhook": str(stored["other"].webhook_id)}
        query = {key: ago(days=1).isoformat() if value == "2 days" else value for key, value in filters.items()}
        job = post(program, query | {"reason": "CRM was down"})
        store_deliveries(stored["dead"].webhook, status="dead")  # later: it is not replayed

        listed = {row["id"] for row in program.data("/deliveries", {} if "all" in query else query)}

        finish(job["id"])

        assert {pk for pk, _receiver in replayed(job)} == {stored[name].pk for name in names}
        assert {stored[name].pk for name in names} <= listed
        assert (job["state"], job["by"], job["reason"]) == ("creating", "API key key 0", "CRM was down")
        assert set(job["filters"]) == set(query) - {"all"}

    def test_named_receivers_run(self, program: Program, stored: dict[str, Delivery]) -> None:
        job = post(program, {"status": "dead", "receivers": ["shop.mail"]})
        finish(job["id"])

        assert replayed(job) == {(stored["dead"].pk, "shop.mail")}
        assert program.data(f"/replays/{job['id']}")["receivers"] == ["shop.mail"]

    def test_failed_only_decides_for_each_delivery(self, program: Program, webhook: Webhook) -> None:
        one, fine, mended = store_deliveries(webhook, 3)
        store_run(one, "shop.crm")
        store_run(one, "shop.mail", status="dead")
        store_run(one, "shop.gone", status="dead")
        store_run(fine, "shop.crm")
        store_run(mended, "shop.mail", status="dead")
        store_run(mended, "shop.mail", round=7)

        job = post(program, {"event": "ticket.created", "failed_only": True})
        finish(job["id"])

        assert replayed(job) == {(one.pk, "shop.mail")}
        shown = program.data(f"/replays/{job['id']}")
        assert (shown["failed_only"], shown["deliveries"], shown["runs"]) == (True, 1, 1)

    def test_a_run_that_waits_for_its_next_try_is_brought_forward(self, program: Program, webhook: Webhook) -> None:
        [delivery] = store_deliveries(webhook)
        run = store_run(delivery, "shop.mail", status="failed")

        job = post(program, {"all": True, "failed_only": True})
        finish(job["id"])

        run.refresh_from_db()
        assert run.next_try_at is not None
        assert run.next_try_at <= timezone.now()
        shown = program.data(f"/replays/{job['id']}")
        assert (shown["runs"], shown["brought_forward"], shown["left"]) == (0, 1, 1)

    @pytest.mark.parametrize(
        ("document", "names"),
        [
            ({}, {"all"}),
            ({"all": False}, {"all"}),
            ({"failed_only": True}, {"all"}),
            ({"receivers": ["shop.crm"]}, {"all"}),
            ({"all": True, "status": "dead"}, {"all"}),
            ({"all": "perhaps"}, {"all"}),
            ({"all": True, "receivers": ["shop.gone"]}, {"receivers"}),
            ({"all": True, "receivers": []}, {"receivers"}),
            ({"all": True, "receivers": "shop.crm"}, {"receivers"}),
            ({"all": True, "receivers": ["shop.crm"], "failed_only": True}, {"failed_only"}),
            ({"status": "deleted"}, {"status"}),
            ({"webhook": "1"}, {"webhook"}),
            ({"webhook": "00000000-0000-0000-0000-000000000000"}, {"webhook"}),
            ({"since": "yesterday"}, {"since"}),
            ({"until": 2**70}, {"until"}),
            ({"event": "\0"}, {"event"}),
            ({"event": "\ud800"}, {"event"}),
            ({"resource": "x" * 10_000}, {"resource"}),
            ({"all": True, "reason": "x" * 501}, {"reason"}),
            ({"deliveries": [1], "limit": 5}, {"deliveries", "limit"}),
        ],
    )
    def test_a_wrong_field_is_named_and_nothing_runs(self, program: Program, document: Any, names: set[str]) -> None:
        assert set(details(program, document)) == names
        assert not Replay.objects.exists()


class TestProgress:
    pytestmark = pytest.mark.django_db(transaction=True)

    @pytest.mark.parametrize("mode", ["inline", ELSEWHERE])
    def test_a_client_that_only_polls_sees_the_end(self, program: Program, webhook: Webhook, mode: str) -> None:
        stored = store_deliveries(webhook, 130)
        with override_settings(NATEQ_WEBHOOKS={"DISPATCH": mode}):
            job = post(program, {"all": True})
            seen: list[Any] = []
            while not seen or seen[-1]["state"] != "done":
                assert len(seen) < 100, seen[-1]
                seen.append(program.data(f"/replays/{job['id']}"))

        assert not any(each["needs_worker"] for each in (job, *seen))
        assert [each["percent"] for each in seen] == sorted(each["percent"] for each in seen)
        end = {"percent": 100, "deliveries": 130, "runs": 260, "succeeded": 260, "failed": 0, "left": 0}
        assert seen[-1] | end == seen[-1]
        assert replayed(job) == {(each.pk, name) for each in stored for name in RECEIVERS}

    def test_a_worker_does_it_where_one_runs(self, program: Program, webhook: Webhook) -> None:
        store_deliveries(webhook, 3)
        job = post(program, {"all": True})
        assert job["needs_worker"] is True

        maintenance = api.Maintenance("default")
        maintenance.heartbeat()
        with_worker = program.data(f"/replays/{job['id']}")
        assert (with_worker["state"], with_worker["needs_worker"]) == ("creating", False)  # left to the worker
        maintenance.run_once()
        assert program.data(f"/replays/{job['id']}")["state"] == "running"
        while api.run_due():
            pass

        end = program.data(f"/replays/{job['id']}")
        assert (end["state"], end["percent"], end["succeeded"]) == ("done", 100, 6)
        assert Heartbeat.objects.exists()

    def test_without_a_worker_it_says_that_one_is_missing(self, program: Program, webhook: Webhook) -> None:
        store_deliveries(webhook, 3)
        job = post(program, {"all": True})

        shown = program.data(f"/replays/{job['id']}")

        assert (shown["state"], shown["left"], shown["needs_worker"]) == ("running", 6, True)
        assert program.data(f"/replays/{job['id']}") == shown  # nothing runs in the request with this setting

    def test_a_pause_of_everything_holds_it(self, program: Program, webhook: Webhook) -> None:
        store_deliveries(webhook)
        dispatch.pause(reason="Deployment")
        with override_settings(NATEQ_WEBHOOKS={"DISPATCH": "inline"}):
            job = post(program, {"all": True})
            assert program.data(f"/replays/{job['id']}")["state"] == "creating"
            dispatch.resume()
            program.data(f"/replays/{job['id']}")
            assert program.data(f"/replays/{job['id']}")["state"] == "done"

    def test_a_receiver_that_runs_in_the_request_has_the_sites_language(
        self, program: Program, webhook: Webhook, connect: Connect
    ) -> None:
        languages: list[str | None] = []
        connect(ticket_created, lambda **kwargs: languages.append(translation.get_language()), "shop.language")
        store_deliveries(webhook)
        with override_settings(NATEQ_WEBHOOKS={"DISPATCH": "inline"}, LANGUAGE_CODE="ar"):
            job = post(program, {"all": True, "receivers": ["shop.language"]})
            program.data(f"/replays/{job['id']}")

        assert languages == ["ar"]

    def test_a_job_without_deliveries_is_done(self, program: Program) -> None:
        job = post(program, {"status": "dead"})

        assert (job["state"], job["percent"], job["needs_worker"]) == ("done", 100, False)

    def test_clients_that_poll_at_once_create_each_run_once(self, webhook: Webhook) -> None:
        store_deliveries(webhook, BATCH_SIZE // 10 + 5)
        key = issue()
        with override_settings(NATEQ_WEBHOOKS={"DISPATCH": "inline"}):
            job = post(Program(key), {"all": True})
            answers: list[int] = []

            def poll() -> None:
                try:
                    for _ in range(5):
                        answers.append(Program(key).get(f"{API}/replays/{job['id']}").status_code)
                finally:
                    connection.close()

            threads = [threading.Thread(target=poll) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert answers == [200] * 15
        assert Replay.objects.get().runs == len(replayed(job)) == 2 * (BATCH_SIZE // 10 + 5)


class TestCancellation:
    def test_no_more_runs_are_created(self, program: Program, webhook: Webhook) -> None:
        store_deliveries(webhook, 3)
        job = post(program, {"all": True})

        cancelled = post(program, path=f"/replays/{job['id']}/cancel", status=200)

        assert (cancelled["state"], cancelled["percent"]) == ("cancelled", 100)
        assert post(program, path=f"/replays/{job['id']}/cancel", status=200) == cancelled
        finish(job["id"])
        assert program.data(f"/replays/{job['id']}")["state"] == "cancelled"
        assert not replayed(job)

    def test_one_whose_runs_are_created_stays(self, program: Program, webhook: Webhook) -> None:
        store_deliveries(webhook)
        job = post(program, {"all": True})
        finish(job["id"])

        assert "created already" in post(program, path=f"/replays/{job['id']}/cancel", status=409)["message"]
        assert not Replay.objects.get().is_cancelled
        assert len(replayed(job)) == 2

    @pytest.mark.parametrize("text", ["0", "x", "%00", str(2**63), "9" * 5000, "%ED%A0%80", "-1"])
    def test_an_unknown_one_is_404(self, program: Program, text: str) -> None:
        program.error(f"/replays/{text}", status=404)
        program.error(f"/replays/{text}/cancel", method="POST", status=404)


class TestOrganizations:
    def test_a_key_replays_its_own_deliveries_only(self, webhook: Webhook) -> None:
        [mine] = store_deliveries(webhook)
        store_deliveries(webhook, organization_id="org_2")
        program = Program(issue("deliveries:replay", organization_id="org_1"))

        for document in ({"all": True}, {"event": "ticket.created"}, {"organization": "org_1"}):
            job = post(program, document)
            finish(job["id"])
            assert {pk for pk, _name in replayed(job)} == {mine.pk}
        assert set(details(program, {"organization": "org_2"})) == {"organization"}
        assert set(details(program, {"webhook": str(webhook.pk)})) == {"webhook"}  # it is bound to no organization

    def test_a_key_sees_the_replays_of_its_organizations_keys_only(self, program: Program, webhook: Webhook) -> None:
        [delivery] = store_deliveries(webhook)
        one, other = (Program(issue("deliveries:replay", organization_id=name)) for name in ("org_1", "org_2"))
        single = post(one, path=f"/deliveries/{delivery.pk}/replay")
        job = post(one, {"all": True})
        admins = request_replay(api.Selection(webhook=str(webhook.pk)), by="boss")

        assert [each["id"] for each in one.data("/replays")] == [job["id"], single["id"]]
        assert other.data("/replays") == []
        other.error(f"/replays/{job['id']}", status=404)
        other.error(f"/replays/{job['id']}/cancel", method="POST", status=404)
        one.error(f"/replays/{admins.pk}", status=404)
        assert [each["id"] for each in program.data("/replays")] == [admins.pk, job["id"], single["id"]]
        assert program.data(f"/replays/{admins.pk}")["filters"] == {"webhook": str(webhook.pk)}

    def test_a_user_replays_what_the_project_shows(self, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
        [shown] = store_deliveries(webhook)
        [hidden] = store_deliveries(webhook, organization_id="org_2")
        own = admin.site.get_model_admin(Delivery)
        rows = Delivery.objects.exclude(organization_id="org_2")
        monkeypatch.setattr(own, "get_queryset", lambda request: rows.all())
        program = staff("view_delivery", "replay_delivery", "view_replay")
        program.cookies["csrftoken"] = TOKEN
        options: Any = {"headers": {"X-CSRFToken": TOKEN}}

        job = post(program, {"all": True}, **options)
        finish(job["id"])

        assert {pk for pk, _name in replayed(job)} == {shown.pk}
        assert (job["filters"], job["by"]) == ({}, "user 0")
        assert set(post(program, {"organization": "org_2"}, status=422, **options)["details"]) == {"all"}
        monkeypatch.setattr(replays, "MAX_KEYS", 0)
        assert "narrower" in post(program, {"all": True}, status=422, **options)["details"]["all"]
        assert not Run.objects.filter(delivery=hidden).exists()


class TestList:
    def test_pages_follow_each_other(self, program: Program, webhook: Webhook) -> None:
        store_deliveries(webhook)
        made = [request_replay(api.Selection(), by="boss").pk for _ in range(7)]
        key = Program(issue(organization_id="org_1"))
        mine = [post(key, {"all": True})["id"] for _ in range(3)]

        for reader, wanted in ((program, [*made, *mine]), (key, mine)):
            found: list[int] = []
            cursor = None
            while cursor is not None or not found:
                page = reader.ask("/replays", {"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
                found += [each["id"] for each in page["data"]]
                cursor = page["meta"]["next_cursor"]
                assert len(found) <= 10
                if cursor is None:
                    break
            assert found == wanted[::-1]

    def test_a_page_costs_the_same_however_many_replays_it_shows(self, program: Program, webhook: Webhook) -> None:
        store_deliveries(webhook, 2)
        counts = []
        for number in (1, 30):
            for _ in range(number):
                finish(post(program, {"webhook": str(webhook.pk)})["id"])
            with CaptureQueriesContext(connection) as seen:
                program.ask("/replays", {"limit": 100})
            counts.append(len(seen))
        assert counts[0] == counts[1] <= 8, counts


@pytest.mark.parametrize("document", [{"all": True}, {"status": "dead", "failed_only": True}])
def test_a_request_costs_the_same_however_many_deliveries_there_are(
    program: Program, webhook: Webhook, document: Any
) -> None:
    program.ask("/replays")  # its first use is noted
    counts = []
    for number in (1, 300):
        stored = store_deliveries(webhook, number, status="dead")
        Run.objects.bulk_create([build_run(each, "dead", receiver="shop.crm") for each in stored])
        with CaptureQueriesContext(connection) as seen:
            job = post(program, document)
        with CaptureQueriesContext(connection) as cancelled:
            post(program, path=f"/replays/{job['id']}/cancel", status=200)
        counts.append((len(seen), len(cancelled)))
    assert counts[0] == counts[1]
    assert sum(counts[0]) <= 24, counts


class TestIdempotency:
    key: Any = {"headers": {"Idempotency-Key": "k"}}

    def test_a_repeated_job_gets_the_first_answer(self, program: Program, webhook: Webhook) -> None:
        store_deliveries(webhook)
        first = post(program, {"webhook": str(webhook.pk)}, **self.key)
        finish(first["id"])
        Delivery.objects.all().delete()
        Webhook.objects.all().delete()

        assert post(program, {"webhook": str(webhook.pk)}, **self.key) == first
        assert Replay.objects.count() == 1

    def test_a_repeated_replay_of_one_gets_it_when_the_delivery_is_gone(
        self, program: Program, webhook: Webhook
    ) -> None:
        [delivery] = store_deliveries(webhook)
        path = f"/deliveries/{delivery.pk}/replay"
        first = post(program, {}, path, **self.key)
        delivery.delete()

        assert post(program, {}, path, **self.key) == first


@pytest.mark.django_db(transaction=True)
def test_the_same_request_at_the_same_moment_makes_one_job(webhook: Webhook) -> None:
    store_deliveries(webhook)
    key = issue()

    answers = answers_at_once(key, "/replays", b'{"all": true}')

    assert Replay.objects.count() == 1
    assert len(answers) == 4
    assert all(answer == answers[0] for answer in answers), answers


NAMES = ("status", "event", "webhook", "resource", "organization", "since", "until", "all", "receivers", "failed_only")


@settings(max_examples=150, deadline=timedelta(seconds=30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.dictionaries(
        st.one_of(st.sampled_from([*NAMES, "reason"]), st.text(max_size=5)),
        st.recursive(
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(),
                st.floats(),
                st.text(alphabet=st.characters(exclude_categories=()), max_size=20),
                st.sampled_from(["dead", "ticket.created", "x" * 10_000, "\0", 2**70, "2026-06-30", "9999-12-31"]),
                st.datetimes().map(lambda moment: moment.isoformat()),
            ),
            lambda child: st.one_of(st.lists(child, max_size=3), st.dictionaries(st.text(max_size=3), child)),
            max_leaves=6,
        ),
        max_size=5,
    ),
)
def test_any_document(webhook: Webhook, document: Any) -> None:
    program = Program(issue(name=f"key {uuid.uuid4()}", requests_per_minute=10_000))
    response = program.generic("POST", f"{API}/replays", json.dumps(document).encode(), content_type="application/json")

    assert response.status_code in (202, 422)
    assert response.json()["success"] is (response.status_code < 300)
    if response.status_code == 202:
        finish(response.json()["data"]["id"])
