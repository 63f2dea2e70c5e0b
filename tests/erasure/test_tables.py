"""Each column that can have text is either looked through or named with the reason why not."""

from django.apps import apps
from django.db import models

from nateq_webhooks.dispatch.erasure.tables import KEPT, TEXT_TABLES
from nateq_webhooks.models.delivery_texts import LIMITS

_TEXTS = (models.CharField, models.TextField, models.JSONField, models.BinaryField, models.GenericIPAddressField)

_OF_DELIVERIES = {*LIMITS, "body", "payload", "headers"}


def test_each_column_with_text_is_looked_through_or_is_kept_for_a_reason() -> None:
    looked_through = {
        (table.model.__name__, name) for table in TEXT_TABLES for name in (*table.columns, table.body) if name
    } | {("Delivery", name) for name in _OF_DELIVERIES}
    kept = {(model, name) for model, names in KEPT.items() for name in names}
    columns = {
        (model.__name__, field.name)
        for model in apps.get_app_config("nateq_webhooks").get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, _TEXTS) and not model._meta.proxy
    }

    assert columns == looked_through | kept
    assert not looked_through & kept
