"""A webhook's health: counted by the hour, drawn without style."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone, translation
from pytest_django import DjangoAssertNumQueries

from nateq_webhooks.admin.dashboard.chart import BAR_WIDTH, HEIGHT, Chart, chart
from nateq_webhooks.admin.dashboard.health import Health, Hour
from nateq_webhooks.admin.dashboard.statistics import read_statistics
from nateq_webhooks.admin.dashboard.summary import percent, span
from nateq_webhooks.models import Run, Webhook
from nateq_webhooks.models.hourly_count import HourlyCount
from tests.admin.pages import shown
from tests.builders import ago, build_delivery, build_run, insert

pytestmark = pytest.mark.django_db

CHART = '<svg class="nateq-chart'


def change_page(client: Client, webhook: Webhook) -> str:
    return shown(client, reverse("admin:nateq_webhooks_webhook_change", args=[webhook.pk]))


def test_each_hour_counts_its_deliveries_by_status(webhook: Webhook) -> None:
    other = Webhook.objects.create(name="other")
    hour = timezone.now().astimezone(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    moments = [hour, hour + timedelta(minutes=59, seconds=59)]
    insert(
        [build_delivery(webhook, moment, status) for moment in moments for status in ("processed", "dead")]
        + [build_delivery(other, moments[0], "failed"), build_delivery(webhook, ago(hours=80))]
    )

    of_all, of_one = read_statistics().health(), read_statistics(webhook.pk).health(webhook.pk)

    assert len(of_one.hours) == 48
    assert [dict(each.numbers) for each in of_one.hours if each.total] == [{"processed": 2, "dead": 2}]
    assert [each.start for each in of_one.hours if each.total] == [hour]
    assert (of_one.total, of_one.failed, of_one.share_failed) == (4, 2, 0.5)
    assert (of_all.total, of_all.failed) == (5, 3)
    assert read_statistics().health(webhook.pk).numbers == of_one.numbers


def test_the_first_hour_is_whole_and_an_older_delivery_is_only_the_last_one(webhook: Webhook) -> None:
    first = read_statistics().hours[0]
    old = first - timedelta(seconds=1)
    insert([build_delivery(webhook, old)])
    found = read_statistics(webhook.pk).health(webhook.pk)
    assert (found.total, found.last) == (0, old)

    HourlyCount.objects.all().delete()  # a delivery of an hour that is over: real ones come now
    insert([build_delivery(webhook, first)])
    found = read_statistics(webhook.pk).health(webhook.pk)
    assert (found.total, found.hours[0].total, found.last) == (1, 1, first)


def test_without_deliveries_there_is_no_share_and_no_time(webhook: Webhook) -> None:
    found = read_statistics(webhook.pk).health(webhook.pk)

    assert (found.total, found.share_failed, found.last, found.times) == (0, None, None, None)


def test_processing_times_are_those_until_the_last_first_run_ended(webhook: Webhook) -> None:
    stored = insert([build_delivery(webhook, ago(minutes=200 - number)) for number in range(100)])
    runs = []
    for number, each in enumerate(stored, start=1):
        took = timedelta(milliseconds=number * 10)
        runs.append(build_run(each, "succeeded", receiver="fast", finished_at=each.received_at))
        runs.append(build_run(each, "succeeded", receiver="slow", finished_at=each.received_at + took))
        runs.append(build_run(each, "succeeded", receiver="slow", round=7, finished_at=timezone.now()))
    Run.objects.bulk_create(runs)

    times = read_statistics(webhook.pk).health(webhook.pk).times

    assert times is not None
    assert (times.median, times.p95) == (timedelta(milliseconds=500), timedelta(milliseconds=950))
    assert times.number == 100


def test_processing_times_of_two_webhooks_are_kept_apart(webhook: Webhook) -> None:
    other = Webhook.objects.create(name="other")
    stored = insert([build_delivery(webhook, ago(minutes=2)), build_delivery(other, ago(minutes=1))])
    Run.objects.bulk_create(
        build_run(each, "succeeded", finished_at=each.received_at + timedelta(seconds=took))
        for each, took in zip(stored, (1, 9), strict=True)
    )

    found = read_statistics()

    medians = [found.health(whose).times for whose in (webhook.pk, other.pk, None)]
    assert [times and times.median.total_seconds() for times in medians] == [1, 9, 1]


@pytest.mark.usefixtures("time_stands_still")
def test_the_number_of_statements_is_small_and_fixed(
    webhook: Webhook, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    insert(build_delivery(webhook, ago(hours=94 - 94 * number / 2000)) for number in range(2000))
    read_statistics()
    for name in ("more", "most"):
        with django_assert_max_num_queries(16):
            read_statistics(webhook.pk)
        with django_assert_max_num_queries(16):
            read_statistics()
        Webhook.objects.bulk_create(Webhook(name=f"{name} {number}") for number in range(40))


def test_keys_that_come_in_tens_are_all_counted(webhook: Webhook) -> None:
    insert(build_delivery(webhook, ago(hours=46 - 46 * number / 2000), pk=10 * (number + 1)) for number in range(2000))

    assert read_statistics(webhook.pk).health(webhook.pk).total == 2000


def hours_of(*numbers: dict[str, int]) -> Health:
    start = datetime(2026, 6, 30, 12, tzinfo=UTC)
    hours = [Hour(start=start + timedelta(hours=place), numbers=each) for place, each in enumerate(numbers)]
    return Health(hours=hours, last=None, times=None, counted_from=None)


def rectangles(drawn: Chart) -> dict[tuple[str, int], tuple[int, int]]:
    """Each status in each hour that has one: its top and its height."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for shape in drawn.shapes:
        parts = re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-(\d+)z", shape.outline)
        assert "".join(f"M{x} {y}h{w}v{h}h-{w}z" for x, y, w, h, _ in parts) == shape.outline
        found |= {(shape.status, int(x) // BAR_WIDTH): (int(y), int(h)) for x, y, _, h, _ in parts}
    return found


def test_one_failure_among_ten_thousand_is_seen_and_no_bar_is_higher_than_the_chart() -> None:
    drawn = rectangles(
        chart(hours_of({"processed": 9_999, "dead": 1, "failed": 1, "invalid": 1}, {}, {"processed": 5_000}))
    )

    first = [height for (_, hour), (_, height) in drawn.items() if hour == 0]
    assert drawn["dead", 0][1] >= 3
    assert drawn["dead", 0][0] == 0
    assert sum(first) == HEIGHT
    assert drawn["processed", 2] == (HEIGHT // 2, HEIGHT // 2)
    assert len(drawn) == 5


def test_the_table_has_the_numbers_of_the_bars_newest_hour_first() -> None:
    with timezone.override(UTC):
        drawn = chart(hours_of({"processed": 3}, {}, {"processed": 1, "dead": 2}))

    assert [entry.status for entry in drawn.legend] == ["processed", "dead"]
    assert [(row.hour, list(row.numbers), row.total) for row in drawn.rows] == [
        ("2026-06-30 14:00", ["1", "2"], "3"),
        ("2026-06-30 12:00", ["3", "0"], "3"),
    ]
    assert drawn.columns[1].text == "2026-06-30 14:00: 1 Processed, 2 Failed for good"
    assert drawn.description == "6 deliveries, of which 2 failed; at most 3 in an hour."


@pytest.mark.parametrize(
    ("share", "expected"),
    [(None, "-"), (0, "0 %"), (0.00001, "< 0.1 %"), (0.123, "12.3 %"), (0.9999, "> 99.9 %"), (1, "100 %")],
)
def test_a_share_is_never_rounded_to_none_or_all(share: float | None, expected: str) -> None:
    assert percent(share) == expected


def test_a_long_duration_is_shown_in_words() -> None:
    assert span(timedelta(seconds=3)) == "3.0 s"
    assert span(timedelta(hours=26)).replace("\xa0", " ") == "1 day, 2 hours"


def test_the_page_shows_figures_and_a_chart(boss: Client, webhook: Webhook) -> None:
    insert([build_delivery(webhook, ago(minutes=1)), build_delivery(webhook, ago(minutes=2), "dead")])

    page = change_page(boss, webhook)

    svg = page[page.index(CHART) : page.index("</figure>")]
    assert 'role="img"' in svg
    assert re.search(r'aria-labelledby="(\S+) (\S+)"', svg)
    assert "<title id=" in svg
    assert "2 deliveries, of which 1 failed" in svg
    assert 'class="nateq-fill-dead"' in svg
    assert "50.0 %" in page
    assert "<caption>" in page


@override_settings(USE_THOUSAND_SEPARATOR=True)
def test_a_language_with_a_decimal_comma_does_not_reach_the_drawing(webhook: Webhook) -> None:
    with translation.override("de"):
        drawn = chart(hours_of({"processed": 2000}, {"processed": 1234}))

    assert len(rectangles(drawn)) == 2
    assert all(re.fullmatch(r"\d+", number) for number in (drawn.hour_width, drawn.height, drawn.columns[1].x))
    assert drawn.highest == "2.000"


def test_a_user_without_view_delivery_sees_no_health(staff: Callable[..., Client], webhook: Webhook) -> None:
    insert([build_delivery(webhook, ago(minutes=1))])

    assert CHART not in change_page(staff("view_webhook"), webhook)
    assert CHART in change_page(staff("view_webhook", "view_delivery"), webhook)


def test_the_add_page_has_no_health(boss: Client) -> None:
    assert CHART not in shown(boss, reverse("admin:nateq_webhooks_webhook_add"))


def test_the_url_has_the_attributes_of_the_copy_button(boss: Client, webhook: Webhook) -> None:
    page = change_page(boss, webhook)

    assert (
        f'data-nateq-copy-label="Copy" data-nateq-copied="Copied">https://shop.example/nateq/{webhook.pk}/</code>'
        in page
    )
    assert "nateq_webhooks/copy.js" in page


def test_the_page_links_to_the_rejections_with_view_rejection_only(
    boss: Client, staff: Callable[..., Client], webhook: Webhook
) -> None:
    link = f"/admin/nateq_webhooks/rejection/?webhook__id__exact={webhook.pk}"

    assert f'href="{link}"' in change_page(boss, webhook)
    assert boss.get(link).status_code == 200
    assert link not in change_page(staff("view_webhook", "view_delivery"), webhook)
    assert link in change_page(staff("view_webhook", "view_rejection"), webhook)
