"""The dashboard as an entry of the admin's home, which lists models."""

from django.utils.translation import gettext_lazy as _

from nateq_webhooks.models.delivery import Delivery


class Dashboard(Delivery):
    """No rows of its own: the admin's home has a line for each registered model, and this one is the dashboard's."""

    class Meta:
        proxy = True
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")
        default_permissions = ()
