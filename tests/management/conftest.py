"""Deliveries that are stored and wait to be run."""

from tests.dispatch.conftest import _nobody_runs_what_is_stored, configure, deliver

__all__ = ["_nobody_runs_what_is_stored", "configure", "deliver"]
