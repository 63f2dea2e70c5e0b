"""The app."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "tests.faults.shop"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from tests.faults.shop import receivers

        receivers.connect()
