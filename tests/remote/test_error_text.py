import pytest
from django.utils.translation import override

from nateq_webhooks import errors, remote
from nateq_webhooks.remote.error_text import KINDS, localized

KINDS_OF_ERRORS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ApiError)
]


@pytest.mark.parametrize("kind", KINDS_OF_ERRORS)
def test_every_error_of_the_client_has_its_own_sentence(kind: type[errors.ApiError]) -> None:
    with override("ar"):
        own, general = localized(kind("details")), localized(errors.ApiError("details"))

    assert own.endswith("\u2068details\u2069")
    assert (own == general) == (kind is errors.ApiError)
    assert next(each for each in KINDS if issubclass(kind, each)) is kind


def test_in_english_the_message_of_the_client_is_enough() -> None:
    with override("en"):
        assert localized(errors.NateqServerError("The server failed.")) == "The server failed."


def test_a_remote_error_is_translated_already() -> None:
    with override("ar"):
        assert localized(remote.RemoteError("نعم")) == "نعم"
