"""The app of the user model."""

from django.apps import AppConfig


class PeopleConfig(AppConfig):
    """People."""

    name = "tests.bare_site.people"
    label = "people"
    default_auto_field = "django.db.models.BigAutoField"
