"""The list "What needs attention": one item for each backlog, pause, refusal and silence that the user may see."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django.contrib.admin.sites import AdminSite
from django.db import router
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.dashboard import alerts
from nateq_webhooks.admin.dashboard.alert_item import AlertItem
from nateq_webhooks.admin.dashboard.arrival import arrival_items
from nateq_webhooks.admin.dashboard.statistics import Statistics
from nateq_webhooks.admin.dashboard.summary import span
from nateq_webhooks.admin.hold_text import page_of_scope, receiver_url
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.admin.permissions import PermittedRows, may_resume
from nateq_webhooks.admin.rotation_text import rotation_text
from nateq_webhooks.inbox.former_secrets import rotations
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.signing_keys import problem_text
from nateq_webhooks.stored_secrets import unreadable

_LEVELS: Final = ("bad", "warn", "good")


class ItemBuilder:
    """Builds the items for one request."""

    def __init__(self, site: AdminSite, request: HttpRequest, permitted: PermittedRows, now: datetime) -> None:
        self._site = site
        self._request = request
        self._permitted = permitted
        self._now = now

    def build(self, found: Statistics | None, webhooks: Sequence[Webhook]) -> list[AlertItem]:
        """Return the items, the worst first. `found` are the deliveries of these webhooks; None if they are hidden."""
        items = [
            *self._backlog_items(),
            *self._pause_items(),
            *self._secret_items(webhooks),
            *self._rotation_items(webhooks),
            *arrival_items(found, webhooks, self._site, self._request, self._now),
        ]
        return sorted(items, key=lambda item: _LEVELS.index(item.level))

    def _sees(self, model: type[Model]) -> bool:
        return self._permitted.may_view(model)

    def _url(self, model: type[Model], page: str, *args: object, **query: str) -> str:
        return admin_url(self._site, model, page, *args, **query)

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
                url=receiver_url(self._site, self._request),
                link=_("Show"),
                is_blocker=True,
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
            is_blocker=True,
        )

    def _worker_items(self, *, is_overdue: bool) -> list[AlertItem]:
        """Report the workers. Their absence is only reported if there was one before, or if something waits for one."""
        workers = alerts.workers(self._now)
        if workers.number:
            title = ngettext("%(number)s worker is running", "%(number)s workers are running", workers.number)
            return [
                AlertItem(
                    level="good",
                    symbol="✓",
                    title=title % {"number": workers.number},
                    text=_("Seen just now."),
                    url=receiver_url(self._site, self._request),
                    link=_("Receivers"),
                )
            ]
        if workers.last is not None:
            text = _("The last one was seen %(time)s ago.") % {"time": span(self._now - workers.last)}
            return [
                AlertItem(
                    level="bad" if is_overdue else "warn",
                    symbol="!",
                    title=_("No worker is running"),
                    text=text,
                    is_blocker=is_overdue,
                )
            ]
        if not is_overdue:
            return []
        text = _("Start manage.py nateq_worker, or run manage.py nateq_worker --once from cron.")
        return [AlertItem(level="bad", symbol="!", title=_("No worker was ever seen"), text=text, is_blocker=True)]

    def _secret_items(self, webhooks: Sequence[Webhook]) -> list[AlertItem]:
        """Return a line for each webhook with a secret that can't be read."""
        by_name = {webhook.name: webhook for webhook in webhooks}
        found = unreadable(router.db_for_write(Webhook), [webhook.pk for webhook in webhooks]) if webhooks else {}
        title = _("%(name)s: a signing secret can't be read")
        until_then = _("Deliveries that no other secret verifies are answered with 503 until then.")
        return [
            AlertItem(
                level="bad",
                symbol="⚷",
                title=title % {"name": formatting.visible(name)},
                text=f"{problem_text(error)} {until_then}",
                url=self._url(Webhook, "change", by_name[name].pk),
                link=_("Show"),
                is_blocker=True,
            )
            for name, error in found.items()
            if name in by_name
        ]

    def _rotation_items(self, webhooks: Sequence[Webhook]) -> list[AlertItem]:
        """Return a line for each webhook whose replaced secret is still accepted."""
        states = rotations([webhook.pk for webhook in webhooks]) if webhooks else {}
        return [
            AlertItem(
                level="warn" if states[webhook.pk] is None else "good",
                symbol="⚷",
                title=formatting.visible(webhook.name),
                text=rotation_text(states, webhook.pk),
                url=self._url(Webhook, "change", webhook.pk),
                link=_("Show"),
            )
            for webhook in webhooks
            if webhook.pk in states
        ]

    def _pause_items(self) -> list[AlertItem]:
        if not self._sees(Run):
            return []
        found = alerts.pauses(self._permitted, sees_deliveries=self._sees(Delivery))
        return [self._pause_item(pause) for pause in found]

    def _pause_item(self, pause: alerts.Pause) -> AlertItem:
        how = _("Paused automatically: %(what)s") if pause.is_automatic else _("Paused: %(what)s")
        by = f"{pause.by}:" if pause.by else ""
        text = formatting.visible(" ".join(part for part in (pause.held, by, pause.reason) if part))
        may = may_resume(pause.scope, self._permitted, self._request)
        return AlertItem(
            level="warn",
            symbol="‖",
            title=how % {"what": formatting.visible(pause.what)},
            text=text,
            url=page_of_scope(pause.scope, self._site, self._request),
            link=_("Show"),
            resume_url=self._url(Run, "resume") if may else "",
            hold=pause.hold,
        )


def _counted(number: int, *, is_capped: bool) -> dict[str, str]:
    return {"number": formatting.capped(number, is_capped=is_capped)}
