"""The dashboard's table of webhooks: a line for each, with its figures."""

from dataclasses import dataclass
from typing import Final

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.dashboard.chart import Chart, chart
from nateq_webhooks.admin.dashboard.health import Health
from nateq_webhooks.admin.dashboard.summary import last_delivery, percent, processing
from nateq_webhooks.admin.permissions import RowScope
from nateq_webhooks.models import Webhook

MAX_WEBHOOKS: Final = 50
"""Webhooks that are shown, the first ones by name; most sites have a few."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookLine:
    """A webhook in the dashboard's table."""

    name: str
    url: str
    is_active: bool
    last: str
    total: str
    failed: str
    has_failed: bool
    median: str
    p95: str
    chart: Chart


def webhooks_of_the_table(among: RowScope, search_term: str = "") -> tuple[list[Webhook], bool]:
    """Return the webhooks of the table, the first ones by name, and whether there are more."""
    rows = among.of(Webhook).defer("secret", "events").order_by("name")
    if search_term:
        rows = rows.filter(name__icontains=search_term)
    found = list(rows[: MAX_WEBHOOKS + 1])
    return found[:MAX_WEBHOOKS], len(found) > MAX_WEBHOOKS


def webhook_line(webhook: Webhook, health: Health, url: str) -> WebhookLine:
    """Return the line of a webhook; `url` leads to its page, and is empty if the user has none."""
    times = health.times
    return WebhookLine(
        name=formatting.visible(webhook.name),
        url=url,
        is_active=webhook.is_active,
        last=last_delivery(health),
        total=formatting.number(health.total),
        failed=percent(health.share_failed),
        has_failed=bool(health.failed),
        median=processing(times, "median"),
        p95=processing(times, "p95"),
        chart=chart(health, is_small=True),
    )
