"""Labels: statuses, refused requests, and the times of replays; no SQL is run."""

import django.utils.timezone
from django.db import migrations, models

import nateq_webhooks.models.fields


class Migration(migrations.Migration):
    dependencies = [
        ("nateq_webhooks", "0016_replay_of_filters"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="rejection",
            options={
                "default_permissions": ("delete", "view"),
                "ordering": ["-pk"],
                "verbose_name": "refused request",
                "verbose_name_plural": "refused requests",
            },
        ),
        migrations.AlterField(
            model_name="delivery",
            name="status",
            field=nateq_webhooks.models.fields.ExactCharField(
                choices=[
                    ("received", "In progress"),
                    ("processed", "Processed"),
                    ("failed", "Retrying"),
                    ("dead", "Failed for good"),
                    ("ignored", "Ignored"),
                    ("invalid", "Invalid"),
                ],
                max_length=16,
                verbose_name="status",
            ),
        ),
        migrations.AlterField(
            model_name="replay",
            name="created_at",
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name="requested"),
        ),
        migrations.AlterField(
            model_name="replay",
            name="finished_at",
            field=models.DateTimeField(null=True, verbose_name="all runs created"),
        ),
        migrations.AlterField(
            model_name="run",
            name="status",
            field=nateq_webhooks.models.fields.ExactCharField(
                choices=[
                    ("waiting", "Waiting"),
                    ("running", "Running"),
                    ("succeeded", "Succeeded"),
                    ("failed", "Retrying"),
                    ("dead", "Failed for good"),
                    ("dropped", "Dropped"),
                ],
                default="waiting",
                max_length=16,
                verbose_name="status",
            ),
        ),
    ]
