"""The window of the rate limit, by a clock that the test turns."""

from nateq_webhooks.sandbox.limits import RateLimit


def test_a_window_lasts_a_minute_from_its_first_request() -> None:
    moment = 0.0
    limit = RateLimit(2, clock=lambda: moment)
    assert [limit.take("a").remaining for _ in range(2)] == [1, 0]

    moment = 59.5
    refused = limit.take("a")
    moment = 60.0
    taken = limit.take("a")

    assert refused.retry_after == 1
    assert (taken.remaining, taken.retry_after) == (1, None)
