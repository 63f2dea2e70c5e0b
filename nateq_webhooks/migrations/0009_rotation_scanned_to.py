from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('nateq_webhooks', '0008_keys'),
    ]

    operations = [
        migrations.RenameField(
            model_name='webhook',
            old_name='looked_through',
            new_name='rotation_scanned_to',
        ),
    ]
