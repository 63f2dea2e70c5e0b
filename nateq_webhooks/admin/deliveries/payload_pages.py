"""The pages of a delivery's payload: a part of its tree, a long value, a search, its raw bytes, and the download."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from nateq_webhooks import audit
from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries import payload, snippets, tree, tree_search
from nateq_webhooks.admin.deliveries.content_change import change_text, is_gone
from nateq_webhooks.admin.deliveries.view import DeliveryView, title_of
from nateq_webhooks.admin.permissions import may_see_payload
from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol.columns import column_text

MAX_TERM_CHARS: int = 200
"""Characters of a search term."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Breadcrumb:
    """A step of the path from the payload's root to what is shown."""

    label: str
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What a payload page shows of the document: lines of a container, or a piece of a long value."""

    crumbs: Sequence[Breadcrumb]
    lines: Sequence[tree.Line] = ()
    text: str | None = None
    previous_url: str = ""
    next_url: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchHit:
    """A place where a search found its term."""

    label: str
    text: str
    url: str


class ContentView(DeliveryView):
    """A page of the content of one delivery."""

    def _say_that_it_is_gone(self, delivery: Delivery) -> HttpResponse:
        """Lead to the delivery's page, which says when the content was removed."""
        messages.warning(self.request, change_text(delivery))
        return HttpResponseRedirect(self.url("change", delivery.pk))


class BodyDownload(ContentView):
    """The download of the stored bytes."""

    route = "<int:pk>/body/"
    name = "body"

    def is_allowed(self, request: HttpRequest) -> bool:
        """Return whether the user may see payloads."""
        return may_see_payload(request)

    def get(self, request: HttpRequest, pk: int) -> HttpResponse:  # noqa: ARG002
        """Return the body as it came, as a file that no browser interprets."""
        delivery = self.get_delivery(pk)
        if is_gone(delivery):
            return self._say_that_it_is_gone(delivery)
        target = f"delivery {delivery.pk}"
        audit.record(audit.Action.PAYLOAD_DOWNLOADED, target=target, details={"bytes": len(delivery.body)})
        response = HttpResponse(delivery.body, content_type="text/plain; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="{snippets.file_name(delivery)}"'
        response["X-Content-Type-Options"] = "nosniff"
        return response


class PayloadPage(ContentView):
    """The page of a part of the payload, of a search in it, or of its bytes."""

    route = "<int:pk>/payload/"
    name = "payload"

    def is_allowed(self, request: HttpRequest) -> bool:
        """Return whether the user may see payloads."""
        return may_see_payload(request)

    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what the query asks for: `at` and `from` a part of the tree, `find` a search, `bytes` the bytes.

        With `part` the lines of the tree come alone, for the script that puts them into the page.
        """
        delivery, query = self.get_delivery(pk), request.GET
        if is_gone(delivery):
            return self._say_that_it_is_gone(delivery)
        if "bytes" in query:
            return self._show(delivery, _("Raw body"), **self._raw(delivery, _number(query["bytes"])))
        if term := column_text(query.get("find", "").strip(), MAX_TERM_CHARS):
            return self._show(delivery, _("Search in the payload"), **self._search(delivery, term))
        part = self._part(delivery, query.get("at", ""), _number(query.get("from", "0")))
        if "part" in query:
            return TemplateResponse(request, "admin/nateq_webhooks/delivery/tree.html", {"lines": part.lines})
        return self._show(delivery, _("A part of the payload"), part=part)

    def _show(self, delivery: Delivery, title: str, **context: Any) -> HttpResponse:
        return self.render(
            "delivery/payload",
            title,
            original=delivery,
            name=title_of(delivery),
            download_url=self.url("body", delivery.pk),
            search_url=self.url("payload", delivery.pk),
            **context,
        )

    def _url_of(self, delivery: Delivery) -> tree.UrlOf:
        return part_url_of(self.url("payload", delivery.pk))

    def _raw(self, delivery: Delivery, start: int) -> dict[str, Any]:
        raw = payload.raw(delivery.body, start)
        return {
            "raw": raw,
            "next_url": "" if raw.next_start is None else self.url("payload", delivery.pk, bytes=raw.next_start),
            "previous_url": ""
            if raw.previous_start is None
            else self.url("payload", delivery.pk, bytes=raw.previous_start),
        }

    def _search(self, delivery: Delivery, term: str) -> dict[str, Any]:
        document, url_of = _document(delivery), self._url_of(delivery)
        found = tree_search.find(document, term)
        matches = [
            SearchHit(
                label=_path_text(document, match.path), text=match.text, url=url_of(match.path[:-1], match.path[-1])
            )
            for match in found.matches
        ]
        return {"term": term, "matches": matches, "is_cut": found.is_cut}

    def _part(self, delivery: Delivery, address: str, first: int) -> Part:
        """Return the part of the tree that an address names. Raises `Http404` if there is none."""
        url_of = self._url_of(delivery)
        try:
            path = tree.path_from_text(address)
            document = _document(delivery)
            value = tree.at(document, path)
            crumbs = _crumbs(document, path, url_of)
            if tree.is_container(value):
                shown, step = tree.lines(document, path, first, url_of), tree.MAX_CHILDREN
                return Part(crumbs=crumbs, lines=shown, previous_url=_previous(url_of, path, first, step))
        except (ValueError, LookupError):
            raise Http404 from None
        step, following = tree.MAX_TEXT_ALONE, first + tree.MAX_TEXT_ALONE
        return Part(
            crumbs=crumbs,
            text=tree.value_text(value, first, step),
            previous_url=_previous(url_of, path, first, step),
            next_url=url_of(path, following) if following < tree.length_of(value) else "",
        )


def _document(delivery: Delivery) -> Any:
    """Return the payload's document. Raises `Http404` if the body is not shown as a tree."""
    document = payload.document(delivery.body)
    if document is None:
        raise Http404
    return document


def part_url_of(payload_url: str) -> tree.UrlOf:
    """Return the function that gives the address of a part of a payload, by the address of its page."""
    return lambda path, first: f"{payload_url}?at={tree.path_to_text(path)}&from={first}"


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise Http404
    return int(text)


def _previous(url_of: tree.UrlOf, path: tree.Path, first: int, step: int) -> str:
    return url_of(path, max(0, first - step)) if first else ""


def _crumbs(document: Any, path: tree.Path, url_of: tree.UrlOf) -> list[Breadcrumb]:
    """Return the steps to a place; of a long path only the last ones."""
    labels = tree.path_labels(document, path)
    steps = [Breadcrumb(label=labels[n], url=url_of(path[: n + 1], 0)) for n in range(len(path))]
    return [Breadcrumb(label=_("Payload"), url=url_of((), 0)), *steps[-tree.MAX_LEVELS :]]


def _path_text(document: Any, path: tree.Path) -> str:
    """Return a path as people write it, `data.lines[3]`; only the end of a long one."""
    labels = tree.path_labels(document, path)
    text = "".join(label if label.startswith("[") else f".{label}" for label in labels).removeprefix(".")
    return formatting.visible(text[-tree.MAX_KEY :])
