import pytest
from django.core.management.base import CommandError

from nateq_webhooks.management.prompts import confirm, require_yes


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    def read(prompt: str) -> str:
        if request.param is None:
            raise EOFError
        return str(request.param)

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)


@pytest.mark.parametrize("answer", ["y", "Y", "yes", " YES "], indirect=True)
@pytest.mark.usefixtures("answer")
def test_a_yes_goes_on() -> None:
    confirm("Continue? ")
    require_yes("Continue? ")


@pytest.mark.parametrize("answer", ["", "n", "no", "maybe", "yep", None], indirect=True)
@pytest.mark.usefixtures("answer")
def test_any_other_answer_and_the_end_of_the_input_change_nothing() -> None:
    with pytest.raises(CommandError, match="Nothing was changed"):
        confirm("Continue? ")
    with pytest.raises(CommandError, match="Nothing was changed"):
        require_yes("Continue? ")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_question_is_not_part_of_an_output_that_goes_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, is_terminal: bool
) -> None:
    asked: list[str] = []

    def answer_yes(question: str) -> str:
        asked.append(question)
        return "y"

    monkeypatch.setattr("builtins.input", answer_yes)
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)

    require_yes("Continue? ")

    assert asked == ["Continue? " if is_terminal else ""]
    assert capsys.readouterr() == ("", "" if is_terminal else "Continue? ")


@pytest.mark.parametrize(("is_terminal", "no_input"), [(False, False), (True, True)])
def test_a_script_is_not_asked(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, no_input: bool) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: pytest.fail("asked"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: is_terminal, raising=False)

    confirm("Continue? ", no_input=no_input)
