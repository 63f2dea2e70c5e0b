"""Django's settings that decide whether a request reaches the receiver."""

from dataclasses import dataclass

from django.conf import settings as django_settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """The values of these settings; docs.djangoproject.com explains each."""

    allowed_hosts: list[str]
    middleware: list[str]
    ssl_redirect: bool
    ssl_exempt: list[str]
    proxy_ssl_header: object
    forwarded_host: bool
    prepend_www: bool
    script_name: str | None
    uses_languages: bool
    languages: list[str]


def site() -> Site:
    """Return those settings as they are now."""
    return Site(
        allowed_hosts=list(django_settings.ALLOWED_HOSTS),
        middleware=list(django_settings.MIDDLEWARE),
        ssl_redirect=django_settings.SECURE_SSL_REDIRECT,
        ssl_exempt=list(django_settings.SECURE_REDIRECT_EXEMPT),
        proxy_ssl_header=django_settings.SECURE_PROXY_SSL_HEADER,
        forwarded_host=django_settings.USE_X_FORWARDED_HOST,
        prepend_www=django_settings.PREPEND_WWW,
        script_name=django_settings.FORCE_SCRIPT_NAME,
        uses_languages=django_settings.USE_I18N,
        languages=[code for code, _name in django_settings.LANGUAGES],
    )
