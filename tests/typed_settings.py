"""What the type checker loads: the demo's settings, with the models that only the sandbox's own process has."""

from example_project.settings import *  # noqa: F403
from example_project.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "nateq_webhooks.sandbox.site"]
