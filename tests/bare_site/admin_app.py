"""The admin with a class of the site's own, as Django's documentation says: `default_site` of an `AdminConfig`."""

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig


class ShopAdminSite(admin.AdminSite):
    """The site's own."""

    site_header = "Shop"


class ShopAdminConfig(AdminConfig):
    """Installs it."""

    default_site = "tests.bare_site.admin_app.ShopAdminSite"
