"""The pages of a delivery's payload: a part of its tree, a long value, a search, its raw bytes, and the download."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries import payload, snippets, tree, tree_search
from nateq_webhooks.admin.deliveries.view import DeliveryView, title_of
from nateq_webhooks.admin.permissions import may_see_payload
from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol.columns import column_text

MAX_WANTED: int = 200
"""Characters of a search term."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crumb:
    """A step of the path from the payload's root to what is shown."""

    label: str
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What a payload page shows of the document: lines of a container, or a piece of a long value."""

    crumbs: Sequence[Crumb]
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


class BodyDownload(DeliveryView):
    """The download of the stored bytes."""

    route = "<int:pk>/body/"
    name = "body"

    def is_allowed(self, request: HttpRequest) -> bool:
        """Return whether the user may see payloads."""
        return may_see_payload(request)

    def get(self, request: HttpRequest, pk: int) -> HttpResponse:  # noqa: ARG002
        """Return the body as it came, as a file that no browser interprets."""
        delivery = self.get_delivery(pk)
        response = HttpResponse(delivery.body, content_type="text/plain; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="{snippets.file_name(delivery)}"'
        response["X-Content-Type-Options"] = "nosniff"
        return response


class PayloadPage(DeliveryView):
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
        if "bytes" in query:
            return self._show(delivery, _("Raw bytes"), **self._raw(delivery, _number(query["bytes"])))
        if wanted := column_text(query.get("find", "").strip(), MAX_WANTED):
            return self._show(delivery, _("Search in the payload"), **self._found(delivery, wanted))
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

    def _address_in(self, delivery: Delivery) -> tree.Address:
        return address_in(self.url("payload", delivery.pk))

    def _raw(self, delivery: Delivery, start: int) -> dict[str, Any]:
        raw = payload.raw(delivery.body, start)
        return {
            "raw": raw,
            "next_url": "" if raw.next_start is None else self.url("payload", delivery.pk, bytes=raw.next_start),
            "previous_url": ""
            if raw.previous_start is None
            else self.url("payload", delivery.pk, bytes=raw.previous_start),
        }

    def _found(self, delivery: Delivery, wanted: str) -> dict[str, Any]:
        document, address = _document(delivery), self._address_in(delivery)
        findings = tree_search.find(document, wanted)
        places = [
            SearchHit(
                label=_path_text(document, found.path), text=found.text, url=address(found.path[:-1], found.path[-1])
            )
            for found in findings.places
        ]
        return {"wanted": wanted, "places": places, "is_cut": findings.is_cut}

    def _part(self, delivery: Delivery, where: str, first: int) -> Part:
        """Return the part of the tree that an address names. Raises `Http404` if there is none."""
        address = self._address_in(delivery)
        try:
            found = tree.parsed_path(where)
            document = _document(delivery)
            value = tree.at(document, found)
            crumbs = _crumbs(document, found, address)
            if tree.is_container(value):
                shown, step = tree.lines(document, found, first, address), tree.MAX_CHILDREN
                return Part(crumbs=crumbs, lines=shown, previous_url=_previous(address, found, first, step))
        except (ValueError, LookupError):
            raise Http404 from None
        step, following = tree.MAX_TEXT_ALONE, first + tree.MAX_TEXT_ALONE
        return Part(
            crumbs=crumbs,
            text=tree.written(value, first, step),
            previous_url=_previous(address, found, first, step),
            next_url=address(found, following) if following < tree.length_of(value) else "",
        )


def _document(delivery: Delivery) -> Any:
    """Return the payload's document. Raises `Http404` if the body is not shown as a tree."""
    document = payload.document(delivery.body)
    if document is None:
        raise Http404
    return document


def address_in(payload_url: str) -> tree.Address:
    """Return the function that gives the address of a part of a payload, by the address of its page."""
    return lambda where, first: f"{payload_url}?at={tree.written_path(where)}&from={first}"


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise Http404
    return int(text)


def _previous(address: tree.Address, where: tree.Path, first: int, step: int) -> str:
    return address(where, max(0, first - step)) if first else ""


def _crumbs(document: Any, where: tree.Path, address: tree.Address) -> list[Crumb]:
    """Return the steps to a place; of a long path only the last ones."""
    labels = tree.keys_to(document, where)
    steps = [Crumb(label=labels[n], url=address(where[: n + 1], 0)) for n in range(len(where))]
    return [Crumb(label=_("Payload"), url=address((), 0)), *steps[-tree.MAX_LEVELS :]]


def _path_text(document: Any, where: tree.Path) -> str:
    """Return a path as people write it, `data.lines[3]`; only the end of a long one."""
    labels = tree.keys_to(document, where)
    way = "".join(label if label.startswith("[") else f".{label}" for label in labels).removeprefix(".")
    return formatting.visible(way[-tree.MAX_KEY :])
