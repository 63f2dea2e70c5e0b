"""No request to the admin is answered with 500: each parameter of each page, with unexpected values.

`FUZZ_REQUESTS=20000 FUZZ_SEED=7 pytest tests/admin/test_fuzz.py` runs longer; a failure names the request.
"""

import os
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern, URLResolver

from nateq_webhooks.models import Delivery, Replay, Run, Webhook
from tests import builders
from tests.builders import ago, store_rejection

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "400"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
BASE = "/admin/nateq_webhooks/"

NUMBERS = [
    *("0", "-0", "-1", "1", "00", "1.5", "1e400", "NaN", "Infinity", "1_0", "\u0661", "\u00b2", "0x10", "+1", " 1 "),
    *(str(2**power + more) for power in (31, 32, 53, 63, 64) for more in (-1, 0, 1)),
    *("-9223372036854775809", "9" * 30, "9" * 5000),
]
MOMENTS = [
    *("0001-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31", "2026-02-30", "2026-13-01"),
    *("2026-06-30T12:00:00Z", "2026-06-30 25:00", "1969-12-31", "2026-06-30T12:00:00+99:99", "-0001-01-01", "now"),
]
TEXTS = [
    *("", " ", "\0", "a\0b", "\ud800", "a\udfffb", "\r\n", "\u202egpj.exe", "\ufeff", "\u200b", "سارة 😀", "e\u0301"),
    *("ß", "'", '"', "\\", "%", "_", "%s", "%(a)s", "{}", "{0}", "${x}", "<script>", "&amp;", ";=1", "=1+1", "../.."),
    *("x" * 5000, "null", "true", "None", "[]", "all", "failed", "one", "last", "everything", "yes", "__", "a__b"),
    *("pk", "-pk"),
]
PATHS = [
    *("data.-1=x", "2147483648=1", "data.0=1", "data=", "=x", ".=x", "a..b=c", "$.a=b", 'data."a"=x', "data.a\\=b"),
    *("a=\0", "a=\ud800", "data.x=1e400", "data.x=NaN", 'data.x="', "data.x=" + "9" * 400, "0.0.0=1", "data.%=%s"),
    *(".".join("a" * 16) + "=1", "data.'=x", "data.[0]=x", "data.\\ud800=x", "data.سارة=x", "data.$=1", "data.x=-0.0"),
    "data.*=1",
]
WHOLE = [*NUMBERS, *MOMENTS, *TEXTS, *PATHS]

NAMES = [
    *("q", "o", "p", "e", "cursor", "all", "_facets", "_popup", "_to_field", "_changelist_filters", "find_webhook"),
    *("status", "status__exact", "status__in", "status__isnull", "event", "event__in", "receiver", "reason"),
    *("reason__in", "webhook", "webhook__id__exact", "webhook__id__in", "webhook__isnull", "pk", "id"),
    *("webhook__secret__startswith", "received_at__gte", "received_at__lt", "received_at__year", "since", "until"),
    *("deliveries", "everything", "failure", "delivery__id__exact", "delivery__delivery_id", "is_active__exact"),
    *("registration__exact", "payload__data", "version", "which", "at", "from", "find", "bytes", "part", "format"),
    *("receivers", "do", "action", "confirmed", "sent", "payload", "name", "new_secret", "events", "other_events"),
    *("organization_id", "signature_header", "is_active", "index", "select_across", "_selected_action", "post"),
    *("app_label", "model_name", "field_name", "term", "older_secrets-TOTAL_FORMS", "older_secrets-INITIAL_FORMS"),
    *("older_secrets-0-new_secret", "older_secrets-0-id", "older_secrets-0-expires_at_0"),
    *("older_secrets-0-expires_at_1", "older_secrets-0-DELETE", "_save", "_continue", "_addanother", "_saveasnew"),
]
MEANT = {
    "reason": ["no_match", "because", "x" * 501],
    "status": list(Delivery.Status.values),
    "status__exact": [*Delivery.Status.values, *Run.Status.values],
    "event": ["ticket.created", "message.sent"],
    "action": ["replay_selected", "export_selected", "delete_selected", "pause", "resume", "push", "rotate"],
    "format": ["jsonl", "csv"],
    "do": ["cancel", "go on"],
    "which": ["all", "failed", "one"],
    "receivers": ["shop.open_ticket"],
    "payload": ['{"event": "ticket.created"}', '{"event": "\\ud800"}', "[" * 2000, '{"event": 1e400}', "{}", "null"],
    "part": ["1-1-1-9223372036854775807", "1-1-1-2", "2-1-1-1", "a-b-c-d"],
    "at": ["0", "0.1", "0-1", "-1", "0.0.0.0.0"],
    "everything": ["yes"],
    "select_across": ["0", "1"],
    "app_label": ["nateq_webhooks", "auth"],
    "model_name": ["run", "delivery", "rejection"],
    "field_name": ["delivery", "webhook"],
}


def routes(found: Any = None, prefix: str = "/admin/") -> Iterator[str]:
    """Every address of the package's admin, as a route, and Django's completion."""
    for one in admin.site.get_urls() if found is None else found:
        if isinstance(one, URLResolver):
            yield from routes(one.url_patterns, prefix + str(one.pattern))
        elif isinstance(one, URLPattern) and (prefix + str(one.pattern)).startswith((BASE, "/admin/autocomplete/")):
            yield prefix + str(one.pattern)


class Fuzzer:
    """Sends random requests, always the same ones for a seed."""

    def __init__(self, client: Client, keys: dict[str, list[Any]], seed: int) -> None:
        self._client = client
        self._keys = keys
        self._random = random.Random(seed)
        self._routes = sorted({*routes(), BASE})
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []

    def ask(self) -> None:
        """Send one request, and note how it was answered."""
        address = self._address(self._random.choice(self._routes))
        query = urlencode(self._fields(3), errors="surrogatepass")
        method = self._random.choice(["get", "get", "post"])
        posted = urlencode(self._fields(6), errors="surrogatepass") if method == "post" else ""
        url = f"{address}?{query}"
        try:
            if method == "get":
                answer = self._client.get(url)
            else:
                answer = self._client.post(url, posted, content_type="application/x-www-form-urlencoded")
            if answer.streaming:
                b"".join(answer.streaming_content)  # type: ignore[attr-defined]
                answer.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            self.failures.append(f"{method} {url[:400]} {posted[:600]}: {type(error).__name__}: {error}"[:1500])
            return
        self.statuses[answer.status_code] += 1
        if answer.status_code >= 500:
            self.failures.append(f"{method} {url[:400]} {posted[:600]}: {answer.status_code}")

    def _address(self, route: str) -> str:
        model = route.removeprefix(BASE).split("/", 1)[0]
        known = self._keys.get(model, ["1"])
        odd = self._random.choice(
            ["0", "1", "9" * 30, str(2**63), "x", "_5F", "%00", str(uuid.uuid4()), "-1", "%F0%9F"]
        )
        key = str(self._random.choice(known)) if self._random.random() < 0.8 else odd
        number = key if key.isascii() and key.isdecimal() else "1"
        return route.replace("<path:object_id>", key).replace("<int:pk>", number)

    def _fields(self, most: int) -> list[tuple[str, str]]:
        """Some parameters, now and then the same one twice."""
        names = self._random.choices(NAMES, k=self._random.randint(0, most))
        if names and self._random.random() < 0.2:
            names.append(names[0])
        return [(name, self._value(name)) for name in names]

    def _value(self, name: str) -> str:
        chance = self._random.random()
        if name in MEANT and chance < 0.4:
            return self._random.choice(MEANT[name])
        if chance < 0.55:
            return str(self._random.choice([key for keys in self._keys.values() for key in keys]))
        if name == "q" and chance < 0.8:
            return self._random.choice(PATHS)
        return self._random.choice(WHOLE)


@pytest.fixture
def keys(webhook: Webhook) -> dict[str, list[Any]]:
    """A few rows of each kind."""
    other = Webhook.objects.create(name="سارة \u202e", events=["ticket.created"], organization_id="org_1")
    stored = builders.insert(
        builders.build_delivery(
            one,
            ago(hours=number),
            status,
            event=event,
            payload={"data": {"x": number}},
            body=b'{"data": {"x": [1, "a"]}}',
        )
        for number, (one, status, event) in enumerate(
            [(webhook, "processed", "ticket.created"), (other, "dead", "message.sent"), (other, "invalid", "")] * 3
        )
    )
    runs = Run.objects.bulk_create([builders.build_run(one, "dead") for one in stored[:3]])
    replay = Replay.objects.create(by="boss", until=stored[-1].pk, filters={"status": "dead"})
    rejection = store_rejection(webhook, received_at=ago(minutes=1))
    return {
        "webhook": [webhook.pk, other.pk],
        "delivery": [one.pk for one in stored],
        "run": [one.pk for one in runs],
        "replay": [replay.pk],
        "rejection": [rejection.pk],
    }


@pytest.mark.django_db
def test_no_request_is_answered_with_500(boss: Client, keys: dict[str, list[Any]]) -> None:
    boss.raise_request_exception = True
    fuzzer = Fuzzer(boss, keys, SEED)

    for _ in range(REQUESTS):
        fuzzer.ask()

    print(f"\n{REQUESTS} requests, seed {SEED}: {dict(sorted(fuzzer.statuses.items()))}")  # noqa: T201 - shown with -s
    assert fuzzer.failures == []
    assert fuzzer.statuses[200] > REQUESTS / 10
