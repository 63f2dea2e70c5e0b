"""Django's classes that are generic for the type checker only, so that they can be subscripted at run time, too."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as ModelAdmin
    from django.contrib.admin import TabularInline as TabularInline
    from django.forms import ModelForm as ModelForm
else:

    class _Subscriptable:
        def __class_getitem__(cls, _parameters: Any):
            return cls

    class ModelAdmin(_Subscriptable, admin.ModelAdmin):
        """Django's."""

    class TabularInline(_Subscriptable, admin.TabularInline):
        """Django's."""

    class ModelForm(_Subscriptable, forms.ModelForm):
        """Django's."""
