"""Receivers' accidents: `FAULTS_FAILING` of their runs raise, half of those before the write and half after it."""

import os
import random

FAILING = float(os.environ.get("FAULTS_FAILING", "0.1"))


def maybe_fail(where: str) -> None:
    """Raise now and then; called before and after the write."""
    if random.random() < FAILING / 2:
        raise RuntimeError(f"an accident ({where})")
