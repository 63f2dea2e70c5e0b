"""A window in which a delivery may be forgotten is reported."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from nateq_webhooks.checks.replay_window import check_removed_kept_for, check_replay_window


@pytest.mark.parametrize(
    ("settings", "is_reported"),
    [
        ({"REPLAY_WINDOW": timedelta(days=61), "RETENTION": {"delivery": 31}}, False),
        ({"REPLAY_WINDOW": timedelta(days=62), "RETENTION": {"delivery": 31}}, True),
        ({"REPLAY_WINDOW": timedelta(days=62), "RETENTION": {"delivery": {"dead": 400, "ticket.*": 31}}}, True),
        ({"REPLAY_WINDOW": timedelta(days=62), "RETENTION": {"payload": 1}}, False),
        ({"REPLAY_WINDOW": timedelta(days=62)}, False),
        ({"RETENTION": {"delivery": 1}, "REMOVED_KEPT_FOR": timedelta(days=1)}, False),
        (
            {"REPLAY_WINDOW": timedelta(days=3), "RETENTION": {"delivery": 1}, "REMOVED_KEPT_FOR": timedelta(days=1)},
            True,
        ),
        ({"REPLAY_WINDOW": "a week", "RETENTION": {"delivery": 1}}, False),
    ],
)
def test_a_window_longer_than_deliveries_are_remembered(settings: dict[str, Any], *, is_reported: bool) -> None:
    with override_settings(NATEQ_WEBHOOKS=settings):
        assert [each.id for each in check_replay_window()] == (["nateq_webhooks.W047"] if is_reported else [])


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("settings", "is_reported"),
    [
        ({"RETENTION": {"delivery": 1}, "REMOVED_KEPT_FOR": HOUR}, True),
        ({"RETENTION": {"delivery": {"dead": None, "*": 0}}, "REMOVED_KEPT_FOR": timedelta(hours=47)}, True),
        ({"RETENTION": {"delivery": 1}, "REMOVED_KEPT_FOR": timedelta(days=1)}, False),
        ({"RETENTION": {"delivery": 1}, "REMOVED_KEPT_FOR": HOUR, "ROTATION_OVERLAP": timedelta()}, False),
        ({"RETENTION": {"delivery": 0}}, False),
        ({"RETENTION": {"payload": 1}, "REMOVED_KEPT_FOR": HOUR}, False),
        ({"REMOVED_KEPT_FOR": HOUR}, False),
        ({"RETENTION": "1", "REMOVED_KEPT_FOR": HOUR}, False),
    ],
)
def test_identities_that_are_forgotten_before_late_retries_end(settings: dict[str, Any], *, is_reported: bool) -> None:
    with override_settings(NATEQ_WEBHOOKS=settings):
        assert [each.id for each in check_removed_kept_for()] == (["nateq_webhooks.W082"] if is_reported else [])


def test_the_message_names_parts_of_a_day() -> None:
    settings = {"RETENTION": {"delivery": 0.5}, "REMOVED_KEPT_FOR": timedelta(hours=6), "REPLAY_WINDOW": 36 * HOUR}
    with override_settings(NATEQ_WEBHOOKS=settings):
        [found] = check_replay_window()

    assert "is 1.5 days" in found.msg
    assert "after 0.5 days" in found.msg
    assert "0.25 days later" in found.msg
