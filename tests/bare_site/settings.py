"""Settings of that site; BEFORE and AFTER name what else is installed, before and after our app."""

from tests.settings import DATABASES, SQLITE_OPTIONS, env
from tests.settings import TEMPLATES as WITH_ADMIN

SECRET_KEY = "tests only"
ALLOWED_HOSTS = ["shop.example", "testserver"]
USE_TZ = True
ROOT_URLCONF = "tests.bare_site.urls"
DATABASES = DATABASES
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = SQLITE_OPTIONS
BEFORE, AFTER = env.list("BEFORE", default=[]), env.list("AFTER", default=[])
INSTALLED_APPS = [*BEFORE, "nateq_webhooks", "tests.bare_site", *AFTER]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
if any("admin" in name for name in INSTALLED_APPS):
    TEMPLATES = WITH_ADMIN
    MIDDLEWARE += [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
if "tests.bare_site.people" in INSTALLED_APPS:
    AUTH_USER_MODEL = "people.Person"
STATIC_URL = "static/"
NATEQ_WEBHOOKS = {"PUBLIC_URL": "https://shop.example"}
