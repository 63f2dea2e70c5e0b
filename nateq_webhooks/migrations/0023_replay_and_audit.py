# How many failed runs a replay left alone, and which webhook an entry of the audit log is about: no table is rewritten.

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('nateq_webhooks', '0022_dashboard'),
    ]

    operations = [
        migrations.AddField(
            model_name='auditentry',
            name='webhook_id',
            field=models.UUIDField(null=True, verbose_name="webhook's id"),
        ),
        migrations.AddField(
            model_name='replay',
            name='disconnected',
            field=models.BigIntegerField(db_default=0, default=0, verbose_name='receiver not connected'),
        ),
    ]
