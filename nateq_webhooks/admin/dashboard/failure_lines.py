"""The groups of failures as lines of a table, on the dashboard and on a receiver's page."""

from dataclasses import dataclass

from django.contrib.admin.sites import AdminSite
from django.http import HttpRequest

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists.counts import Count, Kind
from nateq_webhooks.admin.dashboard.failures import Failure, Failures
from nateq_webhooks.admin.hold_text import receiver_url
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.admin.permissions import PermittedRows, may_acknowledge, may_replay
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.receivers import registry


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
    receiver_url: str
    "The page of the receiver."
    is_connected: bool
    "Whether this process knows the receiver; otherwise its runs can't be retried."
    retry_url: str
    "The page that asks before the runs are retried; empty if the user may not, or if the receiver is not connected."
    acknowledge_url: str
    "Where the group is acknowledged; empty if the user may not."


def failure_lines(groups: Failures, site: AdminSite, request: HttpRequest) -> list[FailureLine]:
    """Return a line for each group."""
    return [_line(failure, site, request) for failure in groups.groups]


def _line(failure: Failure, site: AdminSite, request: HttpRequest) -> FailureLine:
    return FailureLine(
        failure=failure,
        receiver=formatting.visible(failure.receiver),
        level=formatting.STATUS_STYLES[failure.status].level,
        symbol=formatting.STATUS_STYLES[failure.status].symbol,
        status=str(Run.Status(failure.status).label),
        error=formatting.visible(failure.error),
        number=str(Count(failure.number, Kind.AT_LEAST if failure.is_capped else Kind.EXACT)),
        newest=formatting.moment(failure.newest) or "",
        url=admin_url(
            site, Run, "changelist", status__exact=failure.status, receiver=failure.receiver, failure=failure.key
        ),
        receiver_url=receiver_url(site, request, failure.receiver),
        is_connected=registry.get(failure.receiver) is not None,
        retry_url=_retry_url(failure, site, request),
        acknowledge_url=_acknowledge_url(failure, site, request),
    )


def _retry_url(failure: Failure, site: AdminSite, request: HttpRequest) -> str:
    may = may_replay(request) and PermittedRows(site, request).may_view(Delivery)
    may = may and registry.get(failure.receiver) is not None
    return admin_url(site, Run, "retry", failure=failure.key, receiver=failure.receiver) if may else ""


def _acknowledge_url(failure: Failure, site: AdminSite, request: HttpRequest) -> str:
    permitted = PermittedRows(site, request)
    may = permitted.may_view(Delivery) and may_acknowledge(permitted, request)
    return admin_url(site, Run, "acknowledge", failure=failure.key, receiver=failure.receiver) if may else ""
