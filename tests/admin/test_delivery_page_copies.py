"""Copies of a delivery: the curl command is run by a shell, and the generated test by pytest."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.test.utils import override_settings
from django.urls import reverse

from nateq_webhooks import signals
from nateq_webhooks.admin.deliveries import snippets
from nateq_webhooks.models import AuditEntry, Delivery, Webhook
from nateq_webhooks.protocol.signatures import sign
from tests.admin.pages import HOSTILE, detail_url, shown
from tests.conftest import SECRET, Connect, Sender, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

ROOT = Path(__file__).resolve().parent.parent.parent

BODIES: dict[str, bytes] = {
    "plain": json.dumps(envelope(data={"id": "tkt_1", "subject": 'It\'s $HOME `id` \\ "here"\n!'})).encode(),
    "several lines": b'{\n  "event": "ticket.created",\n\n  "data": 1}\n',
    "arabic": json.dumps(envelope(data={"id": "tkt_1", "subject": "مرحبا 🙂" * 30}), ensure_ascii=False).encode(),
    "hostile": json.dumps(envelope(HOSTILE, data={"id": "'''\\", HOSTILE: "{braces} %s"}), ensure_ascii=False).encode(),
    "control characters": json.dumps(envelope()).encode() + b"\r\n\t\r",
    "large": json.dumps(envelope(data={"id": "tkt_1", "text": "x" * 40_000})).encode(),
    "no JSON": b"@file 'quoted' \xff\x00",
    "empty": b"",
}


def copied(client: Client, delivery: Delivery, what: str) -> str:
    page = shown(client, detail_url(delivery))
    return unescape(page.partition(f'id="nateq-{what}">')[2].partition("</pre>")[0])


def signed(client: Client, delivery: Delivery) -> str:
    """The command with a signature; an empty text if there is none."""
    answer = client.post(reverse("admin:nateq_webhooks_delivery_signed", args=[delivery.pk]))
    page = answer.content.decode() if answer.status_code == 200 else ""
    return unescape(page.partition('id="nateq-signed">')[2].partition("</pre>")[0])


def arguments(command: str, folder: Path) -> list[str]:
    """What a shell hands to the program, by a stand-in for curl that tells its arguments."""
    script = "import json, sys; print(json.dumps(sys.argv[1:]))"
    function = f'curl() {{ "{sys.executable}" -c \'{script}\' "$@"; }}\n'
    done = subprocess.run(["bash", "-c", function + command], cwd=folder, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def stored(sender: Sender, body: bytes) -> Delivery:
    sender.post(body)
    return Delivery.objects.get()


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_curl_command_sends_the_stored_bytes_with_a_new_signature(
    boss: Client, sender: Sender, tmp_path: Path, body: bytes
) -> None:
    delivery = stored(sender, body)
    (tmp_path / f"delivery-{delivery.pk}.txt").write_bytes(body)

    url, *rest = arguments(signed(boss, delivery), tmp_path)

    assert url == sender.webhook.public_url
    options = list(zip(rest[::2], rest[1::2], strict=True))
    headers = dict(value.split(": ") for option, value in options if option == "--header")
    [(option, data)] = [pair for pair in options if pair[0].startswith("--data")]
    sent = (tmp_path / data.removeprefix("@")).read_bytes() if option == "--data-binary" else data.encode()
    assert sent == body
    assert headers == {"Content-Type": "application/json", "X-Nateq-Signature": sign(body, SECRET)}
    assert sender.post(sent, signature=headers["X-Nateq-Signature"]).status_code in (200, 400)
    assert Delivery.objects.get().attempts_seen == 2


def test_the_curl_command_is_signed_with_the_current_secret_in_the_webhooks_own_header(
    boss: Client, sender: Sender, webhook: Webhook
) -> None:
    sender.post(envelope())
    body = Delivery.objects.get().body
    webhook.secret, webhook.signature_header = "whsec_" + "ab" * 32, "X-Shop-Signature"
    webhook.save()

    with override_settings(NATEQ_WEBHOOKS={"SECRET_ENCODING": "base64"}):
        command = signed(boss, Delivery.objects.get())

    assert f"'X-Shop-Signature: {sign(body, webhook.secret, encoding='base64')}'" in command
    assert f"curl http://testserver{webhook.get_absolute_url()}" in command


def test_the_command_is_unsigned_for_a_user_without_reveal_secret(
    staff: Callable[..., Client], delivery: Delivery
) -> None:
    unsigned = staff("view_delivery", "view_payload")
    assert "Signature" not in copied(unsigned, delivery, "curl")
    assert "It is not signed, so it is refused." in shown(unsigned, detail_url(delivery))
    assert signed(unsigned, delivery) == ""
    allowed = staff("view_delivery", "view_payload", "reveal_secret")
    assert "Signature" not in copied(allowed, delivery, "curl")
    assert "Signature" in signed(allowed, delivery)


def test_a_webhook_without_a_usable_secret_has_an_unsigned_command(boss: Client, sender: Sender) -> None:
    sender.post(envelope())
    Webhook.objects.update(secret="")

    answer = boss.post(reverse("admin:nateq_webhooks_delivery_signed", args=[Delivery.objects.get().pk]), follow=True)

    assert "It is not signed, because the webhook has no usable secret." in answer.content.decode()
    assert not AuditEntry.objects.exists()


@pytest.mark.urls("tests.admin.without_receiver_urls")
def test_without_a_url_of_the_webhook_there_is_no_command(sender: Sender, webhook: Webhook) -> None:
    assert snippets.as_curl(Delivery(webhook=webhook, body=b"{}"), "https://shop.example", is_signed=True) is None


def run_as_file(code: str, folder: Path, receivers: str = "") -> subprocess.CompletedProcess[str]:
    """Run the code as a person would: saved as a test file in a project that has receivers, with pytest."""
    (folder / "test_copied.py").write_text(code)
    (folder / "conftest.py").write_text(
        f"import pytest\nfrom nateq_webhooks import signals\n\n{receivers}\n" if receivers else ""
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), "-W", "error", "test_copied.py"]
    environment = {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


RECEIVERS = """
@pytest.fixture(autouse=True)
def _receivers():
    def open_ticket(event, **kwargs):
        if {fails}:
            raise LookupError(event.data["subject"])
    signals.ticket_created.connect(open_ticket, dispatch_uid="shop.open_ticket", weak=False)
    yield
    signals.ticket_created.disconnect(dispatch_uid="shop.open_ticket")
"""


@pytest.fixture
def ticket(sender: Sender, connect: Connect) -> Delivery:
    """A delivery that a receiver has run for."""
    connect(signals.ticket_created, lambda **kwargs: None, "shop.open_ticket")
    return stored(sender, json.dumps(envelope(data={"id": "tkt_1", "subject": "مرحبا"}), ensure_ascii=False).encode())


def test_the_generated_test_passes_with_a_receiver_that_works(boss: Client, ticket: Delivery, tmp_path: Path) -> None:
    code = copied(boss, ticket, "test")
    assert "مرحبا" in code

    done = run_as_file(code, tmp_path, RECEIVERS.format(fails=False))

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("receivers", "reason"),
    [(RECEIVERS.format(fails=True), "LookupError: مرحبا"), ("", "shop.open_ticket")],
    ids=["a receiver that fails", "a receiver that is gone"],
)
def test_the_generated_test_fails_with_the_reason(
    boss: Client, ticket: Delivery, tmp_path: Path, receivers: str, reason: str
) -> None:
    done = run_as_file(copied(boss, ticket, "test"), tmp_path, receivers)

    assert done.returncode == 1
    assert reason in done.stdout


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("options", [{}, {"SECRET_ENCODING": "base64", "SIGNATURE_HEADER": "X-Other"}])
def test_the_generated_test_passes_the_same_bytes_to_the_receivers(
    sender: Sender, connect: Connect, tmp_path: Path, body: bytes, options: dict[str, str]
) -> None:
    delivery = stored(sender, body)
    fed: list[bytes] = []
    connect(signals.event_received, lambda delivery, **kwargs: fed.append(delivery.body), "shop.all")
    (tmp_path / f"delivery-{delivery.pk}.txt").write_bytes(body)
    namespace: dict[str, Any] = {"__file__": str(tmp_path / "test_copied.py"), "__name__": "test_copied"}

    is_readable = delivery.status != Delivery.Status.INVALID
    code = snippets.as_test(delivery, ["shop.all"] if is_readable else []).text
    exec(compile(code, "test_copied.py", "exec"), namespace)  # noqa: S102 - running it is the point
    Delivery.objects.all().delete()
    Webhook.objects.all().delete()
    fed.clear()
    [test] = [function for name, function in namespace.items() if name.startswith("test_")]
    with override_settings(NATEQ_WEBHOOKS=options):
        test()

    assert namespace["BODY"] == body
    assert fed == ([body] if is_readable else [])
    assert re.fullmatch(r"test_\w+", test.__name__)
    assert re.findall(r"^(?:from|import) (nateq_webhooks\S*)", code, re.MULTILINE) == ["nateq_webhooks.testing"]
    assert bytes(Delivery.objects.get().body) == body
