"""The settings for processes that only receive and run: importing the admin takes nearly half of their start."""

from tests.settings import *  # noqa: F403 - the same, and less
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "django.contrib.admin"]
ROOT_URLCONF = "tests.urls_without_admin"
