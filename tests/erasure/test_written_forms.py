"""A value is the person's however it is written: accents composed or not, phone numbers with separators or without."""

import json
import unicodedata
from typing import Any

import pytest

from nateq_webhooks import dispatch
from nateq_webhooks.models import AuditEntry, Delivery, Run, Webhook
from nateq_webhooks.protocol.quotes import Quotes
from tests.builders import build_run
from tests.erasure.people import dump, ticket

pytestmark = pytest.mark.django_db(transaction=True)

MODES = pytest.mark.parametrize("blank", [False, True])

NAMES = ["José Núñez Ibáñez", "محمّد آل أحمد", "Nguyễn Thị Ánh", "각나다 라마바"]


def forms_of(name: str) -> list[str]:
    """Return the text composed, decomposed, and half of each."""
    composed, decomposed = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    middle = composed.index(" ")
    mixed = composed[:middle] + unicodedata.normalize("NFD", composed[middle:])
    return [composed, decomposed, mixed, decomposed[: decomposed.index(" ")] + composed[middle:]]


SHADDA_FIRST, FATHA_FIRST = "مح\u0651\u064eمد الحربي", "مح\u064e\u0651مد الحربي"

PAIRS = [(one, other) for name in NAMES for one in forms_of(name)[:2] for other in forms_of(name)]
PAIRS += [(SHADDA_FIRST, FATHA_FIRST), (FATHA_FIRST, SHADDA_FIRST)]


@pytest.mark.parametrize(("searched", "stored"), PAIRS)
def test_every_equivalent_form_is_found_in_text(searched: str, stored: str) -> None:
    quotes = Quotes([searched])

    for text in (f"of {stored}, and", json.dumps(f"of {stored}, and"), repr(f"of {stored}, and".encode())):
        assert "[erased]" in quotes.blanked(text)
        assert "and" in quotes.blanked(text)
        assert quotes.are_in(f"of {stored}, and")


def test_half_a_character_is_no_match() -> None:
    """Only an accent makes it another name."""
    mixed = "Andre\u0301 Dupond, Ren\u00e9"

    assert Quotes(["Andre\u0301 Dupond"]).blanked(mixed) == "[erased], Ren\u00e9"
    assert Quotes(["Dupond, Rene"]).blanked("Andr\u00e9 Dupond, Ren\u00e9") == "Andr\u00e9 Dupond, Ren\u00e9"
    assert Quotes(["Dupond, Rene"]).blanked("Andre\u0301 Dupond, Ren\u00e9") == "Andre\u0301 Dupond, Ren\u00e9"


@MODES
@pytest.mark.parametrize("path", ["name", "id"])
@pytest.mark.parametrize(("searched", "stored"), PAIRS[1:6] + PAIRS[-2:])
def test_a_person_is_erased_by_any_form(
    webhook: Webhook, searched: str, stored: str, path: str, *, blank: bool
) -> None:
    Webhook.objects.update(has_removed=True)
    one = ticket(webhook, 1, {path: stored, "email": "a@example.com"}, f"From {stored}")
    one.save()
    build_run(one, Run.Status.FAILED, error=f"{stored} has no account").save()
    AuditEntry.objects.create(
        action="replayed", source="admin", actor="x", target=f"for {stored}", details={"a": [stored]}
    )
    ticket(webhook, 2, {path: "somebody else", "email": "b@example.com"}).save()

    report = dispatch.erase({f"data.requester.{path}": searched}, blank=blank)

    assert report.deliveries == 1
    left = unicodedata.normalize("NFD", "\n".join(map(str, dump().values())))
    for form in {*forms_of(stored), stored}:
        assert unicodedata.normalize("NFD", form) not in left
        assert json.dumps(form)[1:-1] not in left
    assert "b@example.com" in left


@MODES
@pytest.mark.parametrize("where", [{}, {"data.requester.id": "cus_1"}])
def test_an_organization_is_found_by_any_form(webhook: Webhook, where: dict[str, str], *, blank: bool) -> None:
    Webhook.objects.update(has_removed=True)
    for number, organization in enumerate(forms_of("Café Ñandú")[:3]):
        one = ticket(webhook, number, {"id": "cus_1"}, organization_id=organization)
        one.save()
        build_run(one, Run.Status.DEAD, error="cus_1 has no account").save()
    ticket(webhook, 7, {"id": "cus_1"}, organization_id="Cafe Nandu").save()

    report = dispatch.erase(where, organization=unicodedata.normalize("NFD", "Café Ñandú"), blank=blank)

    assert report.deliveries == 3
    assert Delivery.objects.get(organization_id="Cafe Nandu").content_change is None


@MODES
@pytest.mark.parametrize("searched", ["+966500000101", "+966 50 000 0101"])
def test_a_phone_number_is_erased_in_any_form(webhook: Webhook, searched: str, *, blank: bool) -> None:
    Webhook.objects.update(has_removed=True)
    for number, written in enumerate(["+966500000101", "+966-50-000-0101", "(966) 50 000 0101"]):
        ticket(webhook, number, {"id": f"cus_{number}", "phone": written}).save()
    quoting = ticket(webhook, 8, {"id": "cus_other"}, "Call +966 50 000 0101 or 1966 50 000 0101")
    quoting.save()
    build_run(quoting, Run.Status.DEAD, error="no account for 966.50.000.0101").save()

    report = dispatch.erase({"data.requester.phone": searched}, blank=blank)

    assert (report.deliveries, report.quoting) == (3, 1)
    body: Any = json.loads(bytes(Delivery.objects.get(pk=quoting.pk).body))
    assert "Call [erased] or 1966 50 000 0101" in json.dumps(body)
    assert Run.objects.get(delivery=quoting).error == "no account for [erased]"
