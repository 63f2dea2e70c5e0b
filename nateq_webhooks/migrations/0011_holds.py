"""Rename what holds runs back and what keeps their order. No data changes; no index is built again."""

import django.db.models.deletion
from django.db import migrations, models

import nateq_webhooks.models.fields


class Migration(migrations.Migration):
    dependencies = [
        ("nateq_webhooks", "0010_reissue"),
    ]

    operations = [
        migrations.RenameModel(old_name="Gate", new_name="Hold"),
        migrations.RenameField(model_name="hold", old_name="is_cleared", new_name="is_empty"),
        migrations.AlterModelOptions(
            name="hold",
            options={
                "default_permissions": (),
                "ordering": ["scope"],
                "verbose_name": "hold",
                "verbose_name_plural": "holds",
            },
        ),
        migrations.AlterField(
            model_name="hold",
            name="scope",
            field=nateq_webhooks.models.fields.ExactCharField(max_length=255, unique=True, verbose_name="scope"),
        ),
        migrations.RenameModel(old_name="Turn", new_name="OrderLock"),
        migrations.RenameField(model_name="orderlock", old_name="up", new_name="head_key"),
        migrations.RenameIndex(model_name="orderlock", old_name="nateq_turn_line", new_name="nateq_order_queue"),
        migrations.AlterModelOptions(
            name="orderlock",
            options={
                "default_permissions": (),
                "verbose_name": "order lock",
                "verbose_name_plural": "order locks",
            },
        ),
        migrations.AlterField(
            model_name="orderlock",
            name="run",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE,
                primary_key=True,
                related_name="order_lock",
                serialize=False,
                to="nateq_webhooks.run",
            ),
        ),
        # Databases keep the index of a column that they rename; Django's state names the column.
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveIndex(model_name="run", name="nateq_run_due")]
        ),
        migrations.RenameField(model_name="run", old_name="lane", new_name="held_by"),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddIndex(
                    model_name="run",
                    index=models.Index(fields=["held_by", "next_try_at"], name="nateq_run_due"),
                )
            ]
        ),
        migrations.AlterField(
            model_name="run",
            name="held_by",
            field=models.BigIntegerField(default=0, verbose_name="held by"),
        ),
    ]
