"""Keep in a column whether a command waits for a replay, not beside the replay's filters."""

from typing import Any

from django.db import migrations, models

FLAG = "followed"


def move_flag(apps: Any, schema_editor: Any) -> None:
    """Move the flag out of the filters; only replays of a command that was interrupted have it."""
    replays = apps.get_model("nateq_webhooks", "Replay").objects.using(schema_editor.connection.alias)
    for replay in replays.filter(filters__has_key=FLAG).only("pk", "filters"):
        del replay.filters[FLAG]
        replays.filter(pk=replay.pk).update(filters=replay.filters, is_command_waiting=True)


class Migration(migrations.Migration):
    dependencies = [
        ("nateq_webhooks", "0011_holds"),
    ]

    operations = [
        migrations.AddField(
            model_name="replay",
            name="is_command_waiting",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.RunPython(move_flag, migrations.RunPython.noop, elidable=True),
    ]
