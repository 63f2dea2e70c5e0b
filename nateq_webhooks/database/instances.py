"""Model instances of rows that this process has just inserted: each request that runs receivers builds some."""

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db import models
from django.db.models.base import ModelState
from django.db.models.signals import post_init, pre_init

_Model = TypeVar("_Model", bound=models.Model)


def from_row(model: type[_Model], alias: str, row: Mapping[str, Any], **related: models.Model) -> _Model:
    """Return the instance that `Model.from_db` would return for a whole row, by attribute name.

    `related` are the objects of its foreign keys. `__init__` is called only if something listens to its signals: it
    takes five times as long, and does nothing else that a model without an `__init__` of its own needs.
    """
    if pre_init.has_listeners(model) or post_init.has_listeners(model):
        names = [field.attname for field in model._meta.concrete_fields]
        instance = model.from_db(alias, names, [row[name] for name in names])
    else:
        instance = model.__new__(model)
        instance._state = ModelState()  # noqa: SLF001 - as Django's `Model.__init__` and `from_db` do
        instance._state.adding, instance._state.db = False, alias  # noqa: SLF001
        instance.__dict__.update(row)
    instance._state.fields_cache.update(related)  # noqa: SLF001
    return instance
