"""URLs of an admin site on which a project hides rows by a condition that takes the database very long."""

from typing import Any, Final

from django.contrib import admin
from django.db import connection
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL
from django.urls import include, path

from nateq_webhooks.admin import DeliveryAdmin
from nateq_webhooks.models import Delivery

SLOW: Final = {
    "sqlite": "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000000) SELECT MAX(i) "
    "FROM n",
    "postgresql": "SELECT 1 FROM pg_sleep(20)",
    "mysql": "SELECT MAX(SLEEP(20)) FROM (SELECT 1 UNION ALL SELECT 2) AS t",
}


class SlowDeliveries(DeliveryAdmin):
    def get_queryset(self, request: Any) -> Any:
        slow = RawSQL(f"({SLOW[connection.vendor]}) >= 0", (), output_field=BooleanField())  # noqa: S611
        return super().get_queryset(request).filter(slow)


slow = admin.AdminSite("slow")
slow.register(Delivery, SlowDeliveries)

urlpatterns = [path("slow/", slow.urls), path("nateq/", include("nateq_webhooks.urls"))]
