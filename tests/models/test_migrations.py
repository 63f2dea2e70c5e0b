"""Processes of the version before go on working with the tables after a migration (docs: Update)."""

from django.db import migrations
from django.db.migrations.loader import MigrationLoader
from django.db.models import NOT_PROVIDED

FROM = "0021"
"""Migrations from this one on keep to it."""

TAKES_AWAY = (
    migrations.RemoveField,
    migrations.RenameField,
    migrations.DeleteModel,
    migrations.RenameModel,
    migrations.AlterModelTable,
)


def test_a_migration_only_adds_what_an_earlier_version_may_leave_out() -> None:
    loader = MigrationLoader(None)
    newer = [each for (app, name), each in loader.disk_migrations.items() if app == "nateq_webhooks" and name >= FROM]

    assert newer
    for migration in newer:
        for operation in migration.operations:
            assert not isinstance(operation, TAKES_AWAY), (migration.name, operation)
            if isinstance(operation, migrations.AddField):
                field = operation.field
                assert field.null or field.db_default is not NOT_PROVIDED, (migration.name, operation.name)
