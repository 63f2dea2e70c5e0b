"""How long to wait before the next try."""

import random
from datetime import timedelta

import pytest

from nateq_webhooks.protocol.backoff import LONGEST, backoff

BASE = timedelta(seconds=10)


@pytest.fixture(autouse=True)
def _fixed_dice() -> None:
    random.seed(20260630)


def waits(tries: int, *, base: timedelta = BASE, longest: timedelta = LONGEST) -> list[timedelta]:
    return [backoff(tries, base, longest=longest) for _ in range(500)]


@pytest.mark.parametrize("tries", range(1, 11))
def test_the_wait_doubles_with_each_try_and_lies_in_the_upper_half(tries: int) -> None:
    full = BASE * 2 ** (tries - 1)

    found = waits(tries)

    assert min(found) >= full / 2
    assert max(found) <= full


@pytest.mark.parametrize("tries", [1, 5, 20])
def test_the_jitter_uses_the_whole_of_that_half(tries: int) -> None:
    full = min(BASE * 2 ** (tries - 1), LONGEST)

    found = waits(tries)

    assert min(found) < full * 0.55
    assert max(found) > full * 0.95
    assert len(set(found)) > 400


def test_no_wait_is_longer_than_the_longest() -> None:
    assert timedelta(hours=6) == LONGEST
    for tries in (13, 14, 100):  # 10 s doubled twelve times is more than six hours
        found = waits(tries)
        assert LONGEST / 2 <= min(found) < max(found) <= LONGEST


def test_the_longest_wait_can_be_chosen_even_below_the_base() -> None:
    assert max(waits(20, longest=timedelta(minutes=1))) <= timedelta(minutes=1)
    assert max(waits(1, longest=timedelta(seconds=1))) <= timedelta(seconds=1)


@pytest.mark.parametrize("tries", [41, 42, 1_000, 10**9, 10**100])
def test_a_huge_number_of_tries_waits_the_longest_and_overflows_nothing(tries: int) -> None:
    assert LONGEST / 2 <= backoff(tries, BASE) <= LONGEST
    assert LONGEST / 2 <= backoff(tries, timedelta.max) <= LONGEST


@pytest.mark.parametrize("tries", [0, -1, -(10**9)])
def test_a_try_before_the_first_counts_as_the_first(tries: int) -> None:
    assert BASE / 2 <= backoff(tries, BASE) <= BASE


def test_a_wait_is_never_nothing() -> None:
    assert min(waits(1, base=timedelta(seconds=1))) >= timedelta(milliseconds=500)
