"""Answers of the API that are kept for requests that come again."""

import django.utils.timezone
from django.db import migrations, models

import nateq_webhooks.models.fields


class Migration(migrations.Migration):

    dependencies = [
        ('nateq_webhooks', '0014_api_key'),
    ]

    operations = [
        migrations.CreateModel(
            name='IdempotentAnswer',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', nateq_webhooks.models.fields.ExactCharField(max_length=64, unique=True)),
                ('request', nateq_webhooks.models.fields.ExactCharField(max_length=64)),
                ('status', models.PositiveIntegerField(default=0)),
                ('document', models.JSONField(null=True)),
                ('created_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
            options={
                'verbose_name': 'idempotent answer',
                'verbose_name_plural': 'idempotent answers',
                'default_permissions': (),
            },
        ),
    ]
