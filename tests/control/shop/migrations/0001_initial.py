from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Effect",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("delivery_id", models.CharField(max_length=100)),
                ("receiver", models.CharField(max_length=20)),
                ("is_replay", models.BooleanField()),
                ("started_at", models.DateTimeField()),
                ("key", models.CharField(max_length=100)),
                ("seen", models.IntegerField(null=True)),
            ],
        ),
    ]
