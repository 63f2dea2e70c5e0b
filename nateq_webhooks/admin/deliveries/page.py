"""The page of a delivery."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from django.contrib.admin import ModelAdmin
from django.db.models import Model
from django.db.models.functions import Substr
from django.http import HttpRequest
from django.utils.translation import gettext as _

from nateq_webhooks.admin import audit_section, formatting, permissions
from nateq_webhooks.admin.audit_section import AuditSection
from nateq_webhooks.admin.deliveries import payload, signature_check, snippets, timeline, tree
from nateq_webhooks.admin.deliveries.changes import Changes, changes_since_previous
from nateq_webhooks.admin.deliveries.content_change import change_text, is_gone
from nateq_webhooks.admin.deliveries.headers import headers
from nateq_webhooks.admin.deliveries.notes import sentence
from nateq_webhooks.admin.deliveries.payload_pages import part_url_of
from nateq_webhooks.admin.deliveries.processing import has_runs
from nateq_webhooks.admin.deliveries.related import RelatedDelivery, conversation_of, related, superseding
from nateq_webhooks.admin.deliveries.replay import ALL, FAILED, ONE, again, given_up
from nateq_webhooks.admin.deliveries.status_answers import StatusAnswer, status_answers
from nateq_webhooks.admin.deliveries.timeline import RunActions
from nateq_webhooks.admin.deliveries.view import title_of
from nateq_webhooks.admin.hold_text import HoldText, hold_texts, receiver_url
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.create import connected_receivers
from nateq_webhooks.inbox.shown_headers import ShownHeader
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.redaction import NOT_MASKABLE, as_shown, shown_body


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a page's summary."""

    label: str
    value: object


@dataclass(frozen=True, slots=True)
class Action:
    """A button of the page; it leads to a page that asks first."""

    label: str
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherContentExcerpt:
    """Other content that came with the delivery's id."""

    event: str
    moment: str | None
    size: str
    text: str
    "The first bytes; empty if they are not kept."
    is_whole: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What needs the permission `view_payload`."""

    lines: Sequence[tree.Line]
    "The tree; empty if the body is not shown as one."
    raw: payload.Raw
    raw_url: str
    "The page with the rest of the bytes; empty if all are here."
    search_url: str
    download_url: str
    conversation_url: str
    others: Sequence[OtherContentExcerpt]
    changes: Changes | None
    "Since the previous delivery of the same resource; None if there is none to compare with."
    changes_url: str
    curl: snippets.Snippet | None
    sign_url: str
    "The page that shows the curl command with a signature; empty if the user may not have one."
    test: snippets.Snippet
    masked: str
    "What is masked in all of this (`REDACT`); empty if nothing is."


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryPage:
    """Everything on a delivery's page."""

    badge: str
    is_content_gone: bool
    "Whether the payload and the headers were removed."
    notes: Sequence[str]
    answers: Sequence[StatusAnswer]
    summary: Sequence[Fact]
    facts: Sequence[Fact]
    timeline: Sequence[timeline.Entry]
    has_more_runs: bool
    actions: Sequence[Action]
    may_try_all_now: bool
    "Whether a button brings all pending runs forward that nothing holds back."
    try_now_url: str
    resume_url: str
    headers: Sequence[ShownHeader]
    content: Content | None
    related: Sequence[RelatedDelivery]
    audit: AuditSection | None
    "What people did with it; None if there is nothing, or the user may not see the audit log."
    erase_url: str
    "The page that erases what is stored about a person; empty if the user may not."


def build(model_admin: "ModelAdmin[Delivery]", request: HttpRequest, delivery: Delivery) -> DeliveryPage:
    """Return the page of a delivery as the user of a request may see it."""
    return _Builder(model_admin, request, delivery).build()


class _Builder:
    """Builds the page of a delivery for one request."""

    def __init__(self, model_admin: "ModelAdmin[Delivery]", request: HttpRequest, delivery: Delivery) -> None:
        self._request = request
        self._stored = delivery
        self._delivery = as_shown(delivery)
        self._site = model_admin.admin_site
        self._model = model_admin.model
        self._permitted = PermittedRows(self._site, request)
        self._sees_payload = permissions.may_see_payload(request)
        self._document = payload.document(self._delivery.body) if self._sees_payload else None
        self._history = timeline.read(delivery, self._permitted, errors=self._sees_payload)
        self._newest_runs = self._history.newest()
        self._held = hold_texts(self._with_delivery(self._newest_runs.values()), self._site, request)
        self._replayable = connected_receivers(delivery) if permissions.may_replay(request) else []
        newest = superseding(delivery, self._permitted)
        self._newest = newest if newest is not None and self._permitted.may_view(Delivery, newest) else None

    def build(self) -> DeliveryPage:
        """Read what the page shows."""
        delivery, history = self._delivery, self._history
        may_open_runs = self._request.user.has_perm("nateq_webhooks.view_run")
        signature = signature_check.signature_header(delivery.webhook.signature_header)
        return DeliveryPage(
            badge=formatting.delivery_badge(delivery, has_runs=bool(history.runs) or has_runs(delivery)),
            notes=[*filter(None, [change_text(delivery)]), *(sentence(code) for code in delivery.notes)],
            is_content_gone=is_gone(delivery),
            answers=list(status_answers(history, signature_check.check(self._stored))),
            summary=list(self._summary()),
            facts=list(_facts(self._stored)),
            timeline=timeline.entries(history, self._actions_of),
            actions=list(self._actions()),
            may_try_all_now=any(self._actions_of(run).try_now for run in self._newest_runs.values()),
            try_now_url=self._url("try_now") if self._replayable else "",
            resume_url=self._resume_url(),
            has_more_runs=history.has_more_runs and may_open_runs,
            headers=list(
                headers(
                    delivery.headers,
                    signature,
                    values=self._sees_payload,
                    signatures=permissions.may_reveal_secret(self._request),
                )
            ),
            content=self._content() if self._sees_payload else None,
            related=related(delivery, self._document, self._newest, self._page_of, self._permitted),
            audit=audit_section.of_delivery(delivery.pk, history.replays, self._site, self._permitted),
            erase_url=self._erase_url(),
        )

    def _with_delivery(self, runs: Iterable[Run]) -> list[Run]:
        for run in runs:
            run.delivery = self._delivery
        return list(runs)

    def _url(self, page: str, **query: str | int) -> str:
        return admin_url(self._site, self._model, page, self._delivery.pk, **query)

    def _page_of(self, record: Model) -> str:
        return admin_url(self._site, type(record), "change", record.pk)

    def _actions_of(self, run: Run) -> RunActions:
        """Return what the user may do about a run: again if it has finished, now if it waits, resume if it is held."""
        held = self._held.get(run.pk)
        is_latest = self._newest_runs.get(run.receiver) is run
        may_run = is_latest and run.receiver in self._replayable
        is_ready = run.status in Run.PENDING and held is None
        return RunActions(
            url=self._page_of(run) if self._request.user.has_perm("nateq_webhooks.view_run") else "",
            receiver_url=receiver_url(self._site, self._request, run.receiver),
            replay_url=self._replay_url(run) if may_run and run.status in Run.FINISHED else "",
            try_now=run.receiver if may_run and is_ready else "",
            hold=held.text if held is not None else "",
            resume=held.hold or 0 if held is not None and self._may_resume(held) else 0,
        )

    def _resume_url(self) -> str:
        is_offered = any(self._actions_of(run).resume for run in self._newest_runs.values())
        return admin_url(self._site, Run, "resume") if is_offered else ""

    def _may_resume(self, held: HoldText) -> bool:
        scope = held.scope
        return scope is not None and permissions.may_resume(scope, self._permitted, self._request)

    def _erase_url(self) -> str:
        if not permissions.may_erase(self._permitted, self._request):
            return ""
        return admin_url(self._site, self._model, "erase", deliveries=self._delivery.pk)

    def _replay_url(self, run: Run) -> str:
        return self._url("replay", which=ONE, receiver=run.receiver)

    def _actions(self) -> Iterator[Action]:
        if again(self._replayable, self._newest_runs):
            yield Action(_("Run all again"), self._url("replay", which=ALL))
        if set(self._replayable) & set(given_up(self._newest_runs)):
            yield Action(_("Run the failed ones again"), self._url("replay", which=FAILED))

    def _content(self) -> Content:
        delivery, document = self._delivery, self._document
        raw = payload.raw(delivery.body)
        url = self._url("payload")
        changes = changes_since_previous(delivery, document, self._permitted)
        return Content(
            changes=changes,
            changes_url="" if changes is None else self._page_of(changes.previous),
            lines=tree.lines(document, (), 0, part_url_of(url)) if document is not None else [],
            raw=raw,
            raw_url="" if raw.next_start is None else self._url("payload", bytes=raw.next_start),
            search_url=url,
            download_url=self._url("body"),
            conversation_url=self._conversation_url(),
            curl=self._curl() if self._permitted.shows(delivery.webhook) else None,
            sign_url=self._url("signed") if permissions.may_reveal_secret(self._request) else "",
            others=list(_other_contents(delivery)) if self._history.other_contents else [],
            test=snippets.as_test(delivery, [run.receiver for run in self._history.runs if not run.is_replay]),
            masked=self._masked(),
        )

    def _masked(self) -> str:
        if not settings().redaction:
            return ""
        text = _("Values are masked here, as the setting REDACT says.")
        if self._delivery.body == NOT_MASKABLE:
            text = _(
                "The body is not a JSON object, so nobody knows where the values are that the setting REDACT masks: it "
                "is not shown."
            )
        if self._delivery.content_change is not None:  # masked before it was stored, or erased since
            return text
        complete = _("What is stored is complete.")
        return f"{text} {complete}"

    def _curl(self) -> snippets.Snippet | None:
        site = self._request.build_absolute_uri("/").rstrip("/")
        return snippets.as_curl(self._delivery, site, is_signed=False)

    def _conversation_url(self) -> str:
        """Return the list's search for all deliveries that name the conversation in their payload."""
        conversation = conversation_of(self._delivery, self._document)
        if not conversation:
            return ""
        return admin_url(self._site, Delivery, "changelist", q=f"data.conversation_id={conversation}")

    def _summary(self) -> Iterator[Fact]:
        """Yield what the delivery is about, whose it is, and what supersedes it."""
        delivery = self._delivery
        yield Fact(_("Event"), formatting.name_link("", delivery.event) if delivery.event else None)
        yield Fact(_("Resource id"), formatting.text(delivery.resource_id))
        yield Fact(_("Delivery id"), formatting.text(delivery.delivery_id))
        yield Fact(_("Organization"), formatting.text(delivery.organization_id))
        webhook = delivery.webhook
        if self._permitted.shows(webhook):
            may_open = self._request.user.has_perm("nateq_webhooks.view_webhook")
            yield Fact(_("Webhook"), formatting.name_link(self._page_of(webhook) if may_open else "", webhook.name))
        if self._newest is not None:
            yield Fact(_("Superseded by"), formatting.link(self._page_of(self._newest), title_of(self._newest)))


def _other_contents(delivery: Delivery) -> Iterator[OtherContentExcerpt]:
    """Yield the other contents that came with the delivery's id, cut to what a page shows."""
    is_masked = bool(settings().redaction)
    rows = delivery.other_contents.all()
    if not is_masked:  # to mask values the whole body is needed
        rows = rows.annotate(start=Substr("body", 1, payload.RAW_BYTES + 4)).defer("body")
    for other in rows:
        body = shown_body(other.body) if is_masked else bytes(cast(bytes, getattr(other, "start", None) or b""))
        shown = payload.raw(body)
        yield OtherContentExcerpt(
            event=formatting.visible(other.event),
            moment=formatting.moment(other.received_at),
            size=formatting.size(other.size),
            text=shown.text,
            is_whole=shown.end == (len(body) if is_masked else other.size),
        )


def _facts(delivery: Delivery) -> Iterator[Fact]:
    """Yield what else was stored of the delivery."""
    yield Fact(_("Happened"), formatting.moment(delivery.timestamp))
    yield Fact(_("Received"), formatting.moment(delivery.received_at))
    if delivery.attempts_seen > 1:
        yield Fact(_("Last received"), formatting.moment(delivery.last_received_at))
    yield Fact(_("Attempts seen"), delivery.attempts_seen)
    yield Fact(_("First stored attempt"), delivery.attempt)
    yield Fact(_("Version"), formatting.text(delivery.version))
    yield Fact(_("From address"), formatting.text(delivery.remote_addr or ""))
    yield Fact(_("Signed with secret"), formatting.text(delivery.secret_id))
    size = _("removed") if is_gone(delivery) else formatting.size(len(delivery.body))
    yield Fact(_("Size"), size)
