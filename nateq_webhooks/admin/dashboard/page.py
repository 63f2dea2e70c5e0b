"""The dashboard on the app's index: what needs attention, and the webhooks' figures, as far as the user may see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.admin import diagnosis_text, formatting
from nateq_webhooks.admin.changelists.filters import FIND_WEBHOOK, webhook_search_term
from nateq_webhooks.admin.dashboard import alerts
from nateq_webhooks.admin.dashboard.chart import Chart, chart
from nateq_webhooks.admin.dashboard.failures import MAX_RUNS_READ as MAX_FAILED_RUNS
from nateq_webhooks.admin.dashboard.failures import Failure, Failures, failures
from nateq_webhooks.admin.dashboard.silent_webhooks import SilentWebhook, find_silent
from nateq_webhooks.admin.dashboard.statistics import Health, Statistics, read_statistics
from nateq_webhooks.admin.dashboard.summary import Summary, percent, processing, span, summary
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.admin.permissions import PermittedRows, site_of
from nateq_webhooks.models import Delivery, Rejection, Run, Webhook

MAX_WEBHOOKS: Final = 50
"""Webhooks that are shown, the first ones by name; most sites have a few."""

_LEVELS: Final = ("bad", "warn", "good")


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
class AlertItem:
    """One thing that needs attention: how bad it is, what it is, and where to look."""

    level: str
    symbol: str
    title: str
    text: str
    url: str = ""
    link: str = ""


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
            items=sorted(
                [
                    *self._backlog_items(),
                    *self._pause_items(),
                    *self._refusal_items(),
                    *self._silent_items(found, webhooks),
                ],
                key=lambda item: _LEVELS.index(item.level),
            ),
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

    def _backlog_items(self) -> list[AlertItem]:
        """Return what has not been started in time, and which workers there are."""
        items: list[AlertItem] = []
        if self._sees(Delivery) and (backlog := alerts.deliveries_due(self._now, self._permitted)):
            title = ngettext(
                "%(number)s delivery waits to be dispatched",
                "%(number)s deliveries wait to be dispatched",
                backlog.number,
            )
            items.append(
                self._backlog_item(title, backlog, self._url(Delivery, "changelist", status__exact="received"))
            )
        if not self._sees(Run):
            return items
        if backlog := alerts.runs_due(self._now, self._permitted):
            title = ngettext("%(number)s run waits to be started", "%(number)s runs wait to be started", backlog.number)
            items.append(self._backlog_item(title, backlog, self._url(Run, "changelist")))
        return [*items, *self._worker_items(is_overdue=bool(items)), *self._orphan_items()]

    def _orphan_items(self) -> list[AlertItem]:
        number, is_capped = alerts.orphaned(self._permitted)
        if not number:
            return []
        title = ngettext(
            "%(number)s run waits for an unknown receiver", "%(number)s runs wait for unknown receivers", number
        )
        return [
            AlertItem(
                level="bad",
                symbol="?",
                title=title % _counted(number, is_capped=is_capped),
                text=_("No process has these receivers any more: see manage.py nateq_orphans."),
            )
        ]

    def _backlog_item(self, title: str, backlog: alerts.Backlog, url: str) -> AlertItem:
        text = _("The oldest has been due for %(time)s.") % {"time": span(self._now - backlog.since)}
        return AlertItem(
            level="bad",
            symbol="…",
            title=title % _counted(backlog.number, is_capped=backlog.is_capped),
            text=text,
            url=url,
            link=_("Show"),
        )

    def _worker_items(self, *, is_overdue: bool) -> list[AlertItem]:
        """Report the workers. Their absence is only reported if there was one before, or if something waits for one."""
        workers = alerts.workers(self._now)
        if workers.number:
            title = ngettext("%(number)s worker is running", "%(number)s workers are running", workers.number)
            return [
                AlertItem(level="good", symbol="✓", title=title % {"number": workers.number}, text=_("Seen just now."))
            ]
        if workers.last is not None:
            text = _("The last one was seen %(time)s ago.") % {"time": span(self._now - workers.last)}
            return [
                AlertItem(level="bad" if is_overdue else "warn", symbol="!", title=_("No worker is running"), text=text)
            ]
        if not is_overdue:
            return []
        text = _("Start manage.py nateq_worker, or run manage.py nateq_worker --once from cron.")
        return [AlertItem(level="bad", symbol="!", title=_("No worker was ever seen"), text=text)]

    def _pause_items(self) -> list[AlertItem]:
        if not self._sees(Run):
            return []
        return [self._pause_item(pause) for pause in alerts.pauses(self._permitted)]

    def _pause_item(self, pause: alerts.Pause) -> AlertItem:
        how = _("Paused automatically: %(what)s") if pause.is_automatic else _("Paused: %(what)s")
        by = f"{pause.by}:" if pause.by else ""
        text = formatting.visible(" ".join(part for part in (pause.held, by, pause.reason) if part))
        return AlertItem(level="warn", symbol="‖", title=how % {"what": formatting.visible(pause.what)}, text=text)

    def _refusal_items(self) -> list[AlertItem]:
        if not (self._sees(Rejection) and self._sees(Webhook)):
            return []
        return [self._refusal_item(each) for each in alerts.refusals(self._now, self._permitted)]

    def _refusal_item(self, refusal: alerts.Refusals) -> AlertItem:
        name = formatting.visible(refusal.webhook.name)
        title = ngettext(
            "%(number)s request to %(webhook)s refused: %(reason)s",
            "%(number)s requests to %(webhook)s refused: %(reason)s",
            refusal.number,
        )
        return AlertItem(
            level="warn",
            symbol="⊘",
            title=title % {"number": refusal.number, "webhook": name, "reason": diagnosis_text.reason(refusal.reason)},
            text=_("In the last 24 hours, the newest %(time)s ago.") % {"time": span(self._now - refusal.newest)},
            url=self._url(Rejection, "changelist", webhook__id__exact=str(refusal.webhook.pk), reason=refusal.reason),
            link=_("Show"),
        )

    def _silent_items(self, found: Statistics | None, webhooks: Sequence[Webhook]) -> list[AlertItem]:
        if found is None:
            return []
        return [self._silent_item(each) for each in find_silent(found, webhooks, self._permitted)]

    def _silent_item(self, silent: SilentWebhook) -> AlertItem:
        ago = span(self._now - silent.last)
        if silent.pace is None:
            hint = _("No delivery has come for %(time)s. If the webhook is not used any more, deactivate it.")
            text = hint % {"time": ago}
        else:
            pace = span(silent.pace)
            text = _("The last one came %(time)s ago; before that, one came every %(pace)s.") % {
                "time": ago,
                "pace": pace,
            }
        return AlertItem(
            level="warn",
            symbol="○",
            title=_("No delivery to %(webhook)s") % {"webhook": formatting.visible(silent.name)},
            text=text,
            url=self._url(Webhook, "change", silent.webhook_id),
            link=_("Show"),
        )


def _counted(number: int, *, is_capped: bool) -> dict[str, str]:
    shown = number_format(number)
    return {"number": _("more than %(number)s") % {"number": shown} if is_capped else shown}
