"""Django's classes that are generic for the type checker only, so that they can be subscripted at run time, too.

The pages of every admin say what is wrong while the settings are.
"""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.urls import URLPattern

from nateq_webhooks.admin.wrong_settings import guarded

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as ModelAdmin
    from django.contrib.admin import TabularInline as TabularInline
    from django.forms import ModelForm as ModelForm
else:

    class _Subscriptable:
        def __class_getitem__(cls, _parameters: Any):
            return cls

    class ModelAdmin(_Subscriptable, admin.ModelAdmin):
        """Django's; while the settings are wrong, each of its pages says so."""

        @property
        def urls(self) -> list[URLPattern]:
            """Return the URLs of all pages, those that a project adds, too."""
            return [guarded(self, pattern) for pattern in self.get_urls()]

    class TabularInline(_Subscriptable, admin.TabularInline):
        """Django's."""

    class ModelForm(_Subscriptable, forms.ModelForm):
        """Django's."""
