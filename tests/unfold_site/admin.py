"""Our admins with django-unfold's widgets: the code of docs/how-to/customize-admin.md."""

from django.contrib import admin
from unfold.admin import ModelAdmin, TabularInline

from nateq_webhooks import admin as nateq
from nateq_webhooks.models import Delivery, Rejection, Replay, Run, Webhook

for model in (Delivery, Rejection, Replay, Run, Webhook):
    admin.site.unregister(model)


class SecretInline(nateq.SecretInline, TabularInline):
    pass


@admin.register(Webhook)
class WebhookAdmin(nateq.WebhookAdmin, ModelAdmin):
    inlines = [SecretInline]


@admin.register(Delivery)
class DeliveryAdmin(nateq.DeliveryAdmin, ModelAdmin):
    pass


@admin.register(Run)
class RunAdmin(nateq.RunAdmin, ModelAdmin):
    pass


@admin.register(Rejection)
class RejectionAdmin(nateq.RejectionAdmin, ModelAdmin):
    pass


@admin.register(Replay)
class ReplayAdmin(nateq.ReplayAdmin, ModelAdmin):
    pass
