"""A package that is broken on purpose."""

from collections.abc import Sequence

from nateq_webhooks.dispatch import holds, unfinished_runs


def ignore_holds() -> None:
    """Let every process believe that nothing is held back."""
    holds.read_holds = _nothing


def _nothing(alias: str) -> holds.HoldState:
    return holds.HoldState(holds={}, rates={})


def add_runs_beside_pending_ones() -> None:
    """Have a replay see no pending run, so that it adds another one beside each."""
    unfinished_runs.open_runs = _no_runs


def _no_runs(alias: str, pks: Sequence[int], names: Sequence[str]) -> unfinished_runs.OpenRuns:
    return unfinished_runs.OpenRuns(running=frozenset())
