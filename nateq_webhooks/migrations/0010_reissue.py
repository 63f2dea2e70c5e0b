"""Rename the table of deliveries that came under another id. No data changes."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("nateq_webhooks", "0009_rotation_scanned_to"),
    ]

    operations = [
        migrations.RenameModel(old_name="Twin", new_name="Reissue"),
        migrations.RenameField(model_name="reissue", old_name="first", new_name="original"),
        migrations.AlterField(
            model_name="reissue",
            name="delivery",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE,
                primary_key=True,
                related_name="reissue",
                serialize=False,
                to="nateq_webhooks.delivery",
                verbose_name="delivery",
            ),
        ),
        migrations.AlterField(
            model_name="reissue",
            name="original",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="reissues",
                to="nateq_webhooks.delivery",
                verbose_name="original",
            ),
        ),
    ]
