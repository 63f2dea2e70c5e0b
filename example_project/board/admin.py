from django.contrib import admin

from .models import Effect, Ticket


@admin.register(Ticket)
class TicketAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["subject", "customer", "channel", "status", "priority", "events_applied", "happened_at"]
    list_filter = ["status", "channel", "priority"]
    search_fields = ["external_id", "subject", "customer"]


@admin.register(Effect)
class EffectAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["delivery_id", "receiver", "created_at"]
    list_filter = ["receiver"]
    search_fields = ["delivery_id"]
