# The columns and tables of retention, erasure, redaction, encrypted secrets and the audit log.

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import nateq_webhooks.models.fields
import nateq_webhooks.models.webhook


class Migration(migrations.Migration):

    dependencies = [
        ('nateq_webhooks', '0020_hourly_count'),
    ]

    operations = [
        migrations.CreateModel(
            name='ErasureProgress',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', nateq_webhooks.models.fields.ExactCharField(max_length=64, unique=True)),
                ('position', models.JSONField(default=dict)),
                ('counts', models.JSONField(default=dict)),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'verbose_name': 'erasure progress',
                'verbose_name_plural': 'erasure progress',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='RetentionProgress',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', nateq_webhooks.models.fields.ExactCharField(max_length=64, unique=True)),
                ('after', models.BigIntegerField(default=0)),
                ('left', models.JSONField(default=list)),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'verbose_name': 'retention progress',
                'verbose_name_plural': 'retention progress',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='UnredactedBody',
            fields=[
                ('delivery', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='unredacted_body', serialize=False, to='nateq_webhooks.delivery', verbose_name='delivery')),
                ('body', nateq_webhooks.models.fields.BytesField(verbose_name='body')),
            ],
            options={
                'verbose_name': 'unredacted body',
                'verbose_name_plural': 'unredacted bodies',
                'default_permissions': (),
            },
        ),
        migrations.AlterModelOptions(
            name='delivery',
            options={'default_permissions': ('delete', 'view'), 'ordering': ['-pk'], 'permissions': [('view_payload', 'Can see what customers wrote: payloads, tracebacks, searches, exports'), ('replay_delivery', 'Can have deliveries run again'), ('export_delivery', 'Can export deliveries'), ('erase_delivery', 'Can erase what is stored about a person or an organization')], 'verbose_name': 'delivery', 'verbose_name_plural': 'deliveries'},
        ),
        migrations.AddField(
            model_name='delivery',
            name='content_change',
            field=models.CharField(choices=[('retention', 'Removed by retention'), ('erasure', 'Erased'), ('redaction', 'Redacted before storing')], max_length=10, null=True, verbose_name='content'),
        ),
        migrations.AddField(
            model_name='delivery',
            name='content_changed_at',
            field=models.DateTimeField(null=True, verbose_name='content changed'),
        ),
        migrations.AddField(
            model_name='replay',
            name='without_content',
            field=models.BigIntegerField(db_default=0, default=0, verbose_name='content removed'),
        ),
        migrations.AddField(
            model_name='webhook',
            name='has_removed',
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AlterField(
            model_name='secret',
            name='secret',
            field=models.CharField(max_length=2000, verbose_name='signing secret'),
        ),
        migrations.AlterField(
            model_name='webhook',
            name='secret',
            field=models.CharField(default=nateq_webhooks.models.webhook.generate_secret, help_text='The secret that Nateq signs with. Shown once, then never again.', max_length=2000, verbose_name='signing secret'),
        ),
        migrations.CreateModel(
            name='AuditEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='time')),
                ('action', nateq_webhooks.models.fields.ExactCharField(choices=[('secret_revealed', 'Secret shown'), ('secret_changed', 'Secret changed'), ('keys_rotated', 'Encryption key rotated'), ('replayed', 'Replayed'), ('replay_cancelled', 'Replay cancelled'), ('retried', 'Tried now'), ('reassigned', 'Runs given to another receiver'), ('exported', 'Exported'), ('paused', 'Paused'), ('resumed', 'Resumed'), ('dropped', 'Runs dropped'), ('erased', 'Erased'), ('pruned', 'Removed by retention'), ('webhook_created', 'Webhook created'), ('webhook_changed', 'Webhook changed'), ('webhook_deleted', 'Webhook deleted'), ('api_key_created', 'API key created'), ('api_key_revoked', 'API key revoked'), ('payload_downloaded', 'Body downloaded'), ('request_signed', 'Signed request copied')], max_length=32, verbose_name='action')),
                ('source', nateq_webhooks.models.fields.ExactCharField(choices=[('admin', 'Admin'), ('api', 'API'), ('command', 'Command'), ('code', 'Code'), ('worker', 'Worker')], max_length=10, verbose_name='through')),
                ('actor', models.CharField(default='', max_length=150, verbose_name='by')),
                ('target', models.CharField(default='', max_length=255, verbose_name='what')),
                ('details', models.JSONField(default=dict, verbose_name='details')),
            ],
            options={
                'verbose_name': 'audit entry',
                'verbose_name_plural': 'audit log',
                'ordering': ['-pk'],
                'default_permissions': ('view',),
                'indexes': [models.Index(fields=['action', 'id'], name='nateq_audit_action'), models.Index(fields=['at'], name='nateq_audit_at')],
            },
        ),
        migrations.CreateModel(
            name='RemovedDelivery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('webhook_id', models.UUIDField(verbose_name='webhook')),
                ('identity', nateq_webhooks.models.fields.ExactCharField(max_length=64, verbose_name='identity')),
                ('reason', nateq_webhooks.models.fields.ExactCharField(choices=[('retention', 'Retention'), ('erasure', 'Erasure')], max_length=10, verbose_name='reason')),
                ('expires_at', models.DateTimeField(db_index=True, null=True, verbose_name='expires')),
            ],
            options={
                'verbose_name': 'removed delivery',
                'verbose_name_plural': 'removed deliveries',
                'ordering': ['pk'],
                'default_permissions': (),
                'constraints': [models.UniqueConstraint(fields=('webhook_id', 'identity'), name='nateq_removed_once')],
            },
        ),
    ]
