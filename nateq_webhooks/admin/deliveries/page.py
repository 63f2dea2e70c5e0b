"""A delivery's page: did it come, was it genuine, what ran, what failed."""
# ruff: noqa: ARG002 - the signatures are Django's

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db.models.functions import Substr
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from nateq_webhooks.admin import copying, formatting, permissions
from nateq_webhooks.admin.deliveries import answers, payload, signature_check, timeline, tree
from nateq_webhooks.admin.deliveries.answers import Answer
from nateq_webhooks.admin.deliveries.headers import Header, headers
from nateq_webhooks.admin.deliveries.notes import sentence
from nateq_webhooks.admin.deliveries.payload_pages import title_of
from nateq_webhooks.admin.deliveries.processing import has_runs
from nateq_webhooks.admin.deliveries.related import Neighbour, conversation_of, neighbours, superseding
from nateq_webhooks.admin.deliveries.replay import ALL, FAILED, ONE, ReplayPageAdmin, connected, failing
from nateq_webhooks.admin.permissions import Permitted
from nateq_webhooks.models import Delivery, Run


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
class Other:
    """Another content that came under the delivery's id."""

    event: str
    moment: str | None
    size: int
    text: str
    "Its first bytes; empty when they are not kept."
    is_whole: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What only those with `view_payload` see."""

    lines: Sequence[tree.Line]
    "Empty where the body is no JSON that a tree shows."
    raw: payload.Raw
    raw_url: str
    "The page of the bytes that are not here; empty when all are."
    search_url: str
    download_url: str
    conversation_url: str
    others: Sequence[Other]
    curl: copying.Copy | None
    test: copying.Copy


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Everything on a delivery's page."""

    badge: str
    notes: Sequence[str]
    answers: Sequence[Answer]
    summary: Sequence[Fact]
    facts: Sequence[Fact]
    story: Sequence[timeline.Entry]
    has_more_runs: bool
    actions: Sequence[Action]
    headers: Sequence[Header]
    content: Content | None
    neighbours: Sequence[Neighbour]


class DeliveryPageAdmin(ReplayPageAdmin):
    """The page of one delivery and what belongs to it; `DeliveryAdmin` adds the list."""

    fields = ()
    "The page shows values of its own instead of a form."

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Delivery | None:
        """Return the delivery without the payload's column: the page reads the bytes, which have it as it came."""
        rows = self.get_queryset(request).defer("payload")
        try:
            return rows.get(pk=Delivery._meta.pk.to_python(object_id))
        except (Delivery.DoesNotExist, ValidationError):
            return None

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,  # noqa: FBT001, FBT002
        change: bool = False,  # noqa: FBT001, FBT002
        form_url: str = "",
        obj: Delivery | None = None,
    ) -> HttpResponse:
        """Show the page instead of a form."""
        if obj is not None:
            context["page"] = self._page(request, obj)
            context["subtitle"] = title_of(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _page(self, request: HttpRequest, delivery: Delivery) -> Page:
        sees = permissions.may_see_payload(request)
        document = payload.document(delivery.body) if sees else None
        permitted = Permitted(self.admin_site, request)
        material = timeline.read(delivery, permitted, errors=sees)
        may_open = request.user.has_perm("nateq_webhooks.view_run")
        names = connected(delivery) if permissions.may_replay(request) else []
        newest = superseding(delivery, permitted)
        if newest is not None and not permitted.may_view(Delivery, newest):
            newest = None
        signature = signature_check.signature_header(delivery.webhook.signature_header)
        return Page(
            badge=formatting.delivery_badge(delivery, has_runs=bool(material.runs) or has_runs(delivery)),
            notes=[sentence(code) for code in delivery.notes],
            answers=list(answers.answers(material, signature_check.check(delivery))),
            summary=list(self._summary(request, delivery, newest, permitted)),
            facts=list(_facts(delivery)),
            story=timeline.story(
                material,
                self.page_of if may_open else None,
                functools.partial(self._replay_url, names) if names else None,
            ),
            actions=list(self._actions(delivery, material, names)),
            has_more_runs=material.has_more_runs and may_open,
            headers=list(headers(delivery.headers, signature, values=sees)),
            content=self._content(request, delivery, document, material, permitted) if sees else None,
            neighbours=neighbours(delivery, document, newest, self.page_of, permitted),
        )

    def _actions(self, delivery: Delivery, material: timeline.Material, names: Sequence[str]) -> Iterator[Action]:
        """Yield the buttons; `names` are the receivers that the reader may have run again."""
        if names:
            yield Action(_("Run all again"), self.url_of("replay", delivery.pk, which=ALL))
        if set(names) & set(failing(material.newest())):
            yield Action(_("Run the failed ones again"), self.url_of("replay", delivery.pk, which=FAILED))

    def _content(
        self, request: HttpRequest, delivery: Delivery, document: Any, material: timeline.Material, permitted: Permitted
    ) -> Content:
        raw = payload.raw(delivery.body)
        url = self.url_of("payload", delivery.pk)
        return Content(
            lines=tree.lines(document, (), 0, self.address_in(delivery)) if document is not None else [],
            raw=raw,
            raw_url="" if raw.next_start is None else self.url_of("payload", delivery.pk, bytes=raw.next_start),
            search_url=url,
            download_url=self.url_of("body", delivery.pk),
            conversation_url=self._conversation_url(conversation_of(delivery, document)),
            curl=copying.as_curl(
                delivery, request.build_absolute_uri("/").rstrip("/"), is_signed=permissions.may_reveal_secret(request)
            )
            if permitted.shows(delivery.webhook)
            else None,
            others=list(_others(delivery)) if material.other_contents else [],
            test=copying.as_test(delivery, [run.receiver for run in material.runs if not run.is_replay]),
        )

    def _conversation_url(self, conversation: str) -> str:
        """Return the list's search for everything that names the conversation: only the payloads tell."""
        if not conversation:
            return ""
        url = reverse("admin:nateq_webhooks_delivery_changelist", current_app=self.admin_site.name)
        return f"{url}?{urlencode({'q': f'data.conversation_id={conversation}'})}"

    def _replay_url(self, names: Sequence[str], run: Run) -> str:
        if run.receiver not in names:
            return ""
        return self.url_of("replay", run.delivery_id, which=ONE, receiver=run.receiver)

    def _summary(
        self, request: HttpRequest, delivery: Delivery, newest: Delivery | None, permitted: Permitted
    ) -> Iterator[Fact]:
        """Yield what it is and whose, and that it carries an old state when it does."""
        may_open = request.user.has_perm("nateq_webhooks.view_webhook")
        webhook = delivery.webhook
        yield Fact(_("Event"), formatting.text(delivery.event))
        yield Fact(_("Resource id"), formatting.text(delivery.resource_id))
        yield Fact(_("Delivery id"), formatting.text(delivery.delivery_id))
        yield Fact(_("Organization"), formatting.text(delivery.organization_id))
        if permitted.shows(webhook):
            yield Fact(_("Webhook"), formatting.link(self.page_of(webhook) if may_open else "", webhook.name))
        if newest is not None:
            yield Fact(_("Superseded by"), formatting.link(self.page_of(newest), title_of(newest)))


def _others(delivery: Delivery) -> Iterator[Other]:
    """Yield the other contents that came under the delivery's id, as far as a page shows them."""
    for other in delivery.other_contents.annotate(start=Substr("body", 1, payload.RAW_BYTES + 4)).defer("body"):
        shown = payload.raw(bytes(cast(bytes, other.start or b"")))
        yield Other(
            event=formatting.visible(other.event),
            moment=formatting.moment(other.received_at),
            size=other.size,
            text=shown.text,
            is_whole=shown.end == other.size,
        )


def _facts(delivery: Delivery) -> Iterator[Fact]:
    """Yield what else was stored of it."""
    yield Fact(_("Happened"), formatting.moment(delivery.timestamp))
    yield Fact(_("Received"), formatting.moment(delivery.received_at))
    if delivery.attempts_seen > 1:
        yield Fact(_("Last received"), formatting.moment(delivery.last_received_at))
    yield Fact(_("Attempts seen"), delivery.attempts_seen)
    yield Fact(_("First stored attempt"), delivery.attempt)
    yield Fact(_("Version"), formatting.text(delivery.version))
    yield Fact(_("From address"), formatting.text(delivery.remote_addr or ""))
    yield Fact(_("Signed with secret"), formatting.text(delivery.secret_id))
    yield Fact(_("Size"), _("%(number)s bytes") % {"number": len(delivery.body)})
