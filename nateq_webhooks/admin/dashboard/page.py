"""The dashboard on the app's index: what needs attention, and the webhooks' figures, as far as the user may see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists.filters import FIND_WEBHOOK, webhook_search_term
from nateq_webhooks.admin.dashboard.chart import Chart, chart
from nateq_webhooks.admin.dashboard.failures import MAX_RUNS_READ as MAX_FAILED_RUNS
from nateq_webhooks.admin.dashboard.failures import Failure, Failures, failures
from nateq_webhooks.admin.dashboard.items import AlertItem, ItemBuilder
from nateq_webhooks.admin.dashboard.statistics import Health, Statistics, read_statistics
from nateq_webhooks.admin.dashboard.summary import Summary, percent, processing, summary
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.admin.permissions import PermittedRows, site_of
from nateq_webhooks.models import Delivery, Rejection, Run, Webhook

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


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureLine:
    """A group of failures, with the address of its runs."""

    failure: Failure
    receiver: str
    level: str
    symbol: str
    status: str
    error: str
    number: str
    newest: str
    url: str
    replay_url: str
    "Empty if the user may not replay, or if the runs will be tried again."


@dataclass(frozen=True, kw_only=True, slots=True)
class Dashboard:
    """The dashboard. A part that the user may not see, or that the site does not have, is empty."""

    summary: Summary | None
    webhooks: Sequence[WebhookLine]
    failures: Failures | None
    failure_lines: Sequence[FailureLine]
    items: Sequence[AlertItem]
    is_watching: bool
    "Whether the user may see anything that could need attention."
    failure_limit: str
    has_more_webhooks: bool
    search_term: str
    "The part of a name that webhooks are searched by; empty for all."
    search_field: str
    webhook_limit: str

    @property
    def is_healthy(self) -> bool:
        """Whether nothing needs attention, as far as the user may see."""
        return not self.failure_lines and all(item.level == "good" for item in self.items)


class DashboardBuilder:
    """Builds the dashboard for one request."""

    def __init__(self, request: HttpRequest) -> None:
        self._user: Any = request.user
        self._site = site_of(request)
        self._permitted = PermittedRows(self._site, request)
        self._now = timezone.now()
        self._search_term = webhook_search_term(request)

    def build(self) -> Dashboard:
        """Read what the user may see, with a limited number of queries."""
        sees_deliveries = self._permitted.may_view(Delivery)
        webhooks, has_more = self._webhooks() if self._sees(Webhook) else ([], False)
        webhook_ids = [webhook.pk for webhook in webhooks] if has_more or self._search_term else None
        found = read_statistics(among=self._permitted, webhook_ids=webhook_ids) if sees_deliveries else None
        with_text = self._may("view_payload")
        groups = failures(with_text=with_text, among=self._permitted) if self._sees(Run) else None
        return Dashboard(
            summary=summary(found.health()) if found else None,
            webhooks=[self._webhook_line(webhook, found) for webhook in webhooks] if found else [],
            failures=groups,
            failure_lines=[self._failure_line(failure) for failure in groups.groups] if groups else [],
            items=ItemBuilder(self._site, self._permitted, self._now).build(found, webhooks),
            has_more_webhooks=has_more,
            search_term=formatting.visible(self._search_term),
            search_field=FIND_WEBHOOK,
            webhook_limit=number_format(MAX_WEBHOOKS),
            is_watching=any(map(self._sees, (Delivery, Run, Rejection))),
            failure_limit=number_format(MAX_FAILED_RUNS),
        )

    def _webhooks(self) -> tuple[list[Webhook], bool]:
        """Return the webhooks of the table, the first ones by name, and whether there are more."""
        rows = self._permitted.of(Webhook).defer("secret", "events").order_by("name")
        if self._search_term:
            rows = rows.filter(name__icontains=self._search_term)
        found = list(rows[: MAX_WEBHOOKS + 1])
        return found[:MAX_WEBHOOKS], len(found) > MAX_WEBHOOKS

    def _sees(self, model: type[Model]) -> bool:
        return self._permitted.may_view(model)

    def _may(self, permission: str) -> bool:
        return bool(self._user.has_perm(f"nateq_webhooks.{permission}"))

    def _url(self, model: type[Model], page: str, *args: object, **query: str) -> str:
        return admin_url(self._site, model, page, *args, **query)

    def _webhook_line(self, webhook: Webhook, found: Statistics) -> WebhookLine:
        health: Health = found.health(webhook.pk)
        times = health.times
        return WebhookLine(
            name=formatting.visible(webhook.name),
            url=self._url(Webhook, "change", webhook.pk),
            is_active=webhook.is_active,
            last=formatting.moment(health.last) or _("none lately"),
            total=number_format(health.total),
            failed=percent(health.share_failed),
            has_failed=bool(health.failed),
            median=processing(times, "median"),
            p95=processing(times, "p95"),
            chart=chart(health),
        )

    def _failure_line(self, failure: Failure) -> FailureLine:
        return FailureLine(
            failure=failure,
            receiver=formatting.visible(failure.receiver),
            level=formatting.STATUS_STYLES[failure.status].level,
            symbol=formatting.STATUS_STYLES[failure.status].symbol,
            status=str(Run.Status(failure.status).label),
            error=formatting.visible(failure.error),
            number=number_format(failure.number),
            newest=formatting.moment(failure.newest) or "",
            url=self._url(Run, "changelist", status__exact=failure.status, receiver=failure.receiver),
            replay_url=self._replay_url(failure),
        )

    def _replay_url(self, failure: Failure) -> str:
        """Return the page that confirms a replay of a group; empty if its runs will be tried again."""
        if failure.status != Run.Status.DEAD or not (self._may("replay_delivery") and self._sees(Delivery)):
            return ""
        return self._url(Delivery, "replay_many", failure=failure.key)
