"""Keys for this site's own API."""

import django.utils.timezone
from django.db import migrations, models

import nateq_webhooks.models.fields


class Migration(migrations.Migration):

    dependencies = [
        ('nateq_webhooks', '0013_rejection_hint_label'),
    ]

    operations = [
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='What it is for.', max_length=100, unique=True, verbose_name='name')),
                ('key_hash', nateq_webhooks.models.fields.ExactCharField(editable=False, max_length=64, unique=True)),
                ('hint', models.CharField(editable=False, max_length=20, verbose_name='key')),
                ('scopes', models.JSONField(default=list, verbose_name='scopes')),
                ('organization_id', nateq_webhooks.models.fields.ExactCharField(blank=True, default='', help_text='It sees nothing of any other organization. Empty: it sees all of them.', max_length=200, verbose_name='organization')),
                ('allowed_addresses', models.JSONField(blank=True, default=list, verbose_name='allowed addresses')),
                ('requests_per_minute', models.PositiveIntegerField(default=1000, verbose_name='requests per minute')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created')),
                ('expires_at', models.DateTimeField(blank=True, help_text='From then on it is refused. Empty: never.', null=True, verbose_name='expires')),
                ('revoked_at', models.DateTimeField(editable=False, null=True, verbose_name='revoked')),
                ('last_used_at', models.DateTimeField(editable=False, null=True, verbose_name='last used')),
            ],
            options={
                'verbose_name': 'API key',
                'verbose_name_plural': 'API keys',
                'ordering': ['name'],
            },
        ),
    ]
