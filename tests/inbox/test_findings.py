"""What the diary keeps of a finding, and that the docs know every code."""

import json
from enum import StrEnum
from pathlib import Path

import pytest

from nateq_webhooks.inbox.diagnosis import Cause, Finding, hint
from nateq_webhooks.protocol.alterations import Alteration
from nateq_webhooks.protocol.secret_forms import Form

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "rejections.md").read_text()


@pytest.mark.parametrize("code", [*Cause, *Alteration, *Form])
def test_every_code_is_in_the_docs(code: StrEnum) -> None:
    assert f"`{code}`" in DOCS


def test_a_hint_is_json_with_what_there_is() -> None:
    finding = Finding(Cause.OTHER_WEBHOOK, {"webhook": "متجر"})

    assert hint(None) == ""
    assert json.loads(hint(None, 3)) == {"dropped": 3}
    assert json.loads(hint(finding)) == {"code": "other_webhook", "details": {"webhook": "متجر"}}
    assert "متجر" in hint(finding, 3)
