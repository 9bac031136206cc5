"""Connections take the place of rotated refresh tokens; service members; what SCIM needs to keep."""

import uuid

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


def fill(apps, schema):
    """An identifier for each group that has none; device grants under way do not tell when their member logged in."""
    for group in apps.get_model("identity", "Group").objects.filter(uid=None):
        group.uid = uuid.uuid4()
        group.save()
    apps.get_model("identity", "DeviceGrant").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="RevokedToken",
            fields=[
                ("jti", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("expires", models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.RemoveField(
            model_name="refreshtoken",
            name="audience",
        ),
        migrations.RemoveField(
            model_name="refreshtoken",
            name="expires",
        ),
        migrations.RemoveField(
            model_name="refreshtoken",
            name="parent",
        ),
        migrations.RemoveField(
            model_name="refreshtoken",
            name="scope",
        ),
        migrations.AddField(
            model_name="client",
            name="member",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="clients",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="client",
            name="registration",
            field=models.CharField(blank=True, default="", max_length=64),
        ),
        migrations.AddField(
            model_name="client",
            name="used",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="devicegrant",
            name="authenticated",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="grant",
            name="audience",
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name="grant",
            name="authenticated",
            field=models.DateTimeField(default=django.utils.timezone.now),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="grant",
            name="used",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="group",
            name="created",
            field=models.DateTimeField(auto_now_add=True, default=django.utils.timezone.now),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="group",
            name="display",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name="group",
            name="external",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name="group",
            name="extra",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="group",
            name="uid",
            field=models.UUIDField(null=True),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="group",
            name="uid",
            field=models.UUIDField(default=uuid.uuid4, editable=False, unique=True),
        ),
        migrations.AddField(
            model_name="group",
            name="updated",
            field=models.DateTimeField(auto_now=True),
        ),
        migrations.AddField(
            model_name="member",
            name="expires",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="member",
            name="external",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name="member",
            name="extra",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="member",
            name="kind",
            field=models.CharField(choices=[("person", "Person"), ("service", "Service")], default="person", max_length=8),
        ),
        migrations.AddField(
            model_name="member",
            name="owner",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="services", to="identity.group"
            ),
        ),
        migrations.AddField(
            model_name="member",
            name="username",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.CreateModel(
            name="Connection",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("scope", models.TextField()),
                ("audience", models.TextField(blank=True)),
                ("current", models.JSONField(default=list)),
                ("previous", models.CharField(blank=True, max_length=64)),
                ("authenticated", models.DateTimeField()),
                ("created", models.DateTimeField(auto_now_add=True)),
                ("rotated", models.DateTimeField(null=True)),
                ("expires", models.DateTimeField(db_index=True)),
                (
                    "client",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="connections",
                        to=settings.OAUTH2_PROVIDER_APPLICATION_MODEL,
                    ),
                ),
                (
                    "member",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="connections", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="grant",
            name="connection",
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, to="identity.connection"),
        ),
    ]
