"""URLs with a language before each but those of the site's own."""

from django.conf.urls.i18n import i18n_patterns
from django.urls import include, path

urlpatterns = i18n_patterns(path("nateq/", include("nateq_webhooks.urls")), prefix_default_language=False)
