"""The app."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "tests.control.shop"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from tests.control.settings import IS_BROKEN, SCENARIO
        from tests.control.shop import broken, receivers

        receivers.connect(atomic=not (IS_BROKEN and SCENARIO == "ack"))
        if IS_BROKEN and SCENARIO == "pause":
            broken.ignore_holds()
        if IS_BROKEN and SCENARIO == "replay":
            broken.add_runs_beside_pending_ones()
