"""A wrong command line ends with exit code 2, whatever is stored, and nothing has been done (docs: Commands)."""

from importlib import import_module

import pytest
from django.core.management import BaseCommand

from nateq_webhooks.models import ApiKey, Replay
from nateq_webhooks.models.hold import Hold
from tests.dispatch.scene import Deliver

pytestmark = pytest.mark.django_db(transaction=True)


def exit_code(command: str, *arguments: str) -> object:
    """Run a command as `manage.py` does, and return its exit code."""
    program: BaseCommand = import_module(f"nateq_webhooks.management.commands.{command}").Command()
    with pytest.raises(SystemExit) as ended:
        program.run_from_argv(["manage.py", command, *arguments])
    return ended.value.code


@pytest.mark.parametrize(
    "line",
    [
        "nateq_erase --where data.id",
        "nateq_erase --where data..id=7",
        "nateq_erase --where data.id=",
        "nateq_erase --where data.id=7 --since soon",
        "nateq_key create me --scopes delivery:read",
        "nateq_key create me --scopes deliveries:read --address nowhere",
        "nateq_key create me --scopes deliveries:read --expires 2020-01-01",
        "nateq_key create me --scopes deliveries:read --expires soon",
        "nateq_erase",
        "nateq_key create me --scopes deliveries:read --rate-limit 0",
        "nateq_pause",
        "nateq_pause --all --webhook shop",
        "nateq_payload_index --database nowhere",
        "nateq_prune --seconds 0",
        "nateq_prune --sql --json",
        "nateq_replay",
        "nateq_replay --all --error x",
        "nateq_replay --resume 1 --all",
        "nateq_replay --since 2026-07-01 --until 2026-06-01",
        "nateq_replay --since yesterday",
        "nateq_replay --status daed",
        "nateq_resume",
        "nateq_sandbox --attempts 0",
        "nateq_sandbox --fault nope",
        "nateq_sandbox --key live_key",
        "nateq_sandbox --port 70000",
        "nateq_status --max-dead -1",
        "nateq_status --max-lag much",
        "nateq_status --max-lag nan",
        "nateq_webhook sync --gone",
        "nateq_webhook update",
        "nateq_worker --once --concurrency 0",
    ],
)
def test_a_wrong_command_line_is_told_from_a_failure(line: str, deliver: Deliver) -> None:
    deliver()

    assert exit_code(*line.split()) == 2
    assert not any(model.objects.exists() for model in (ApiKey, Hold, Replay))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nateq_replay", "--event", "ticket.created", "--webhook", ""], "--webhook"),
        (["nateq_replay", "--event=ticket.created", "--webhook="], "--webhook"),
        (["nateq_replay", "--event", "ticket.created", "--delivery", " "], "--delivery"),
        (["nateq_pause", "--webhook", "shop", "--receiver", ""], "--receiver"),
        (["nateq_key", "create", "me", "--scopes", "deliveries:read", "--organization", ""], "--organization"),
        (["nateq_key", "create", "", "--scopes", "deliveries:read"], "An argument"),
        (["nateq_erase", "--where", "data.id=7", "--organization", "", "--no-input"], "--organization"),
        (["nateq_webhook", "create", "--name", ""], "--name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_unset_variable_of_a_script_does_not_widen_what_a_command_applies_to(
    arguments: list[str], named: str, deliver: Deliver, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver()

    assert exit_code(*arguments) == 2
    assert f"{named} is empty." in capsys.readouterr().err
    assert not any(model.objects.exists() for model in (ApiKey, Hold, Replay))
