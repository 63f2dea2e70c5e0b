"""Settings of that site. COMBINED adds the combined admin classes of docs/how-to/customize-admin.md."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, env

ROOT_URLCONF = "tests.unfold_site.urls"
INSTALLED_APPS = ["unfold", *INSTALLED_APPS, *(["tests.unfold_site"] if env.bool("COMBINED", default=False) else [])]
