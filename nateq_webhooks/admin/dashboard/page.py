"""The dashboard on the app's index: what needs attention, and the webhooks' figures, as far as the user may see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists.filters import FIND_WEBHOOK, webhook_search_term
from nateq_webhooks.admin.dashboard import webhook_table
from nateq_webhooks.admin.dashboard.alert_item import AlertItem
from nateq_webhooks.admin.dashboard.failure_lines import FailureLine, failure_lines
from nateq_webhooks.admin.dashboard.failures import MAX_RUNS_OF_ALL as MAX_FAILED_RUNS
from nateq_webhooks.admin.dashboard.failures import Failures, failures
from nateq_webhooks.admin.dashboard.items import ItemBuilder
from nateq_webhooks.admin.dashboard.statistics import MAX_TIMED_EACH, read_statistics
from nateq_webhooks.admin.dashboard.summary import Summary, summary
from nateq_webhooks.admin.dashboard.webhook_table import WebhookLine, webhook_line, webhooks_of_the_table
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.admin.permissions import PermittedRows, may_see_payload, site_of
from nateq_webhooks.models import Delivery, Rejection, Run, Webhook


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
    not_looked_at: Sequence[str]
    "What could need attention and is left out, in words: the user may not see it, or it is of other webhooks."
    timed: str
    "How many deliveries of each webhook the processing times are computed from."

    @property
    def blockers(self) -> list[AlertItem]:
        """What keeps receivers from running: it is shown first."""
        return [item for item in self.items if item.is_blocker]

    @property
    def other_items(self) -> list[AlertItem]:
        """What is shown after the failures."""
        return [item for item in self.items if not item.is_blocker]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing needs attention, as far as the user may see."""
        return not self.failure_lines and all(item.level == "good" for item in self.items)

    @property
    def nothing(self) -> str:
        """The sentence of a healthy dashboard: it denies nothing that was not looked at."""
        is_acknowledged = self.failures is not None and bool(self.failures.acknowledged)
        if not (self.not_looked_at or is_acknowledged):
            return _("Nothing: no failures, no backlog, no refused requests, no silent webhooks.")
        left_out = _("Not looked at: %(what)s.") % {"what": _(", ").join(self.not_looked_at)}
        text = _("Nothing but what is acknowledged.") if is_acknowledged else _("Nothing.")
        return f"{text} {left_out}" if self.not_looked_at else text


class DashboardBuilder:
    """Builds the dashboard for one request."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._site = site_of(request)
        self._permitted = PermittedRows(self._site, request)
        self._now = timezone.now()
        self._search_term = webhook_search_term(request)

    def build(self) -> Dashboard:
        """Read what the user may see, with a limited number of queries."""
        sees_deliveries = self._permitted.may_view(Delivery)
        webhooks, has_more = (
            webhooks_of_the_table(self._permitted, self._search_term) if self._sees(Webhook) else ([], False)
        )
        webhook_ids = [webhook.pk for webhook in webhooks]
        found = read_statistics(among=self._permitted, webhook_ids=webhook_ids) if sees_deliveries else None
        with_text = may_see_payload(self._request)
        groups = (
            failures(with_text=with_text, among=self._permitted, limit=MAX_FAILED_RUNS) if self._sees(Run) else None
        )
        return Dashboard(
            summary=summary(found.health()) if found else None,
            webhooks=[
                webhook_line(webhook, found.health(webhook.pk), self._url(Webhook, "change", webhook.pk))
                for webhook in webhooks
            ]
            if found
            else [],
            failures=groups,
            failure_lines=failure_lines(groups, self._site, self._request) if groups else [],
            items=ItemBuilder(self._site, self._request, self._permitted, self._now).build(found, webhooks),
            has_more_webhooks=has_more,
            search_term=formatting.visible(self._search_term),
            search_field=FIND_WEBHOOK,
            not_looked_at=list(self._not_looked_at(is_part=has_more or bool(self._search_term))),
            timed=formatting.number(MAX_TIMED_EACH),
            webhook_limit=formatting.number(webhook_table.MAX_WEBHOOKS),
            is_watching=any(map(self._sees, (Delivery, Run, Rejection))),
            failure_limit=formatting.number(MAX_FAILED_RUNS),
        )

    def _not_looked_at(self, *, is_part: bool) -> Iterator[str]:
        """Yield what the user may not see, and silent webhooks if the table has only a part of them (`is_part`)."""
        if not self._sees(Run):
            yield _("failed runs, waiting runs and pauses")
        if not (self._sees(Rejection) and self._sees(Webhook)):
            yield _("refused requests")
        if not (self._sees(Delivery) and self._sees(Webhook)):
            yield _("silent webhooks")
        elif is_part:
            yield _("silence of webhooks that the table does not show")

    def _sees(self, model: type[Model]) -> bool:
        return self._permitted.may_view(model)

    def _url(self, model: type[Model], page: str, *args: object, **query: str) -> str:
        return admin_url(self._site, model, page, *args, **query)
