"""The diagnosis of refused requests: each cause with a real request that was altered or signed wrongly."""

import base64
import gzip
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from nateq_webhooks.inbox import diagnosis
from nateq_webhooks.inbox import recorder as recorder_module
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.inbox.diagnosis import MAX_BODY_BYTES, MAX_SIGNATURES, MAX_WEBHOOKS, Cause, Finding, Sample, hint
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.inbox.request import MAX_HEADERS, NO_MATCH
from nateq_webhooks.models import Rejection, Secret, Webhook
from nateq_webhooks.protocol.alterations import Alteration
from nateq_webhooks.protocol.secret_forms import Form
from nateq_webhooks.protocol.signatures import sign
from tests.conftest import SECRET, Sender, envelope

pytestmark = pytest.mark.django_db

DOCUMENT = envelope(data={"id": "tkt_1", "name": "سارة", "url": "https://x.example/"})
BODY = json.dumps(DOCUMENT, ensure_ascii=False).encode()
SUPPORT = "whsec_support_0123456789abcdef"
OLDER = "whsec_older_0123456789abcdef"

Refused = Callable[..., dict[str, Any]]


@pytest.fixture
def support(db: None) -> Webhook:
    """Another webhook than the one that requests are sent to."""
    return Webhook.objects.create(name="support", secret=SUPPORT)


@pytest.fixture
def refused(sender: Sender) -> Refused:
    """Send a request that is refused; return the hint that is stored for it."""

    def send(body: bytes = BODY, *, status: int = 401, **options: Any) -> dict[str, Any]:
        assert sender.post(body, **options).status_code == status
        recorder.flush()
        hint = Rejection.objects.latest("pk").hint
        found: dict[str, Any] = json.loads(hint) if hint else {}
        return found

    return send


def cause(code: Cause, **details: Any) -> dict[str, Any]:
    return {"code": code.value, "details": details}


def test_a_secret_that_nobody_here_knows(refused: Refused) -> None:
    assert refused(secret="whsec_wrong_0123456789abcdef") == cause(Cause.UNKNOWN_SECRET)


@pytest.mark.parametrize("secret", [SUPPORT, OLDER], ids=["current", "older"])
def test_a_secret_of_another_webhook_names_that_webhook(refused: Refused, support: Webhook, secret: str) -> None:
    Secret.objects.create(webhook=support, secret=OLDER)

    assert refused(secret=secret) == cause(Cause.OTHER_WEBHOOK, webhook="support")


def test_a_secret_that_has_expired_is_named_by_its_id(refused: Refused, webhook: Webhook) -> None:
    ended = datetime.now(UTC) - timedelta(days=1)
    old = Secret.objects.create(webhook=webhook, secret="whsec_old_0123456789abcdef", expires_at=ended)

    assert refused(secret="whsec_old_0123456789abcdef") == cause(Cause.EXPIRED_SECRET, secret=str(old))


@pytest.mark.parametrize(
    ("entered", "signed_with", "form"),
    [
        ("whsec_abc_0123456789abcdef", b"abc_0123456789abcdef", Form.WITHOUT_PREFIX),
        ("abc_0123456789abcdef", b"whsec_abc_0123456789abcdef", Form.WITH_PREFIX),
        ("whsec_abc_0123456789abcdef ", b"whsec_abc_0123456789abcdef", Form.TRIMMED),
        ("whsec_" + base64.b64encode(b"0123456789abcdef").decode(), b"0123456789abcdef", Form.DECODED),
    ],
)
def test_the_secret_read_another_way(
    refused: Refused, webhook: Webhook, entered: str, signed_with: bytes, form: Form
) -> None:
    webhook.secret = entered
    webhook.save()

    assert refused(secret=signed_with.decode()) == cause(Cause.SECRET_FORM, form=form.value)


def test_the_secret_as_shown_where_it_should_be_decoded(refused: Refused, webhook: Webhook) -> None:
    webhook.secret = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
    webhook.save()

    with override_settings(NATEQ_WEBHOOKS={"SECRET_ENCODING": "base64"}):
        assert refused(secret=webhook.secret) == cause(Cause.SECRET_FORM, form=Form.AS_SHOWN.value)


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        pytest.param(BODY, {}, cause(Cause.MISSING_HEADER), id="no signature"),
        pytest.param(
            BODY,
            {"X-Hub-Signature-256": "sha256=" + sign(BODY, SECRET), "X-Other": "0" * 64},
            cause(Cause.RENAMED_HEADER, header="X-Hub-Signature-256"),
            id="a renamed header",
        ),
        pytest.param(
            BODY,
            {"X-Signature": sign(BODY, SUPPORT)},
            cause(Cause.OTHER_WEBHOOK, webhook="support", header="X-Signature"),
            id="a renamed header and the secret of another webhook",
        ),
        pytest.param(
            BODY,
            {"X-Signature": sign(BODY, "whsec_unknown_0123456789abcdef"), "X-Trace": "abc"},
            cause(Cause.MISSING_HEADER, similar=["X-Signature"]),
            id="a header that looks like a signature",
        ),
        pytest.param(
            BODY + b"\n",
            {"X-Signature": sign(BODY, SECRET)},
            cause(Cause.ALTERED_BODY, how=["line_ends"], header="X-Signature"),
            id="a renamed header and an altered body",
        ),
    ],
)
@pytest.mark.usefixtures("support")
def test_a_request_without_the_signature_header(
    sender: Sender, body: bytes, headers: dict[str, str], expected: dict[str, Any]
) -> None:
    sender.client.post(sender.webhook.get_absolute_url(), body, content_type="application/json", headers=headers)
    recorder.flush()

    rejection = Rejection.objects.get()
    assert rejection.reason == "missing"
    assert json.loads(rejection.hint) == expected


def test_a_renamed_header_is_found_beside_the_right_one_with_another_value(refused: Refused) -> None:
    found = refused(signature="none", headers={"X-Signature": sign(BODY, SECRET)})

    assert found == cause(Cause.RENAMED_HEADER, header="X-Signature")


INDENTED = json.dumps(DOCUMENT, indent=2).encode()


@pytest.mark.parametrize(
    ("sent", "received", "how"),
    [
        (BODY, json.dumps(DOCUMENT, ensure_ascii=False, separators=(",", ":")).encode(), "reserialized"),
        (BODY, json.dumps(DOCUMENT, ensure_ascii=False, indent=2).encode(), "reserialized"),
        (BODY, json.dumps(DOCUMENT).encode(), "reserialized"),
        (BODY, json.dumps(dict(reversed(DOCUMENT.items())), ensure_ascii=False).encode(), "reserialized"),
        (BODY, BODY + b"\n", "line_ends"),
        (BODY + b"\n", BODY, "line_ends"),
        (BODY, b"\xef\xbb\xbf" + BODY, "line_ends"),
        (b"\xef\xbb\xbf" + BODY, BODY, "line_ends"),
        (INDENTED.replace(b"\n", b"\r\n"), INDENTED, "line_ends"),
        (INDENTED, INDENTED.replace(b"\n", b"\r\n"), "line_ends"),
        (BODY, gzip.compress(BODY), "compressed"),
        (gzip.compress(BODY, mtime=0), BODY, "decompressed"),
    ],
)
def test_a_body_that_was_changed_on_the_way(refused: Refused, sent: bytes, received: bytes, how: str) -> None:
    assert refused(received, signature=sign(sent, SECRET)) == cause(Cause.ALTERED_BODY, how=[how])


def test_a_body_that_claims_to_be_compressed_and_is_not(refused: Refused) -> None:
    found = refused(BODY, signature=sign(b"what only brotli makes", SECRET), headers={"Content-Encoding": "br"})

    assert found == cause(Cause.ALTERED_BODY, how=["decompressed"])


def test_a_body_that_arrived_empty(refused: Refused) -> None:
    assert refused(b"", signature=sign(BODY, SECRET)) == cause(Cause.EMPTY_BODY)


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        ("abc", "not_hex"),
        ("", "empty"),
        ("ab" * 600, "too_long"),
        (",".join(["ab"] * 9), "too_many"),
        ("é", "not_ascii"),
    ],
)
def test_a_header_that_holds_no_signature(refused: Refused, signature: str, why: str) -> None:
    assert refused(signature=signature) == cause(Cause.UNREADABLE_SIGNATURE, why=why)


def test_a_webhook_without_a_usable_secret(refused: Refused) -> None:
    Webhook.objects.update(secret="")

    assert refused() == cause(Cause.NO_SECRET)


def test_another_organization(refused: Refused) -> None:
    Webhook.objects.update(organization_id="org_2")

    assert refused(status=403) == cause(Cause.OTHER_ORGANIZATION)


def test_another_organization_that_a_webhook_of_ours_is_set_up_for(refused: Refused, webhook: Webhook) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(organization_id="org_2")
    Webhook.objects.create(name="the right one", organization_id="org_1")

    assert refused(status=403) == cause(Cause.OTHER_ORGANIZATION, webhook="the right one")


def test_too_large_a_body(refused: Refused) -> None:
    with override_settings(NATEQ_WEBHOOKS={"MAX_BODY_BYTES": 1024}):
        assert refused(b"x" * 1025, status=413) == cause(Cause.TOO_LARGE, limit=1024)

    assert Rejection.objects.get().size == 1025


def test_a_chunked_body_of_unknown_length(sender: Sender) -> None:
    options = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    assert sender.post(BODY, **options).status_code == 411
    recorder.flush()

    rejection = Rejection.objects.get()
    assert json.loads(rejection.hint) == cause(Cause.NO_LENGTH)
    assert rejection.size is None


def test_a_get_that_a_redirect_made_of_a_post(sender: Sender) -> None:
    assert sender.client.get(sender.webhook.get_absolute_url()).status_code == 405
    recorder.flush()

    rejection = Rejection.objects.get()
    assert (rejection.reason, json.loads(rejection.hint)) == ("not_post", cause(Cause.NOT_POST))


class TestBounds:
    def test_a_body_of_64_kib_is_diagnosed_and_a_larger_one_is_not(self, refused: Refused, support: Webhook) -> None:
        just, over = b"x" * MAX_BODY_BYTES, b"x" * (MAX_BODY_BYTES + 1)

        assert refused(just, secret=SUPPORT) == cause(Cause.OTHER_WEBHOOK, webhook="support")
        assert refused(over, secret=SUPPORT) == {}
        assert Rejection.objects.latest("pk").reason == NO_MATCH

    def test_one_body_per_webhook_is_held_between_two_writes(self, sender: Sender) -> None:
        other = Sender(Webhook.objects.create(name="support", secret=SUPPORT))
        for each in (sender, sender, other, sender, other):
            each.post(BODY, secret="whsec_unknown_0123456789abcdef")
        recorder.flush()

        stored = list(Rejection.objects.order_by("received_at").values_list("webhook__name", "hint"))
        assert [name for name, _hint in stored] == ["shop", "shop", "support", "shop", "support"]
        unknown = json.dumps(cause(Cause.UNKNOWN_SECRET))
        assert [hint for _name, hint in stored] == [unknown, "", unknown, "", ""]

    def test_after_the_deadline_nothing_more_is_tried(self, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[bytes] = []

        def match(key: bytes, body: bytes, signatures: object) -> None:
            tried.append(body)

        monkeypatch.setattr(diagnosis, "_match", match)

        found = diagnosis.diagnose(sample(webhook), (), deadline=time.monotonic() - 1)

        assert found.code == Cause.UNKNOWN_SECRET
        assert {len(body) - len(BODY) for body in tried} <= {0, 3}  # as it came, and the first candidate only

    def test_no_flood_of_headers_hides_the_signature(self, sender: Sender, support: Webhook) -> None:
        noise = {f"X-Noise-{number}": ",".join(["0" * 64] * 8) for number in range(100)}
        headers = noise | {"X-Nateq-Signature": sign(BODY, SUPPORT)}

        sender.client.post(sender.webhook.get_absolute_url(), BODY, content_type="text/plain", headers=headers)
        (page,) = recorder._buffers.values()
        (entry,) = page.entries
        assert entry.sample is not None
        assert len(entry.sample.headers) <= MAX_HEADERS
        assert len(diagnosis._signatures(entry.sample)) <= MAX_SIGNATURES
        recorder.flush()

        assert json.loads(Rejection.objects.get().hint) == cause(Cause.OTHER_WEBHOOK, webhook="support")

    def test_all_bodies_together_are_diagnosed_for_a_limited_time(
        self, refused: Refused, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recorder_module, "DIAGNOSIS_SECONDS", -1)

        assert refused(secret="whsec_wrong_0123456789abcdef") == {}

    def test_the_secrets_of_many_webhooks_are_not_all_tried(self, webhook: Webhook) -> None:
        Webhook.objects.bulk_create(
            Webhook(name=f"{n:04}", secret=f"whsec_{n}_0123456789abcdef") for n in range(MAX_WEBHOOKS + 50)
        )
        cache.invalidate()
        cache.get(webhook.pk)
        names = [each.name for each in cache.known() if each.name != webhook.name]

        first = diagnosis.diagnose(
            sample(webhook, f"whsec_{int(names[0])}_0123456789abcdef"), cache.known(), deadline=later()
        )
        last = diagnosis.diagnose(
            sample(webhook, f"whsec_{int(names[-1])}_0123456789abcdef"), cache.known(), deadline=later()
        )

        assert (first.code, last.code) == (Cause.OTHER_WEBHOOK, Cause.UNKNOWN_SECRET)


def later() -> float:
    return time.monotonic() + 60


def sample(webhook: Webhook, secret: str = "whsec_unknown_0123456789abcdef", body: bytes = BODY) -> Sample:
    known = cache.get(webhook.pk)
    assert known is not None
    headers = {"HTTP_X_NATEQ_SIGNATURE": sign(body, secret)}
    return Sample(webhook=known, reason=NO_MATCH, received_at=datetime.now(UTC), body=body, headers=headers)


class TestSecrecy:
    def test_no_hint_holds_a_secret_a_digest_or_a_part_of_the_body(self, sender: Sender, support: Webhook) -> None:
        signatures = [sign(BODY, secret) for secret in ("whsec_unknown_0123456789abcdef", SUPPORT, "test", SECRET)]
        for signature in signatures:
            sender.post(BODY + b"\n" if signature == signatures[-1] else BODY, signature=signature)
            recorder.flush()

        kept = " ".join(map(str, Rejection.objects.values()))
        assert Rejection.objects.count() == 4
        for private in (SECRET, SUPPORT, "tkt_1", "سارة", "org_1", "dlv_1", *signatures):
            assert private not in kept

    def test_the_names_of_headers_are_kept_and_no_value(self, sender: Sender) -> None:
        sender.post(
            BODY,
            secret="whsec_wrong_0123456789abcdef",
            headers={"Authorization": "Bearer abc", "Cookie": "session=abc"},
        )
        recorder.flush()

        names = Rejection.objects.get().header_names
        assert {"Authorization", "Cookie", "X-Nateq-Signature", "Content-Type", "Content-Length"} <= set(names)
        assert "abc" not in " ".join(names)

    def test_no_repr_of_a_sample_shows_the_request_or_a_secret(self, webhook: Webhook) -> None:
        shown = repr(sample(webhook)) + "".join(map(repr, diagnosis._keys(sample(webhook), cache.known())))

        for private in (SECRET, "tkt_1", sign(BODY, "whsec_unknown_0123456789abcdef")):
            assert private not in shown

    def test_no_repr_of_the_buffer_shows_the_request(self, sender: Sender) -> None:
        sender.post(BODY, secret="whsec_unknown_0123456789abcdef", headers={"X-Odd": "value of it"})

        shown = repr(recorder._buffers)
        assert "X-Odd" in shown
        for private in (SECRET, "tkt_1", sign(BODY, "whsec_unknown_0123456789abcdef"), "value of it"):
            assert private not in shown

    def test_no_log_line_has_more_than_the_reason(self, sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
        sender.post(BODY + b"\n", signature=sign(BODY, SECRET))
        recorder.flush()

        for private in (SECRET, "tkt_1", sign(BODY, SECRET), "newline"):
            assert private not in caplog.text

    def test_the_answer_is_the_same_for_every_reason_behind_a_401(self, sender: Sender, support: Webhook) -> None:
        cases: list[dict[str, Any]] = [
            {"signature": sign(BODY, SUPPORT)},
            {"signature": sign(BODY, "whsec_unknown_0123456789abcdef")},
            {"signature": sign(BODY + b"\n", SECRET)},
            {"signature": "", "headers": {"X-Signature": sign(BODY, SECRET)}},
            {"signature": "abc"},
        ]
        answers = [sender.post(BODY, **case) for case in cases]

        different = {(answer.status_code, answer.content, str(sorted(answer.headers.items()))) for answer in answers}
        assert len(different) == 1
        assert answers[0].status_code == 401


@pytest.mark.parametrize("code", [*Cause, *Alteration, *Form])
def test_every_code_is_in_the_docs(code: StrEnum) -> None:
    assert f"`{code}`" in Path("docs/how-to/rejections.md").read_text()


def test_a_hint_is_json_of_the_finding_and_the_number_of_dropped_requests() -> None:
    finding = Finding(Cause.OTHER_WEBHOOK, {"webhook": "متجر"})

    assert hint(None) == ""
    assert json.loads(hint(None, 3)) == {"dropped": 3}
    assert json.loads(hint(finding)) == {"code": "other_webhook", "details": {"webhook": "متجر"}}
    assert "متجر" in hint(finding, 3)
