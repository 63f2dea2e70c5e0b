from django.apps import AppConfig


class BoardConfig(AppConfig):
    name = "example_project.board"
    label = "board"
    verbose_name = "Ticket board"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the receivers: importing their module does it."""
        from . import receivers  # noqa: F401
