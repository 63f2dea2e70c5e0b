"""What each permission allows: each line of the table in docs/reference/security.md is tried in both directions.

With the permissions of a line alone it works; with every other permission of ours but one of these it does not, also
when what the page does not offer is posted by hand.
"""

import itertools
import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth.models import Permission
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from nateq_webhooks import audit, dispatch, remote, signals
from nateq_webhooks.admin.dashboard.failures import failures
from nateq_webhooks.dispatch import api
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.models import ApiKey, AuditEntry, Delivery, Rejection, Replay, Run, Secret, Webhook
from nateq_webhooks.models.failure_acknowledgement import FailureAcknowledgement
from nateq_webhooks.models.hold import Hold, receiver_scope
from nateq_webhooks.models.run import PARKED_UNTIL
from nateq_webhooks.models.webhook import generate_secret
from nateq_webhooks.protocol.signatures import sign
from nateq_webhooks.remote.local_webhooks import secret_id
from nateq_webhooks.sandbox import Sandbox
from tests.admin.pages import secret_row, webhook_form
from tests.builders import store_deliveries
from tests.conftest import Connect, Sender, SharedSandbox, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

SECURITY: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "security.md"
KEY: Final = "tg_test_0123456789abcdef"

Groups = list[list[str]]
"""Permissions that are needed together; of each inner list one is enough."""


def documented() -> dict[str, Groups]:
    """Read the table: what may be done, and with which permissions."""
    section = SECURITY.read_text().partition("## What each permission allows")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!what |-)(.+?) \| (.+) \|$", section, re.MULTILINE)
    return {what: [re.findall(r"`(\w+)`", either) for either in permissions.split(",")] for what, permissions in rows}


TABLE: Final = documented()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The rows that users look at and change."""

    webhook: Webhook
    delivery: Delivery
    run: Run
    sandbox: Sandbox

    def new_webhook(self, **over: Any) -> Webhook:
        """Return a webhook that no other attempt has touched."""
        return Webhook.objects.create(name=f"webhook {uuid.uuid4().hex}", **over)


def fail(**kwargs: Any) -> None:
    raise LookupError("a text of a customer")


@pytest.fixture
def scene(sender: Sender, connect: Connect, shared_sandbox: SharedSandbox) -> Iterator[Scene]:
    connect(signals.ticket_created, fail, "shop.fail")
    sender.post(envelope(data={"id": "tkt_1", "email": "sara@example.com"}), headers={"X-Note": "of a customer"})
    sender.post(envelope(), secret="whsec_wrong_0123456789abcdef")
    recorder.flush()
    delivery = Delivery.objects.get()
    sandbox = shared_sandbox(key=KEY, rate_limit=1_000_000, seed=7)
    settings = {"API_KEY": KEY, "BASE_URL": sandbox.base_url, "PUBLIC_URL": "http://127.0.0.1:8000"}
    with override_settings(NATEQ_WEBHOOKS=settings):
        yield Scene(webhook=sender.webhook, delivery=delivery, run=delivery.runs.get(), sandbox=sandbox)


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:nateq_webhooks_{name}", args=args)


def shown(client: Client, address: str, **query: Any) -> str:
    """Return a page; an empty text if it is refused."""
    response = client.get(address, query)
    assert response.status_code in (200, 302, 403)
    return response.content.decode() if response.status_code == 200 else ""


def posted(client: Client, address: str, data: dict[str, Any]) -> str:
    """Post without a page's form and return the answer; an empty text if it is refused."""
    response = client.post(address, data)
    assert response.status_code in (200, 302, 400, 403)
    content = b"".join(response.streaming_content) if response.streaming else response.content  # type: ignore[attr-defined]
    return content.decode() if response.status_code == 200 else ""


def change_form(webhook: Webhook, **over: Any) -> dict[str, Any]:
    return webhook_form(name=webhook.name, **over)


# What each line means. Each yields whether it worked, once for each thing that it promises.


def see_webhooks(client: Client, scene: Scene) -> Iterator[bool]:
    yield scene.webhook.name in shown(client, url("webhook_changelist"))
    page = shown(client, url("webhook_change", scene.webhook.pk))
    yield scene.webhook.get_absolute_url() in page
    yield secret_id(scene.webhook) in page


def see_other_secrets(client: Client, scene: Scene) -> Iterator[bool]:
    webhook = scene.new_webhook()
    older = Secret.objects.create(webhook=webhook, secret=generate_secret())
    yield str(older) in shown(client, url("webhook_change", webhook.pk))


def set_up(client: Client, scene: Scene) -> Iterator[bool]:
    name = uuid.uuid4().hex
    yield bool(shown(client, url("webhook_add")))
    posted(client, url("webhook_add"), {"name": name, "is_active": "on"})
    yield Webhook.objects.filter(name=name).exists()


def choose_a_secret(client: Client, scene: Scene) -> Iterator[bool]:
    name, chosen = uuid.uuid4().hex, generate_secret()
    posted(client, url("webhook_add"), {"name": name, "is_active": "on", "new_secret": str(chosen)})
    yield any(webhook.secret == chosen for webhook in Webhook.objects.filter(name=name))
    name = uuid.uuid4().hex
    page = posted(client, url("webhook_add"), {"name": name, "is_active": "on", "new_secret": ""})
    yield any(webhook.secret in page for webhook in Webhook.objects.filter(name=name))
    yield "new_secret" in shown(client, url("webhook_add"))


def change(client: Client, scene: Scene) -> Iterator[bool]:
    for field, value in (
        ("name", "renamed"),
        ("events", ["ticket.created"]),
        ("organization_id", "org_9"),
        ("signature_header", "X-Shop-Signature"),
        ("is_active", False),
    ):
        webhook = scene.new_webhook()
        posted(client, url("webhook_change", webhook.pk), change_form(webhook) | {field: value or ""})
        webhook.refresh_from_db()
        yield getattr(webhook, field) == value
        Webhook.objects.filter(name="renamed").delete()


def replace_the_secret(client: Client, scene: Scene) -> Iterator[bool]:
    webhook, chosen = scene.new_webhook(), generate_secret()
    posted(client, url("webhook_change", webhook.pk), change_form(webhook, new_secret=str(chosen)))
    webhook.refresh_from_db()
    yield webhook.secret == chosen


def generate_a_secret(client: Client, scene: Scene) -> Iterator[bool]:
    webhook = scene.new_webhook()
    former = webhook.secret
    address = url("webhook_secret", webhook.pk)
    yield address in shown(client, url("webhook_change", webhook.pk))
    yield bool(shown(client, address))
    page = posted(client, address, {"confirmed": "yes", "current": secret_id(webhook)})
    webhook.refresh_from_db()
    yield webhook.secret != former
    yield webhook.secret in page


def add_a_secret(client: Client, scene: Scene) -> Iterator[bool]:
    webhook, chosen = scene.new_webhook(), generate_secret()
    row = secret_row(webhook, new_secret=chosen)
    posted(client, url("webhook_change", webhook.pk), change_form(webhook, **row))
    yield any(older.secret == chosen for older in webhook.older_secrets.all())


def delete_a_secret(client: Client, scene: Scene) -> Iterator[bool]:
    webhook = scene.new_webhook()
    older = Secret.objects.create(webhook=webhook, secret=generate_secret())
    row = {"older_secrets-INITIAL_FORMS": "1"} | secret_row(webhook, id=str(older.pk), DELETE="on")
    posted(client, url("webhook_change", webhook.pk), change_form(webhook, **row))
    yield not webhook.older_secrets.exists()


def pause(client: Client, scene: Scene) -> Iterator[bool]:
    webhook = scene.new_webhook()
    address = url("webhook_pause", webhook.pk)
    yield bool(shown(client, address))
    posted(client, address, {"action": "pause", "reason": "tried"})
    yield bool(api.paused())
    dispatch.pause(webhook=webhook, reason="by a command", by="somebody")
    posted(client, address, {"action": "resume"})
    yield not api.paused()
    dispatch.resume(webhook=webhook)


def send_a_test_event(client: Client, scene: Scene) -> Iterator[bool]:
    webhook = scene.new_webhook()
    address = url("webhook_test", webhook.pk)
    yield address in shown(client, url("webhook_change", webhook.pk))
    yield bool(shown(client, address))
    before = Run.objects.count()
    posted(client, address, {"payload": '{"event": "ticket.created"}'})
    yield webhook.deliveries.exists()
    yield Run.objects.count() > before


def registered(scene: Scene) -> Webhook:
    with remote.connect() as client:
        return remote.register(client, uuid.uuid4().hex, ["ticket.created"]).webhook


def compare(client: Client, scene: Scene) -> Iterator[bool]:
    webhook = registered(scene)
    address = url("webhook_remote", webhook.pk)
    yield "Both sides are the same" in shown(client, address)
    scene.sandbox.webhooks.update(webhook.nateq_id, {"events": ["ticket.closed"]})
    posted(client, address, {"action": "push", "confirmed": "yes"})
    yield _at_nateq(scene, webhook).events == ("ticket.created",)
    scene.sandbox.webhooks.update(webhook.nateq_id, {"events": ["lead.created"]})
    posted(client, address, {"action": "pull", "confirmed": "yes"})
    webhook.refresh_from_db()
    yield webhook.events == ["lead.created"]


def _at_nateq(scene: Scene, webhook: Webhook) -> Any:
    return next(each for each in scene.sandbox.webhooks.all() if each.id == webhook.nateq_id)


def register(client: Client, scene: Scene) -> Iterator[bool]:
    webhook = scene.new_webhook(events=["ticket.created"])
    posted(client, url("webhook_remote", webhook.pk), {"action": "register", "confirmed": "yes"})
    webhook.refresh_from_db()
    yield webhook.registration == Webhook.Registration.REGISTERED
    webhook = registered(scene)
    former = webhook.secret
    yield 'value="rotate"' in shown(client, url("webhook_remote", webhook.pk))
    posted(client, url("webhook_remote", webhook.pk), {"action": "rotate", "confirmed": "yes"})
    webhook.refresh_from_db()
    yield webhook.secret != former


def register_anew(client: Client, scene: Scene) -> Iterator[bool]:
    for other in scene.sandbox.webhooks.all():
        scene.sandbox.webhooks.delete(other.id)
    webhook = registered(scene)
    former = webhook.secret
    scene.sandbox.webhooks.delete(webhook.nateq_id)
    yield 'value="reregister"' in shown(client, url("webhook_remote", webhook.pk))
    for action in ("push", "reregister"):
        posted(client, url("webhook_remote", webhook.pk), {"action": action, "confirmed": "yes"})
    webhook.refresh_from_db()
    yield webhook.secret != former
    beside, webhook = registered(scene), registered(scene)  # the key sees one of the same organization
    Webhook.objects.filter(pk__in=[beside.pk, webhook.pk]).update(organization_id="org_1")
    scene.sandbox.webhooks.delete(webhook.nateq_id)
    former = webhook.secret
    yield 'value="register_again"' in shown(client, url("webhook_remote", webhook.pk))
    for action in ("push", "register_again"):
        posted(client, url("webhook_remote", webhook.pk), {"action": action, "confirmed": "yes"})
    webhook.refresh_from_db()
    yield webhook.secret != former


def delete(client: Client, scene: Scene) -> Iterator[bool]:
    webhook = scene.new_webhook()
    yield bool(shown(client, url("webhook_delete", webhook.pk)))
    posted(client, url("webhook_delete", webhook.pk), {"post": "yes"})
    yield not Webhook.objects.filter(pk=webhook.pk).exists()


def see_deliveries(client: Client, scene: Scene) -> Iterator[bool]:
    yield "tkt_1" in shown(client, url("delivery_changelist"))
    page = shown(client, url("delivery_change", scene.delivery.pk))
    yield "shop.fail" in page
    yield "X-Note" in page


def see_payloads(client: Client, scene: Scene) -> Iterator[bool]:
    page = shown(client, url("delivery_change", scene.delivery.pk))
    yield "sara@example.com" in page
    yield "of a customer" in page
    yield "a text of a customer" in page
    yield "sara@example.com" in shown(client, url("delivery_payload", scene.delivery.pk))


def download(client: Client, scene: Scene) -> Iterator[bool]:
    address = url("delivery_body", scene.delivery.pk)
    yield address in shown(client, url("delivery_change", scene.delivery.pk))
    yield "sara@example.com" in shown(client, address)


def search(client: Client, scene: Scene) -> Iterator[bool]:
    yield "tkt_1" in shown(client, url("delivery_changelist"), q="data.email=sara@example.com")


def copy_signed(client: Client, scene: Scene) -> Iterator[bool]:
    scene.webhook.secret = generate_secret()
    scene.webhook.save()
    address = url("delivery_signed", scene.delivery.pk)
    yield address in shown(client, url("delivery_change", scene.delivery.pk))
    yield sign(bytes(scene.delivery.body), scene.webhook.secret) in posted(client, address, {})


def replay_one(client: Client, scene: Scene) -> Iterator[bool]:
    run = Run.objects.filter(pk=scene.run.pk)
    later = timezone.now() + timedelta(hours=1)
    run.update(status=Run.Status.FAILED, next_try_at=later)
    posted(client, url("delivery_try_now", scene.delivery.pk), {})
    yield run.get().next_try_at != later
    run.update(status=Run.Status.DEAD, next_try_at=None)
    address = url("delivery_replay", scene.delivery.pk)
    yield address in shown(client, url("delivery_change", scene.delivery.pk))
    yield bool(shown(client, address))
    before = Replay.objects.count()
    posted(client, address, {"which": "all"})
    yield Replay.objects.count() > before


def replay_many(client: Client, scene: Scene) -> Iterator[bool]:
    yield "replay_selected" in shown(client, url("delivery_changelist"))
    ticked = {"action": "replay_selected", "_selected_action": [str(scene.delivery.pk)], "index": "0"}
    yield "shop.fail" in posted(client, url("delivery_changelist"), ticked)
    yield bool(shown(client, url("delivery_replay_many"), everything="yes"))
    before = Replay.objects.count()
    posted(client, url("delivery_replay_many"), {"everything": "yes", "which": "all"})
    yield Replay.objects.count() > before


def erase(client: Client, scene: Scene) -> Iterator[bool]:
    yield bool(shown(client, url("delivery_erase")))
    person = uuid.uuid4().hex
    (stored,) = store_deliveries(scene.webhook, body=json.dumps({"data": {"id": person}}).encode())
    yield url("delivery_erase") in shown(client, url("delivery_change", stored.pk))
    form = {"path": "data.id", "value": person, "how": "delete", "confirmation": person}
    posted(client, url("delivery_erase"), form)
    yield not Delivery.objects.filter(pk=stored.pk).exists()


def export(client: Client, scene: Scene) -> Iterator[bool]:
    yield "export_selected" in shown(client, url("delivery_changelist"))
    yield "dlv_1" in posted(client, url("delivery_export"), {"everything": "yes", "format": "jsonl"})


def export_bodies(client: Client, scene: Scene) -> Iterator[bool]:
    yield "sara@example.com" in posted(client, url("delivery_export"), {"everything": "yes", "format": "jsonl"})


def see_runs(client: Client, scene: Scene) -> Iterator[bool]:
    yield "shop.fail" in shown(client, url("run_changelist"))
    yield "shop.fail" in shown(client, url("run_change", scene.run.pk))


def see_errors(client: Client, scene: Scene) -> Iterator[bool]:
    page = shown(client, url("run_change", scene.run.pk))
    yield "a text of a customer" in page
    yield "Traceback" in page


def unfinished(scene: Scene) -> Replay:
    return Replay.objects.create(reason="why it was asked for", until=scene.delivery.pk, by="somebody")


def retry_runs(client: Client, scene: Scene) -> Iterator[bool]:
    run = Run.objects.filter(pk=scene.run.pk)
    run.update(status=Run.Status.DEAD, next_try_at=None)
    keys = {"runs": str(scene.run.pk)}
    yield "retry_selected" in shown(client, url("run_changelist"))
    yield bool(shown(client, url("run_retry"), **keys))
    before = Replay.objects.count()
    posted(client, url("run_retry"), keys)
    yield Replay.objects.count() > before
    Run.objects.exclude(round=0).delete()
    [group] = failures(with_text=False).groups
    FailureAcknowledgement.objects.all().delete()
    posted(client, f"{url('run_acknowledge')}?failure={group.key}", {})
    yield FailureAcknowledgement.objects.exists()
    FailureAcknowledgement.objects.all().delete()


def control_receivers(client: Client, scene: Scene) -> Iterator[bool]:
    run = Run.objects.create(delivery=scene.delivery, receiver=uuid.uuid4().hex, next_try_at=PARKED_UNTIL)
    address = reverse("admin:nateq_webhooks_run_receiver", query={"name": run.receiver})
    paused = Hold.objects.filter(scope=receiver_scope(run.receiver), paused_at__isnull=False)
    posted(client, address, {"action": "pause", "reason": "its API is down"})
    yield paused.exists()
    dispatch.pause(receiver=run.receiver)
    posted(client, url("run_resume"), {"hold": paused.get().pk})
    yield not paused.exists()
    posted(client, address, {"action": "drop", "confirmed": "yes"})
    run.refresh_from_db()
    yield run.status == Run.Status.DROPPED


def see_what_nateq_tried(client: Client, scene: Scene) -> Iterator[bool]:
    with remote.connect() as client_of_nateq:
        webhook = remote.register(client_of_nateq, uuid.uuid4().hex, ["ticket.created"]).webhook
    yield "log has no attempts here" in shown(client, url("webhook_sent", webhook.pk))


def see_replays(client: Client, scene: Scene) -> Iterator[bool]:
    replay = unfinished(scene)
    yield "why it was asked for" in shown(client, url("replay_changelist"))
    yield "why it was asked for" in shown(client, url("replay_change", replay.pk))


def steer(client: Client, scene: Scene) -> Iterator[bool]:
    replay = unfinished(scene)
    yield url("replay_steer", replay.pk) in shown(client, url("replay_change", replay.pk))
    posted(client, url("replay_steer", replay.pk), {"do": "cancel"})
    replay.refresh_from_db()
    yield replay.is_cancelled
    replay = unfinished(scene)
    posted(client, url("replay_steer", replay.pk), {"do": "go on"})
    replay.refresh_from_db()
    yield replay.finished_at is not None


def see_rejections(client: Client, scene: Scene) -> Iterator[bool]:
    rejection = Rejection.objects.get()
    yield scene.webhook.name in shown(client, url("rejection_changelist"))
    yield scene.webhook.name in shown(client, url("rejection_change", rejection.pk))


def delete_a_rejection(client: Client, scene: Scene) -> Iterator[bool]:
    rejection = Rejection.objects.get()
    posted(client, url("rejection_delete", rejection.pk), {"post": "yes"})
    yield not Rejection.objects.exists()
    rejection.save(force_insert=not Rejection.objects.exists())


Try = Callable[[Client, Scene], Iterator[bool]]


def new_key() -> ApiKey:
    key = ApiKey(name=uuid.uuid4().hex, scopes=["payloads:read"])
    key.issue()
    key.save()
    return key


def see_keys(client: Client, scene: Scene) -> Iterator[bool]:
    key = new_key()
    yield key.hint in shown(client, url("apikey_changelist"))
    yield key.hint in shown(client, url("apikey_change", key.pk))


def create_a_key(client: Client, scene: Scene) -> Iterator[bool]:
    name = uuid.uuid4().hex
    form = {"name": name, "scopes": ["webhooks:read"], "requests_per_minute": "10"}
    yield "tg_live_" in posted(client, url("apikey_add"), form)
    yield ApiKey.objects.filter(name=name).exists()


def revoke_a_key(client: Client, scene: Scene) -> Iterator[bool]:
    for data in ({"is_revoked": "on"}, {"requests_per_minute": "7"}):
        key = new_key()
        posted(client, url("apikey_change", key.pk), {"name": key.name, "requests_per_minute": "1000"} | data)
        key.refresh_from_db()
        yield (key.revoked_at is not None) if "is_revoked" in data else key.requests_per_minute == 7
    key = new_key()
    posted(client, url("apikey_changelist"), {"action": "revoke_selected", "_selected_action": [key.pk]})
    key.refresh_from_db()
    yield key.revoked_at is not None


def delete_a_key(client: Client, scene: Scene) -> Iterator[bool]:
    key = new_key()
    posted(client, url("apikey_delete", key.pk), {"post": "yes"})
    yield not ApiKey.objects.filter(pk=key.pk).exists()


def see_the_audit_log(client: Client, scene: Scene) -> Iterator[bool]:
    target = uuid.uuid4().hex
    audit.record(audit.Action.PAUSED, target=target)
    entry = AuditEntry.objects.get(target=target)
    yield target in shown(client, url("auditentry_changelist"))
    yield target in shown(client, url("auditentry_change", entry.pk))


TRIES: Final[list[Try]] = [
    see_webhooks,
    see_other_secrets,
    set_up,
    choose_a_secret,
    change,
    replace_the_secret,
    generate_a_secret,
    add_a_secret,
    delete_a_secret,
    pause,
    send_a_test_event,
    compare,
    register,
    register_anew,
    delete,
    see_deliveries,
    see_payloads,
    download,
    search,
    copy_signed,
    replay_one,
    replay_many,
    erase,
    export,
    export_bodies,
    see_runs,
    see_errors,
    retry_runs,
    control_receivers,
    see_what_nateq_tried,
    see_replays,
    steer,
    see_rejections,
    delete_a_rejection,
    see_keys,
    create_a_key,
    revoke_a_key,
    delete_a_key,
    see_the_audit_log,
]
"""One for each line of the table, in its order."""


def test_each_line_of_the_table_is_tried_and_each_permission_is_in_it(db: None) -> None:
    ours = set(Permission.objects.filter(content_type__app_label="nateq_webhooks").values_list("codename", flat=True))
    named = {name for groups in TABLE.values() for either in groups for name in either}

    assert len(TABLE) == len(TRIES)
    assert named <= ours
    for name in ("reveal_secret", "replay_delivery", "view_payload", "export_delivery"):
        assert name in named


@pytest.mark.parametrize(("what", "attempt"), [*zip(TABLE, TRIES, strict=True)], ids=[each.__name__ for each in TRIES])
def test_each_line_works_with_its_permissions_and_not_without_one_of_them(
    staff: Callable[..., Client], scene: Scene, what: str, attempt: Try
) -> None:
    groups = TABLE[what]
    everything = set(
        Permission.objects.filter(content_type__app_label="nateq_webhooks").values_list("codename", flat=True)
    )

    for enough in itertools.product(*groups):
        allowed = list(attempt(staff(*enough), scene))
        assert all(allowed), (what, enough, allowed)
    for group in groups:
        refused = list(attempt(staff(*sorted(everything - set(group))), scene))
        assert not any(refused), (what, "without", group, refused)


def test_a_forged_form_changes_no_column_that_only_the_package_writes(boss: Client, scene: Scene) -> None:
    webhook = scene.webhook
    before = Webhook.objects.filter(pk=webhook.pk).values().get()
    forged = {"id": str(uuid.uuid4()), "secret": "whsec_forged_0123456789abcdef", "nateq_id": "wh_1", "claim": "me"}
    forged |= {
        "registration": "registered",
        "rotation_scanned_to": "1",
        "created_at_0": "2020-01-01",
        "created_at_1": "00:00",
    }

    posted(boss, url("webhook_change", webhook.pk), change_form(webhook, **forged))

    after = Webhook.objects.filter(pk=webhook.pk).values().get()
    assert after | {"modified_at": None} == before | {"modified_at": None}


@pytest.mark.parametrize("name", ["delivery", "run", "replay"])
def test_rows_that_only_the_package_writes_can_not_be_added_changed_or_deleted(
    boss: Client, scene: Scene, name: str
) -> None:
    row = {"delivery": scene.delivery, "run": scene.run, "replay": unfinished(scene)}[name]
    before = type(row).objects.filter(pk=row.pk).values().get()  # type: ignore[attr-defined]

    assert 'value="delete_selected"' not in shown(boss, url(f"{name}_changelist"))
    assert boss.get(url(f"{name}_add")).status_code == 403
    assert boss.post(url(f"{name}_change", row.pk), {"status": "processed"}).status_code == 403
    assert boss.post(url(f"{name}_delete", row.pk), {"post": "yes"}).status_code == 403
    assert type(row).objects.filter(pk=row.pk).values().get() == before  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name",
    [
        *("webhook_pause", "webhook_secret", "webhook_test", "webhook_remote"),
        *("delivery_replay", "delivery_replay_many", "delivery_export", "replay_steer"),
    ],
)
def test_a_page_refuses_other_methods_forged_posts_and_anonymous_users(boss: Client, scene: Scene, name: str) -> None:
    rows = {"webhook": scene.webhook, "delivery": scene.delivery, "replay": unfinished(scene)}
    keys = [] if name in ("delivery_replay_many", "delivery_export") else [rows[name.partition("_")[0]].pk]
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = boss.cookies

    assert boss.put(url(name, *keys)).status_code == 405
    assert strict.post(url(name, *keys)).status_code == 403
    assert Client().post(url(name, *keys)).status_code == 302
