"""Values at the paths of `REDACT` are in nothing that the site shows: pages, answers of the API, exports, logs.

The pages are found by following links, so that those of later versions are looked at, too.
"""

import json
import logging
import re
from collections.abc import Iterator
from html import unescape
from itertools import islice
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import pytest
from django.test import Client, override_settings
from django.urls import reverse
from django.views.debug import ExceptionReporter
from pytest_django import Settings

from nateq_webhooks import dispatch, signals
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.run_try import RunTry
from nateq_webhooks.models.unredacted_body import UnredactedBody
from nateq_webhooks.protocol.redaction import MASK
from tests.api.conftest import API, Program, issue
from tests.conftest import Connect, Sender, envelope

pytestmark = pytest.mark.django_db(transaction=True)

MARKER = "marker-7f3a"
REDACT = ["data.requester", "data.messages.*.author.email", "data.notes.text"]

PARTS = ("", "/body", "/runs")

LIST = reverse("admin:nateq_webhooks_delivery_changelist")


def body(number: int = 1, **over: Any) -> Any:
    person = f"{MARKER}-{number}@example.com"
    data = {
        "id": "tkt_1",
        "subject": f"Help {number}",
        "requester": {"email": person, f"{MARKER}-key": True},
        "messages": [{"author": {"email": person, "id": "usr_1"}, "text": "visible text " * 3_000}],
        "notes": [[{"text": f"{MARKER} {'long ' * 30_000}"}]],
    }
    return envelope(delivery_id=f"dlv_{number}", timestamp=f"2026-06-30T12:0{number}:00Z", data=data) | over


def fail(*, event: Any, **kwargs: Any) -> None:
    email = event.data["requester"]["email"]
    raise ValueError(f"No customer {email} in {event.data['requester']!r}")


@pytest.fixture
def failing(connect: Connect) -> None:
    connect(signals.ticket_created, fail, "shop.fail")


def store(sender: Sender) -> None:
    """Store deliveries whose receiver has failed twice, one with other content, one replayed, one that is no JSON."""
    for number in (1, 2):
        assert sender.post(body(number)).status_code == 200
    assert sender.post(body(1) | {"data": body(3)["data"]}).json() == {"status": "already stored"}
    assert sender.post(f'{{"event": "{MARKER}'.encode()).status_code == 400
    dispatch.try_now([Delivery.objects.order_by("pk")[0].pk])
    dispatch.run_due()
    Run.objects.filter(delivery__delivery_id="dlv_2").update(status=Run.Status.DEAD, next_try_at=None)
    Delivery.objects.filter(delivery_id="dlv_2").update(status=Delivery.Status.DEAD)
    assert Run.objects.filter(tries=2).exists()


def crawled(client: Client, start: str) -> Iterator[tuple[str, str]]:
    """Yield every page that links lead to, of the package's admin, with its text."""
    todo, seen = [start], {start}
    while todo:
        url = todo.pop()
        response = cast(Any, client.get(url))
        text = b"".join(response.streaming_content) if response.streaming else response.content
        yield url, text.decode()
        for link in re.findall(r'(?:href|action|data-url|data-part)="([^"#]+)', text.decode()):
            target = urljoin(url, unescape(link))
            # One page of each list is enough: its filters lead to each other without end.
            is_list = urlsplit(target).path == urlsplit(url).path and "payload/" not in target
            if target.startswith("/admin/nateq_webhooks/") and target not in seen and not is_list and len(seen) < 600:
                seen.add(target)
                todo.append(target)


@pytest.fixture(params=["before", "after"])
def stored(request: pytest.FixtureRequest, settings: Settings, sender: Sender, failing: None) -> None:
    """Deliveries that were stored, and whose receivers failed, before or after the setting was made."""
    settings.NATEQ_WEBHOOKS = {"REDACT": REDACT if request.param == "after" else []}
    store(sender)
    settings.NATEQ_WEBHOOKS = {"REDACT": REDACT}


@pytest.mark.usefixtures("stored")
class TestShown:
    """What shows deliveries and runs."""

    def test_no_page_of_the_admin_has_a_masked_value(self, boss: Client) -> None:
        pages = dict(crawled(boss, "/admin/nateq_webhooks/"))

        assert [url for url, text in pages.items() if MARKER in text] == []
        assert len(pages) > 40
        everything = "".join(pages.values())
        assert everything.count(MASK) > 20
        assert "visible text" in everything
        for part in ("payload/?at=", "payload/?bytes=", "/body/", "/replay/", "run/", "retry/", "receivers"):
            assert any(part in url for url in pages), part

    def test_pages_have_it_without_the_setting(self, boss: Client, settings: Settings) -> None:
        settings.NATEQ_WEBHOOKS = {}

        with_it = (url for url, text in crawled(boss, "/admin/nateq_webhooks/") if MARKER in text)
        assert len(list(islice(with_it, 6))) == 6

    @pytest.mark.parametrize("kind", ["jsonl", "csv"])
    def test_no_export_has_it(self, boss: Client, kind: str) -> None:
        url = reverse("admin:nateq_webhooks_delivery_export")
        answer = cast(Any, boss.post(url, {"format": kind, "everything": "yes"}))
        text = b"".join(answer.streaming_content).decode()

        assert MARKER not in text
        assert text.count(MASK) > 3

    def test_no_answer_of_the_api_has_it(self) -> None:
        with override_settings(ROOT_URLCONF="tests.api.urls"):
            program = Program(issue())
            keys = Delivery.objects.values_list("pk", flat=True)
            of_each = [f"/deliveries/{pk}{part}" for pk in keys for part in PARTS]
            webhook = Webhook.objects.get()
            lists = ["/deliveries", "/rejections", "/replays", "/receivers", "/status", f"/webhooks/{webhook.pk}/logs"]
            answers = {path: program.get(f"{API}{path}") for path in (*of_each, *lists)}

        assert {answer.status_code for answer in answers.values()} == {200}
        assert [path for path, answer in answers.items() if MARKER in answer.content.decode()] == []
        first = answers[f"/deliveries/{Delivery.objects.get(delivery_id='dlv_1').pk}"].json()["data"]
        assert first["payload"]["data"]["messages"][0]["author"] == {"email": MASK, "id": "usr_1"}

    def test_a_masked_value_can_not_be_probed_by_a_search(self, boss: Client) -> None:
        def rows(query: str) -> int:
            response = boss.get(LIST, {"q": query})
            assert response.status_code == 200
            return len(response.context["cl"].result_list)

        email = f"{MARKER}-1@example.com"
        assert rows(f"data.requester.email={email}") == 0
        assert rows(f"data.messages.0.author.email={email}") == 0
        assert rows(email) == rows(MARKER) == rows("long long") == 0
        assert rows("data.subject=Help 1") == rows("Help 1") == rows("dlv_1") == 1
        assert rows("visible text") == 2
        shown = boss.get(LIST, {"q": "data.requester.email=x"}).content.decode()
        assert "The values at this path are masked" in shown
        assert "data.requester.email=" not in boss.get(LIST, {"q": "nobody"}).content.decode().partition("<details>")[2]
        exported = boss.post(
            f"{LIST}?q=data.requester.email%3D{email}",
            {"action": "export_selected", "select_across": "1", "_selected_action": "1"},
        )
        assert MARKER not in exported.content.decode().replace(email, "")

    def test_a_text_is_found_where_it_is_not_masked(self, boss: Client, sender: Sender) -> None:
        both = body(4)
        both["data"]["subject"] = f"{MARKER}-4@example.com"
        sender.post(both)

        found = boss.get(LIST, {"q": f"{MARKER}-4@example.com"}).context["cl"].result_list

        assert [each.delivery_id for each in found] == ["dlv_4"]

    def test_the_pages_say_that_values_are_masked(self, boss: Client) -> None:
        def page(**of: Any) -> str:
            pk = Delivery.objects.get(**of).pk
            return boss.get(reverse("admin:nateq_webhooks_delivery_change", args=[pk])).content.decode()

        assert "Values are masked here" in page(delivery_id="dlv_1")
        assert "not a JSON object, so nobody knows" in page(status="invalid")

    def test_the_stored_bytes_are_complete_and_the_signature_is_checked_with_them(self, boss: Client) -> None:
        delivery = Delivery.objects.get(delivery_id="dlv_1")
        page = boss.get(reverse("admin:nateq_webhooks_delivery_change", args=[delivery.pk])).content.decode()

        assert json.loads(delivery.body) == json.loads(json.dumps(body(1)))
        assert "Yes: the stored bytes verify again." in page


def test_nothing_shows_it_while_receivers_still_get_the_whole_event(
    sender: Sender, settings: Settings, failing: None, boss: Client
) -> None:
    settings.NATEQ_WEBHOOKS = {"REDACT": [{"path": path, "store": True} for path in REDACT]}
    store(sender)
    assert UnredactedBody.objects.exists()

    pages = dict(crawled(boss, "/admin/nateq_webhooks/"))
    with override_settings(ROOT_URLCONF="tests.api.urls"):
        program = Program(issue())
        paths = [f"/deliveries/{pk}{part}" for pk in Delivery.objects.values_list("pk", flat=True) for part in PARTS]
        pages |= {path: program.get(f"{API}{path}").content.decode() for path in paths}

    assert [url for url, text in pages.items() if MARKER in text] == []
    assert len(pages) > 40


def test_errors_are_masked_before_they_are_stored_and_logged(
    sender: Sender, settings: Settings, failing: None, caplog: pytest.LogCaptureFixture
) -> None:
    settings.NATEQ_WEBHOOKS = {"REDACT": REDACT}

    with caplog.at_level(logging.INFO, "nateq_webhooks"):
        sender.post(body())

    run, tried = Run.objects.get(), RunTry.objects.get()
    formatted = "".join(logging.Formatter().format(record) for record in caplog.records)
    for text in (run.error, run.traceback, tried.error, formatted):
        assert MARKER not in text
        assert "No customer [redacted] in" in text
    assert "in fail" in formatted
    assert "\n    ValueError: No customer [redacted] in {'email': '[redacted]', '[redacted]': True}" in formatted
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("redact", [[], ["data.conversation_id"]])
def test_a_masked_conversation_is_not_searched_for(
    sender: Sender, settings: Settings, boss: Client, redact: list[str]
) -> None:
    sender.post(envelope(data={"id": "1", "conversation_id": "cnv_1"}))
    settings.NATEQ_WEBHOOKS = {"REDACT": redact}

    page = boss.get(reverse("admin:nateq_webhooks_delivery_change", args=[Delivery.objects.get().pk])).content.decode()

    assert ("Search for everything in this conversation" in page) == (not redact)


class ErrorReports(logging.Handler):
    """Reports errors with the variables of each frame, as Django's error mails do."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.reports: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        kind, error, trace = record.exc_info or (None, None, None)
        self.reports.append(record.getMessage() + ExceptionReporter(None, kind, error, trace).get_traceback_html())


def test_no_error_report_shows_a_variable_with_a_value_that_the_traceback_does_not_quote(
    sender: Sender, settings: Settings, connect: Connect
) -> None:
    def fail(*, event: Any, **kwargs: Any) -> None:
        requester = event.data["requester"]
        raise LookupError("no such customer", len(requester))

    settings.NATEQ_WEBHOOKS = {"REDACT": REDACT}
    connect(signals.ticket_created, fail, "shop.fail")
    handler = ErrorReports()
    logging.getLogger("nateq_webhooks").addHandler(handler)
    try:
        sender.post(body())
    finally:
        logging.getLogger("nateq_webhooks").removeHandler(handler)

    [report] = handler.reports
    assert "shop.fail failed on delivery" in report
    assert MARKER not in report


def test_receivers_get_the_whole_event(sender: Sender, settings: Settings, connect: Connect) -> None:
    settings.NATEQ_WEBHOOKS = {"REDACT": REDACT}
    got: list[Any] = []
    connect(signals.ticket_created, lambda event, **kwargs: got.append(event.data), "shop.keep")

    sender.post(body())

    assert got == [body()["data"]]


@pytest.mark.parametrize("value", [["data.requester"], [{"path": "data.requester"}]])
def test_both_forms_of_an_entry_mask(sender: Sender, settings: Settings, boss: Client, value: list[Any]) -> None:
    sender.post(envelope(data={"id": "1", "requester": MARKER}))
    settings.NATEQ_WEBHOOKS = {"REDACT": value}

    page = boss.get(reverse("admin:nateq_webhooks_delivery_change", args=[Delivery.objects.get().pk]))

    assert MARKER not in page.content.decode()
