"""Label the likely cause of a refusal; no SQL is run."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("nateq_webhooks", "0012_replay_command"),
    ]

    operations = [
        migrations.AlterField(
            model_name="rejection",
            name="hint",
            field=models.TextField(default="", verbose_name="likely cause"),
        ),
    ]
