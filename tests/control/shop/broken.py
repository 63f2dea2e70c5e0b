"""A package that is broken on purpose."""

from nateq_webhooks.dispatch import gates


def ignore_gates() -> None:
    """Let every process believe that nothing is held back."""
    gates._read = _nothing


def _nothing(alias: str) -> gates.Control:
    return gates.Control(gates={}, rates={})
