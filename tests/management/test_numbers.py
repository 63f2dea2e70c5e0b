"""Numbers that a command can't work with are refused, with what they are."""

import pytest
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        *(("nateq_prune", "--seconds", value) for value in ("nan", "inf", "0.0", "-1.0", "1e+300")),
        *(("nateq_prune", "--pause", value) for value in ("nan", "inf", "-0.5")),
        *(("nateq_status", "--max-lag", value) for value in ("nan", "inf", "-1.0", "1e+30")),
        ("nateq_status", "--max-dead", "-1"),
    ],
)
def test_a_number_that_is_out_of_range_is_named(command: str, option: str, value: str) -> None:
    with pytest.raises(CommandError, match=rf"{option} is {value}".replace("+", r"\+")):
        call_command(command, f"{option}={value}")


@pytest.mark.parametrize("options", [["--json"], ["--dry-run"], ["--seconds=5"]])
def test_the_sql_of_pruning_takes_no_option_that_it_would_ignore(options: list[str]) -> None:
    with pytest.raises(CommandError, match="leave out --dry-run, --json and --seconds"):
        call_command("nateq_prune", "--sql", *options)
