"""What was read inside a transaction is good until that ends: it may be rolled back, as every `TestCase` is."""

from django.db import connections

Blocks = tuple[object, ...]
"""The `atomic` blocks that were open, the outermost first."""


def open_blocks(alias: str) -> Blocks:
    """Return the blocks that are open on this thread's connection; none outside a transaction."""
    return tuple(connections[alias].atomic_blocks)


def are_open(alias: str, blocks: Blocks) -> bool:
    """Say whether all of the blocks are open still, and on this thread's connection."""
    return not blocks or open_blocks(alias)[: len(blocks)] == blocks


def is_private(alias: str) -> bool:
    """Say whether other threads see another database than this one: in SQLite's memory, or inside a transaction."""
    connection = connections[alias]
    if connection.in_atomic_block:
        return True
    return connection.vendor == "sqlite" and connection.is_in_memory_db()  # type: ignore[attr-defined]
