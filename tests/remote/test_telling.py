import pytest
from django.utils.translation import override

from nateq_webhooks import errors, remote
from nateq_webhooks.remote.telling import KINDS

KINDS_OF_ERRORS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ApiError)
]


@pytest.mark.parametrize("kind", KINDS_OF_ERRORS)
def test_every_error_of_the_client_is_told_by_its_own_kind(kind: type[errors.ApiError]) -> None:
    with override("ar"):
        own, general = remote.told(kind("details")), remote.told(errors.ApiError("details"))

    assert own.endswith("\u2068details\u2069")
    assert (own == general) == (kind is errors.ApiError)
    assert next(each for each in KINDS if issubclass(kind, each)) is kind


def test_in_english_the_clients_own_words_say_it_all() -> None:
    with override("en"):
        assert remote.told(errors.NateqServerError("The server failed.")) == "The server failed."


def test_what_a_person_has_to_decide_is_translated_already() -> None:
    with override("ar"):
        assert remote.told(remote.RemoteError("نعم")) == "نعم"
