"""Where the function is patched."""

import functools
import importlib
import os
import signal
from typing import Any

from django.apps import AppConfig
from django.conf import settings


class KillerConfig(AppConfig):
    name = "tests.remote.killer"

    def ready(self) -> None:
        at: tuple[str, str, int] = getattr(settings, "KILL_AT")  # noqa: B009 - no setting that a type checker knows
        when, dotted, wanted = at
        module, owner, name = dotted.rsplit(".", 2)
        place = getattr(importlib.import_module(module), owner)
        function = getattr(place, name)
        calls = 0

        @functools.wraps(function)
        def deadly(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if when == "before" and calls == wanted:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if when == "after" and calls == wanted:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(place, name, deadly)
