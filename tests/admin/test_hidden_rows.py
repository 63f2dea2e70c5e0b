"""Rows that a project hides by its own `get_queryset`: no page shows them, and no action reaches them."""

import html
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db.models import Model
from django.test import Client
from django.urls import URLPattern, URLResolver
from django.utils import timezone

from nateq_webhooks.admin.dashboard.failures import failures
from nateq_webhooks.dispatch.replays import advance
from nateq_webhooks.models import Delivery, Reissue, Rejection, Replay, Run, Webhook
from nateq_webhooks.models.hold import Hold, webhook_scope
from nateq_webhooks.signals import signal_for
from tests.admin.tenants_site import MINE, tenants
from tests.builders import ago, build_delivery, build_run, store_rejection, store_run
from tests.conftest import Connect

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin.tenants_site"), pytest.mark.pages]

MARK = "HIDDEN"
SHARED = "tkt_shared"
NUMBER = 7
BASE = "/tenants/nateq_webhooks/"
ADDRESS = "203.0.113.99"


@dataclass
class Stored:
    """The rows in the database: one of each kind that the user may see, and hidden ones."""

    webhook: Webhook
    other: Webhook
    mine: Delivery
    hidden: list[Delivery]
    hidden_runs: list[Run]
    hidden_replay: Replay
    hidden_rejection: Rejection
    replay: Replay
    run: Run
    rejection: Rejection

    def hidden_keys(self) -> dict[type[Model], Any]:
        return {
            Delivery: self.hidden[0].pk,
            Webhook: self.other.pk,
            Run: self.hidden_runs[0].pk,
            Replay: self.hidden_replay.pk,
            Rejection: self.hidden_rejection.pk,
        }

    def shown_keys(self) -> dict[type[Model], Any]:
        return {
            Delivery: self.mine.pk,
            Webhook: self.webhook.pk,
            Run: self.run.pk,
            Replay: self.replay.pk,
            Rejection: self.rejection.pk,
        }


@pytest.fixture
def stored(connect: Connect) -> Stored:
    connect(signal_for("ticket.created"), lambda event, **_: None, "shop.open")
    webhook = Webhook.objects.create(name="mine", organization_id=MINE)
    other = Webhook.objects.create(name=f"{MARK} shop", organization_id="org_other", events=[f"{MARK}.event"])
    mine = build_delivery(
        webhook, ago(minutes=4), "failed", organization_id=MINE, resource_id=SHARED, timestamp=ago(days=1)
    )
    replay = Replay.objects.create(
        pk=71_001, by="mine", reason="why not", filters={"webhook": str(other.pk)}, until=10**9
    )
    hidden_replay = Replay.objects.create(pk=72_002, by=MARK, reason=MARK, until=10**9)
    hidden = [_hidden(other if number else webhook, number) for number in range(NUMBER)]
    Delivery.objects.bulk_create([mine, *hidden])
    mine.refresh_from_db()
    Reissue.objects.create(delivery=hidden[0], original=mine)
    hidden_runs = Run.objects.bulk_create(
        build_run(one, status, receiver="shop.open", error=f"ValueError: {MARK}")
        for one, status in zip(hidden, itertools.cycle(["dead", "failed", "waiting"]), strict=False)
    )
    run = store_run(mine, "shop.open", round=hidden_replay.pk)
    Run.objects.filter(status="waiting").update(next_try_at=ago(hours=2))
    Hold.objects.create(scope=webhook_scope(other.pk), paused_at=timezone.now(), reason=MARK)
    Hold.objects.create(scope="", paused_at=timezone.now(), reason="all of it")
    return Stored(
        webhook=webhook,
        other=other,
        mine=mine,
        hidden=hidden,
        hidden_runs=hidden_runs,
        hidden_replay=hidden_replay,
        hidden_rejection=store_rejection(other, remote_addr=ADDRESS, received_at=ago(minutes=1)),
        replay=replay,
        run=run,
        rejection=store_rejection(webhook, remote_addr="192.0.2.1", received_at=ago(minutes=1)),
    )


def _hidden(webhook: Webhook, number: int) -> Delivery:
    return build_delivery(
        webhook,
        ago(minutes=3),
        "dead",
        delivery_id=f"{MARK}_{number}",
        organization_id="org_other",
        resource_id=SHARED if number else f"{MARK}_tkt",
        timestamp=ago(hours=number + 1),
        body=f'{{"data": {{"note": "{MARK}"}}}}'.encode(),
        payload={"data": {"note": MARK}},
        dispatch_at=ago(hours=3) if number == 2 else None,
    )


def patterns(found: Any = None, prefix: str = "/tenants/") -> Iterator[tuple[str, URLPattern]]:
    """Every address of the site, as a route."""
    for one in tenants.get_urls() if found is None else found:
        if isinstance(one, URLResolver):
            yield from patterns(one.url_patterns, prefix + str(one.pattern))
        else:
            yield prefix + str(one.pattern), one


def addresses(keys: dict[type[Model], Any], *, of_rows: bool) -> list[str]:
    """The addresses of our models' pages, those about one row with its key filled in."""
    found = []
    for route, _pattern in patterns():
        model = next((each for each in keys if route.startswith(f"{BASE}{each._meta.model_name}/")), None)
        if model is None or ("<" in route) != of_rows:
            continue
        filled = route.replace("<path:object_id>", str(keys[model])).replace("<int:pk>", str(keys[model]))
        assert "<" not in filled, filled
        found.append(filled)
    assert len(found) > 5
    return found


def selected(action: str, key: object, across: str) -> dict[str, Any]:
    """Return the form of a list's action with one row selected, and confirmed."""
    return {"action": action, "_selected_action": [str(key)], "select_across": across, "post": "yes", "index": "0"}


def content(answer: Any) -> str:
    raw = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return html.unescape(raw.decode())


def assert_nothing_hidden(stored: Stored, text: str, where: str) -> None:
    for secret in (MARK, str(stored.other.pk), ADDRESS, "72002", "72,002", "72_002"):
        assert secret not in text, f"{secret} at {where}"
    for one in stored.hidden:
        assert f"/delivery/{one.pk}/" not in text, where


QUERIES = [
    "",
    "_facets=True",
    f"q={MARK}_1",
    f"q={SHARED}",
    f"q=data.note={MARK}",
    "status__exact=dead&_facets=True",
    "cursor=last",
    "o=1",
    "reason=no_match&_facets=True",
    "name=shop.open",
]


def test_no_list_and_no_dashboard_shows_hidden_rows(boss: Client, stored: Stored) -> None:
    for address in [*addresses(stored.hidden_keys(), of_rows=False), BASE, "/tenants/"]:
        for query in QUERIES:
            answer = boss.get(f"{address}?{query}", follow=True)
            # What the user types into the search comes back in its field.
            text = re.sub(rf"(q(=|%3D)|value=\")(data\.[\w.]+(=|%3D|%253D))?{MARK}(_1)?", "", content(answer))
            assert_nothing_hidden(stored, text, f"{address}?{query}")
            assert answer.status_code in (200, 400, 403, 404, 405)


@pytest.mark.parametrize("query", ["", "_facets=True", f"q={SHARED}&_facets=True"])
def test_no_list_counts_hidden_rows(boss: Client, stored: Stored, query: str) -> None:
    for model in (Delivery, Run, Rejection, Webhook, Replay):
        if query.startswith("q=") and model is not Delivery:
            continue
        listing = boss.get(f"{BASE}{model._meta.model_name}/?{query}").context["cl"]
        assert listing.result_count == 1, model


def test_a_receivers_page_counts_no_hidden_runs_and_changes_nothing(boss: Client, stored: Stored) -> None:
    address = f"{BASE}run/receiver/?name=shop.open"
    context = boss.get(address).context
    assert [(line.label, line.number) for line in context["counts"]] == [("Succeeded", "1")]
    assert context["failure_lines"] == []
    assert not context["may_pause"]

    holds = list(Hold.objects.values_list("pk", flat=True))
    for form in ({"action": "pause", "reason": "x"}, {"action": "drop", "confirmed": "yes"}):
        assert boss.post(address, form).status_code == 403
    for hold in holds:
        assert boss.post(f"{BASE}run/resume/", {"hold": hold}).status_code == 403
    assert Hold.objects.filter(paused_at__isnull=False).count() == len(holds)


def test_requests_to_no_webhook_are_hidden_from_users_of_some_webhooks(boss: Client, stored: Stored) -> None:
    unknown = store_rejection(None, "unknown_url", remote_addr=ADDRESS)

    assert ADDRESS not in boss.get(f"{BASE}rejection/").content.decode()
    assert boss.get(f"{BASE}rejection/{unknown.pk}/change/").status_code == 302
    assert "Unknown webhook" not in boss.get(BASE).content.decode()


def test_the_dashboard_does_not_count_hidden_rows(boss: Client, stored: Stored) -> None:
    board = boss.get(BASE).content.decode()

    assert re.findall(r"<dt>Deliveries</dt><dd><bdi>(.*?)</bdi>", board) == ["1"]
    assert "to be started" not in board
    assert "to be dispatched" not in board
    assert "0 runs are held back" in board
    assert "mine: 1 refused" in board


def test_no_page_of_a_shown_row_shows_hidden_rows(boss: Client, stored: Stored) -> None:
    for address in addresses(stored.shown_keys(), of_rows=True):
        if "/remote/" in address:  # asks Nateq
            continue
        for query in ("", f"?sent={stored.hidden[0].pk}", "?which=failed", f"?find={MARK}&part="):
            answer = boss.get(address + query, follow=True)
            assert_nothing_hidden(stored, content(answer).replace(f'value="{MARK}"', ""), address + query)


def test_no_page_of_a_hidden_row_opens(boss: Client, stored: Stored) -> None:
    before = _state()
    for address in addresses(stored.hidden_keys(), of_rows=True):
        for ask in (boss.get, boss.post):
            answer = ask(address, {"do": "cancel", "which": "all", "action": "pause", "reason": "x", "post": "yes"})
            if answer.status_code == 302:  # as Django answers for a row that is not there
                assert answer["Location"] in ("/tenants/", "../change/") or answer["Location"].endswith("/change/")
            else:
                assert answer.status_code in (403, 404, 405), (address, answer.status_code)
    assert _state() == before


def _state() -> Any:
    """All that an action could change."""
    return [list(model.objects.order_by("pk").values()) for model in (Webhook, Run, Replay, Rejection, Hold)]


CHOICES: list[Callable[[Stored], dict[str, Any]]] = [
    lambda stored: {"everything": "yes"},
    lambda stored: {"deliveries": ",".join(str(one.pk) for one in stored.hidden)},
    lambda stored: {"deliveries": f"{stored.mine.pk},{stored.hidden[0].pk}"},
    lambda stored: {"webhook": str(stored.other.pk)},
    lambda stored: {"status": "dead"},
    lambda stored: {"event": "ticket.created"},
    lambda stored: {"receiver": "shop.open"},
    lambda stored: {"since": ago(days=9).isoformat()},
]


@pytest.mark.parametrize("is_job", [False, True])
@pytest.mark.parametrize("choice", CHOICES)
def test_a_bulk_replay_reaches_no_hidden_delivery(
    boss: Client,
    stored: Stored,
    choice: Callable[[Stored], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_job: bool,
) -> None:
    if is_job:
        monkeypatch.setattr("nateq_webhooks.admin.deliveries.replay_many.MAX_IN_REQUEST", 0)
    before = Run.objects.filter(delivery__in=stored.hidden).count()

    assert MARK not in boss.get(f"{BASE}delivery/replay-many/", choice(stored)).content.decode()
    boss.post(f"{BASE}delivery/replay-many/", {**choice(stored), "which": "all"})
    replay = Replay.objects.latest("pk")
    boss.post(f"/tenants/nateq_webhooks/replay/{replay.pk}/steer/", {"do": "go on"})
    _advance_all()

    assert Run.objects.filter(delivery__in=stored.hidden).count() == before


def _advance_all() -> None:
    for replay in Replay.objects.filter(by="boss", finished_at__isnull=True):
        while advance("default", replay):
            pass


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize("choice", CHOICES)
def test_an_export_has_no_hidden_delivery(
    boss: Client, stored: Stored, choice: Callable[[Stored], dict[str, Any]], kind: str
) -> None:
    answer: Any = boss.post(f"{BASE}delivery/export/", {"format": kind, **choice(stored)})

    assert MARK not in content(answer)


def test_an_export_of_everything_has_the_shown_rows(boss: Client, stored: Stored) -> None:
    taken = content(boss.post(f"{BASE}delivery/export/", {"format": "jsonl", "everything": "yes"}))

    assert [json.loads(line)["delivery_id"] for line in taken.splitlines()] == [stored.mine.delivery_id]


@pytest.mark.parametrize("action", ["replay_selected", "export_selected", "delete_selected"])
@pytest.mark.parametrize("across", ["0", "1"])
def test_actions_on_lists_are_about_shown_rows_only(boss: Client, stored: Stored, action: str, across: str) -> None:
    before = _state()
    for model, key in stored.hidden_keys().items():
        if across == "1" and action == "delete_selected":
            continue
        answer = boss.post(f"{BASE}{model._meta.model_name}/", selected(action, key, across), follow=True)
        assert MARK not in content(answer)
    assert _state() == before


def test_deleting_all_rejections_leaves_the_hidden_ones(boss: Client, stored: Stored) -> None:
    boss.post(f"{BASE}rejection/", selected("delete_selected", stored.rejection.pk, "1"))

    assert list(Rejection.objects.all()) == [stored.hidden_rejection]


def test_a_group_of_failures_is_replayed_without_hidden_ones(boss: Client, stored: Stored) -> None:
    for group in failures(with_text=True).groups:
        answer = boss.get(f"{BASE}delivery/replay-many/", {"failure": group.key})
        assert answer.status_code == 400


def test_a_site_with_deliveries_only_shows_no_rows_of_hidden_deliveries(boss: Client, stored: Stored) -> None:
    store_run(stored.mine, "shop.open", status="dead", error="ValueError: mine", next_try_at=None)
    Rejection.objects.filter(pk=stored.rejection.pk).update(reason="no_header")

    for address in ("", "delivery/", f"delivery/{stored.mine.pk}/change/"):
        text = content(boss.get(f"/deliveries-only/nateq_webhooks/{address}"))
        assert_nothing_hidden(stored, text, address)


def test_the_projects_permission_is_checked_for_each_row(boss: Client, stored: Stored) -> None:
    base, before = "/judged/nateq_webhooks/delivery/", Run.objects.filter(delivery__in=stored.hidden).count()
    for page in ("change/", "body/", "payload/", "replay/", "history/"):
        assert boss.get(f"{base}{stored.hidden[0].pk}/{page}").status_code == 403, page
        assert boss.get(f"{base}{stored.mine.pk}/{page}").status_code == 200, page

    shown = content(boss.get(f"{base}{stored.mine.pk}/change/"))
    boss.post(f"{base}replay-many/", {"everything": "yes", "which": "all"})
    boss.post(f"{base}{stored.hidden[0].pk}/replay/", {"which": "all"})
    taken = content(boss.post(f"{base}export/", {"everything": "yes", "format": "jsonl"}))

    assert f"{MARK}_1" not in shown
    assert MARK not in taken.replace(f'"{MARK} shop"', "")
    assert stored.mine.delivery_id in taken
    assert Run.objects.filter(delivery__in=stored.hidden).count() == before
    assert Run.objects.filter(delivery=stored.mine).count() == 2


def test_autocompletion_finds_shown_rows_only(boss: Client, stored: Stored) -> None:
    query = {"app_label": "nateq_webhooks", "model_name": "run", "field_name": "delivery"}

    assert boss.get("/tenants/autocomplete/", {**query, "term": f"{MARK}_1"}).json()["results"] == []
    assert len(boss.get("/tenants/autocomplete/", query).json()["results"]) == 1
