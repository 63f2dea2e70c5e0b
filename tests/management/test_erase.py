"""`manage.py nateq_erase`: asks, shows progress, continues, and writes numbers only."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from nateq_webhooks.dispatch.erasure.report import ErasureReport, TableReport
from nateq_webhooks.management.commands.nateq_erase import report_lines
from nateq_webhooks.models import Delivery
from nateq_webhooks.models.erasure_progress import ErasureProgress
from tests.erasure.people import OMAR, SARA, TRACES, Scene, dump, store_scene, ticket, traces

WHERE = ["data.requester.id=cus_sara9", "data.messages.author.id=cus_sara9"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scene(webhook: Any) -> Scene:
    return store_scene(webhook)


def erase(**options: Any) -> str:
    out = io.StringIO()
    call_command("nateq_erase", stdout=out, **({"where": WHERE} | options))
    return out.getvalue()


def test_it_erases_and_says_how_many_of_what(scene: Scene) -> None:
    said = erase(no_input=True)

    assert traces() == []
    assert "Deliveries of the person or organization: 5. Others that quote it: 1." in said
    assert not any(trace in said for trace in TRACES)


def test_a_dry_run_changes_nothing(scene: Scene) -> None:
    before = dump()

    assert "Nothing was changed: this was a dry run." in erase(dry_run=True)
    assert dump() == before


def test_the_report_as_json_has_numbers_only(scene: Scene) -> None:
    report = json.loads(erase(as_json=True, blank=True))

    assert report["complete"]
    assert (report["blank"], report["dry_run"], report["deliveries"]) == (True, False, 5)
    assert report["tables"]["delivery"] == {"looked_at": 9, "deleted": 0, "blanked": 6, "left": 0}


def test_nothing_found_says_how_far_it_looked(scene: Scene) -> None:
    said = erase(where=["data.requester.id=nobody"])

    assert "Nothing was found. 9 deliveries were looked at, and every other table." in said


def test_an_organization_without_deliveries_is_named(scene: Scene) -> None:
    assert "No delivery is of the organization 'org_9'." in erase(where=[], organization="org_9")


def test_a_path_that_leads_nowhere_is_named_if_only_quotes_are_found(scene: Scene) -> None:
    said = erase(where=["requester.email=omar@example.net"], dry_run=True)

    assert "Deliveries of the person or organization: 0." in said
    assert (
        "No delivery has the value at requester.email. A path begins at the top of the payload: data.requester.id"
        in said
    )
    assert "No delivery has the value" not in erase(dry_run=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"where": ["data.id"]}, "--where needs a path and a value"),
        ({"where": ["data..id=1"]}, "a key is empty"),
        ({"where": []}, "Say whose data to erase"),
        ({"since": "yesterday"}, "which is not a time"),
    ],
)
def test_what_is_unclear_is_refused(scene: Scene, options: dict[str, Any], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        erase(**options)
    assert Delivery.objects.count() == 9
    assert not ErasureProgress.objects.exists()


def test_at_a_terminal_it_asks_first(scene: Scene, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter(["n", "y"])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))

    with pytest.raises(CommandError, match="Nothing was changed"):
        erase()

    assert Delivery.objects.count() == 9
    assert not ErasureProgress.objects.exists()
    erase()
    assert traces() == []


def test_with_json_it_shows_what_would_go_beside_the_output(scene: Scene, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "y")
    beside = io.StringIO()

    report = json.loads(erase(as_json=True, stderr=beside))

    assert report["deliveries"] == 5
    assert "Deliveries of the person or organization: 5." in beside.getvalue()
    assert "Nothing was changed: this was a dry run." in beside.getvalue()


def test_the_same_command_continues(scene: Scene, monkeypatch: Any) -> None:
    from nateq_webhooks.dispatch.erasure.steps import Erasure

    real, calls = Erasure.advance, iter(range(100))

    def advance(erasure: Erasure) -> bool:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return real(erasure)

    monkeypatch.setattr(Erasure, "advance", advance)
    with pytest.raises(KeyboardInterrupt):
        erase()

    stored = ErasureProgress.objects.get()
    kept = f"{stored.key} {stored.position} {stored.counts}".lower()
    assert not any(trace.lower() in kept for trace in TRACES)
    assert "Continuing an erasure that was interrupted." in erase()
    assert traces() == []


def test_names_are_left_and_counted_unless_the_option_says_otherwise(scene: Scene) -> None:
    other = ticket(scene.webhook, 50, OMAR, f"From {SARA['name']}")
    other.save()

    assert "Left: 1 delivery of others quotes only a name or a short number;" in erase(no_input=True)
    assert SARA["name"] in Delivery.objects.get(pk=other.pk).body.decode()


def test_the_option_blanks_names_everywhere(scene: Scene) -> None:
    other = ticket(scene.webhook, 50, OMAR, f"From {SARA['name']}")
    other.save()

    said = erase(no_input=True, names_everywhere=True)

    assert "Left:" not in said
    assert SARA["name"] not in Delivery.objects.get(pk=other.pk).body.decode()


def test_what_cannot_be_searched_is_counted_even_if_nothing_is_found(scene: Scene) -> None:
    Delivery.objects.filter(pk=scene.others[0].pk).update(body=b"", payload=None, content_change="retention")

    said = erase(where=["data.requester.id=nobody"], dry_run=True)

    assert "Nothing was found." in said
    assert "Not searchable: 1 delivery." in said


def test_one_is_not_written_as_many() -> None:
    tables = {"delivery": TableReport(looked_at=1, deleted=1)}

    for number, words in (1, ("1 delivery.", "of others quotes")), (2, ("2 deliveries.", "of others quote")):
        report = ErasureReport(
            is_dry_run=False,
            is_blank=False,
            is_complete=True,
            deliveries=1,
            quoting=1,
            names_left=number,
            hidden=number,
            runs_dropped=1,
            protected=number,
            tables=tables,
        )
        said = "\n".join(report_lines(report))
        assert all(word in said for word in words), said
        assert ("1 deliveries" in said) is False
