"""What keeps deliveries from reaching the receiver is seen in the settings, since the site's log is silent about it."""

from typing import Any

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.test import Client, override_settings
from django.urls import include, path, re_path
from django.views import View
from pytest_django import Settings

from nateq_webhooks.checks.reachability import check_reachability
from tests.conftest import Sender, envelope

ID = "00000000-0000-0000-0000-000000000000"


class OwnLoginRequired:
    """A middleware of the site's own, by name."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response


class ExtendedLoginRequired(LoginRequiredMiddleware):
    """Django's own, extended: it knows views that need no login."""


class Anything(View):
    """A single page application's, for every URL that is left."""


receiver = path("nateq/", include("nateq_webhooks.urls"))
urls_with_a_catch_all_first = [re_path(r"^.*$", Anything.as_view()), receiver]
urls_with_a_catch_all_last = [receiver, re_path(r"^.*$", Anything.as_view())]
urls_that_take_one_spelling = [path("nateq/<slug:page>", Anything.as_view()), receiver]


def found(**settings: Any) -> list[str]:
    with override_settings(**settings):
        return [message.id.removeprefix("nateq_webhooks.") for message in check_reachability() if message.id]


def public(url: str) -> dict[str, Any]:
    return {"NATEQ_WEBHOOKS": {"PUBLIC_URL": url}}


def urls(patterns: list[Any]) -> Any:
    return type("urls", (), {"urlpatterns": patterns})


@pytest.mark.parametrize(
    ("settings", "proxies", "expected"),
    [
        ({"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}, 0, ["W043"]),
        ({"USE_X_FORWARDED_HOST": True}, 0, ["W043"]),
        ({"USE_X_FORWARDED_HOST": True}, 1, []),
        ({}, 0, []),
    ],
)
def test_an_allow_list_behind_a_proxy_that_is_not_trusted(
    settings: dict[str, Any], proxies: int, expected: list[str]
) -> None:
    ours = {"ALLOWED_NETWORKS": ["192.0.2.0/24"], "TRUSTED_PROXIES": proxies}

    assert found(NATEQ_WEBHOOKS=ours, **settings) == expected
    assert found(NATEQ_WEBHOOKS={}, **settings) == []


def test_a_site_that_is_fine_is_told_nothing() -> None:
    assert found() == []
    assert found(NATEQ_WEBHOOKS={}, ALLOWED_HOSTS=[]) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"SECURE_SSL_REDIRECT": True}, ["W035"]),
        ({"SECURE_SSL_REDIRECT": True, "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}, []),
        (
            {"SECURE_SSL_REDIRECT": True, "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}
            | public("http://shop.example"),
            ["W035"],
        ),
        ({"SECURE_SSL_REDIRECT": True, "SECURE_REDIRECT_EXEMPT": ["^nateq/"]}, []),
        ({"SECURE_SSL_REDIRECT": True, "SECURE_REDIRECT_EXEMPT": ["^health/"]}, ["W035"]),
        ({"SECURE_SSL_REDIRECT": True, "MIDDLEWARE": []}, []),
        ({"PREPEND_WWW": True}, ["W036"]),
        ({"PREPEND_WWW": True} | public("https://www.shop.example"), []),
        ({"PREPEND_WWW": True, "MIDDLEWARE": []}, []),
        ({"ALLOWED_HOSTS": ["other.example"]}, ["W037"]),
        ({"ALLOWED_HOSTS": []}, ["W037"]),
        ({"ALLOWED_HOSTS": [".example"]}, []),
        ({"ALLOWED_HOSTS": ["shop.example"]} | public("https://SHOP.example:8443/"), []),
        ({"ALLOWED_HOSTS": [], "DEBUG": True} | public("http://localhost:8000"), []),
        ({"ALLOWED_HOSTS": ["[::1]"]} | public("http://[::1]:8000"), []),
        ({"MIDDLEWARE": ["tests.test_checks_of_reachability.OwnLoginRequired"]}, ["W038"]),
        ({"MIDDLEWARE": ["tests.test_checks_of_reachability.ExtendedLoginRequired"]}, []),
        ({"MIDDLEWARE": ["stronghold.middleware.LoginRequiredMiddleware"]}, ["W038"]),
        ({"ROOT_URLCONF": urls(urls_with_a_catch_all_first)}, ["W039"]),
        ({"ROOT_URLCONF": urls(urls_with_a_catch_all_last)}, []),
        ({"ROOT_URLCONF": urls(urls_that_take_one_spelling)}, ["W039"]),
        ({"ROOT_URLCONF": "tests.urls_of_languages"}, ["W040"]),
        ({"ROOT_URLCONF": "tests.urls_of_the_default_language"}, ["W040"]),
        ({"FORCE_SCRIPT_NAME": "/app"}, ["W041"]),
        ({"FORCE_SCRIPT_NAME": "/app"} | public("https://shop.example/app/"), []),
        ({"FORCE_SCRIPT_NAME": ""}, []),
        (public("https://shop.example/nateq/"), ["W042"]),
        (public("https://shop.example/nateq") | {"FORCE_SCRIPT_NAME": "/nateq"}, []),
    ],
    ids=str,
)
def test_each_is_found_where_it_is_so_and_only_there(settings: dict[str, Any], expected: list[str]) -> None:
    assert found(**settings) == expected


def test_a_site_without_translation_has_no_urls_of_languages() -> None:
    with override_settings(USE_I18N=False):
        assert found(ROOT_URLCONF=urls(i18n_patterns(receiver))) == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("site", "status"),
    [
        ({"SECURE_SSL_REDIRECT": True}, 301),
        ({"PREPEND_WWW": True}, 301),
        ({"ALLOWED_HOSTS": ["other.example"]}, 400),
        ({"ROOT_URLCONF": urls(urls_with_a_catch_all_first)}, 302),
    ],
    ids=str,
)
def test_what_is_warned_of_is_what_happens(
    sender: Sender, settings: Settings, site: dict[str, Any], status: int
) -> None:
    assert found(**site)
    url = sender.webhook.get_absolute_url()
    for name, value in site.items():
        setattr(settings, name, value)

    assert Client().post(url, envelope(), content_type="application/json").status_code == status


@pytest.mark.django_db
def test_djangos_own_demand_of_a_login_does_not_hit_the_receiver(sender: Sender, settings: Settings) -> None:
    assert "django.contrib.auth.middleware.LoginRequiredMiddleware" in settings.MIDDLEWARE
    assert sender.client.get("/admin/nateq_webhooks/").status_code == 302

    assert sender.post(envelope()).status_code == 200


@pytest.mark.parametrize("raw", [{"PUBLIC_URL": 7}, {"DISPACH": 1}])
def test_with_broken_settings_only_those_are_reported(raw: dict[str, Any]) -> None:
    assert found(NATEQ_WEBHOOKS=raw) == []


def test_without_a_receiver_only_that_is_reported() -> None:
    assert found(ROOT_URLCONF="tests.urls_without_a_receiver") == []
