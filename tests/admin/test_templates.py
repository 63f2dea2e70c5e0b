"""The admin's templates: a project's own take the place of ours, and ours take the place of none of Django's."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

import nateq_webhooks
from nateq_webhooks.models import Delivery, Rejection, Replay, Webhook
from tests.admin.pages import detail_url, shown
from tests.builders import ago

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

OURS = Path(nateq_webhooks.__file__).parent / "templates" / "admin" / "nateq_webhooks"
ROOT = Path(nateq_webhooks.__file__).parent.parent
DJANGOS = "actions.html", "pagination.html", "search_form.html"
"""Which Django looks for beside a list's template, for the admin's own tags."""


@pytest.fixture
def templates(settings: Any, tmp_path: Path) -> Path:
    """A project's own directory of templates."""
    settings.TEMPLATES = [settings.TEMPLATES[0] | {"DIRS": [tmp_path]}]
    return tmp_path


def write(directory: Path, name: str, text: str) -> None:
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)


def test_a_projects_template_replaces_one_block_of_a_deliverys_page(
    boss: Client, delivery: Delivery, templates: Path
) -> None:
    name = "admin/nateq_webhooks/delivery/change_form.html"
    block = "{% block nateq_copies %}<p>Ask the shop's desk about {{ original.delivery_id }}.</p>{% endblock %}"
    write(templates, name, f'{{% extends "{name}" %}}{block}')

    page = shown(boss, detail_url(delivery))

    assert "<p>Ask the shop's desk about dlv_1.</p>" in page
    assert ">Copy as…<" not in page
    assert ">Summary<" in page


@pytest.mark.parametrize(
    ("name", "block", "url"),
    [
        ("app_index.html", "nateq_health", "/admin/nateq_webhooks/"),
        ("webhook/change_form.html", "nateq_health", "/admin/nateq_webhooks/webhook/{webhook}/change/"),
        ("webhook/test_event.html", "content", "/admin/nateq_webhooks/webhook/{webhook}/test/"),
        ("delivery/export.html", "question", "/admin/nateq_webhooks/delivery/export/?status=dead"),
        ("delivery/replay_many.html", "question", "/admin/nateq_webhooks/delivery/replay-many/?status=dead"),
    ],
)
def test_a_projects_template_replaces_a_block_of_the_other_pages(
    boss: Client, webhook: Webhook, templates: Path, name: str, block: str, url: str
) -> None:
    name = f"admin/nateq_webhooks/{name}"
    write(templates, name, f'{{% extends "{name}" %}}{{% block {block} %}}<p>the shop\'s own</p>{{% endblock %}}')

    assert "<p>the shop's own</p>" in shown(boss, url.format(webhook=webhook.pk))


@pytest.mark.parametrize("model", ["auditentry", "delivery", "rejection", "replay", "run", "webhook"])
def test_no_template_replaces_a_part_of_djangos_lists_by_accident(model: str) -> None:
    meant = {(each, "pagination.html") for each in ("auditentry", "delivery", "rejection", "replay", "run")}

    found = {(model, name) for name in DJANGOS if (OURS / model / name).exists()}

    assert found <= meant


def test_the_lists_of_replays_and_refused_requests_have_a_second_page(boss: Client, webhook: Webhook) -> None:
    Replay.objects.bulk_create(Replay() for _ in range(60))
    Rejection.objects.bulk_create(Rejection(webhook=webhook, reason="no_match", received_at=ago()) for _ in range(60))

    for model, count in (("replay", "60 replays"), ("rejection", "60 refused requests")):
        page = shown(boss, f"/admin/nateq_webhooks/{model}/")
        assert count in page
        assert 'rel="next"' in page


def test_the_docs_show_the_code_for_django_unfold_that_is_tested() -> None:
    code = (ROOT / "tests" / "unfold_site" / "admin.py").read_text().split('"""', 2)[2].strip()

    assert f"```python\n{code}\n```" in (ROOT / "docs" / "how-to" / "customize-admin.md").read_text()


def test_every_block_of_ours_is_in_the_docs_and_no_other() -> None:
    named = {name for page in OURS.rglob("*.html") for name in re.findall(r"{% block (nateq_\w+) %}", page.read_text())}
    documented = set(re.findall(r"`(nateq_\w+)`", (ROOT / "docs" / "how-to" / "customize-admin.md").read_text()))

    assert documented - {"nateq_webhooks"} == named


def test_the_lists_have_their_search_box(boss: Client) -> None:
    for model in ("delivery", "run", "webhook"):
        assert 'id="searchbar"' in shown(boss, reverse(f"admin:nateq_webhooks_{model}_changelist")), model


def test_the_inputs_of_another_secret_have_labels(boss: Client, webhook: Webhook) -> None:
    page = shown(boss, reverse("admin:nateq_webhooks_webhook_change", args=[webhook.pk]))

    for name in ("Signing secret", "Expires Date:", "Expires Time:"):
        assert f'aria-label="{name}"' in page
