"""When a schedule's moments are: as robfig/cron has them, also where clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.kube import cron

NEW_YORK = "America/New_York"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("*/15 * * * *", "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z"),
        ("*/15 * * * *", "2012-07-09T14:59:59Z", "2012-07-09T15:00:00Z"),
        ("20-35/15 * * * *", "2012-07-09T15:45:00Z", "2012-07-09T16:20:00Z"),
        ("*/15 * * * *", "2012-12-31T23:59:45Z", "2013-01-01T00:00:00Z"),
        ("0 0 1 * *", "2012-07-09T23:35:00Z", "2012-08-01T00:00:00Z"),
        ("0 0 * Feb Mon", "2012-07-09T23:35:00Z", "2013-02-04T00:00:00Z"),
        ("0 0 9 Apr ?", "2012-07-09T23:35:00Z", "2013-04-09T00:00:00Z"),
        ("0 0 * Feb Mon/2", "2012-07-09T23:35:00Z", "2013-02-01T00:00:00Z"),
        ("0 0 29 Feb ?", "2012-07-09T23:35:00Z", "2016-02-29T00:00:00Z"),
        ("0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),  # Fridays and every 13th
        ("0 0 */2 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),  # with a step, both count
        ("@hourly", "2026-01-01T00:00:00.5Z", "2026-01-01T01:00:00Z"),
        ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("@every 90s", "2026-01-01T00:00:10.7Z", "2026-01-01T00:01:40Z"),
    ],
)
def test_in_utc(schedule: str, after: str, expected: str) -> None:
    assert cron.parse(schedule).after(at(after)) == at(expected)


@pytest.mark.parametrize("schedule", ["0 0 30 Feb ?", "0 0 31 Apr ?"])
def test_there_is_no_such_day(schedule: str) -> None:
    assert cron.parse(schedule).after(at("2012-07-09T23:35:00Z")) is None


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "expected"),
    [
        # 2:00 is left out on the 11th of March.
        ("30 2 11 Mar ?", NEW_YORK, "2012-03-11T00:00:00-05:00", "2013-03-11T02:30:00-04:00"),
        ("0 * * * *", NEW_YORK, "2012-03-11T00:00:00-05:00", "2012-03-11T01:00:00-05:00"),
        ("0 * * * *", NEW_YORK, "2012-03-11T01:00:00-05:00", "2012-03-11T03:00:00-04:00"),
        ("0 2 * * *", NEW_YORK, "2012-03-11T00:00:00-05:00", "2012-03-12T02:00:00-04:00"),
        # 1:00 to 2:00 comes twice on the 4th of November.
        ("30 2 4 Nov ?", NEW_YORK, "2012-11-04T00:00:00-04:00", "2012-11-04T02:30:00-05:00"),
        ("45 1 4 Nov ?", NEW_YORK, "2012-11-04T01:45:00-04:00", "2012-11-04T01:45:00-05:00"),
        ("0 * * * *", NEW_YORK, "2012-11-04T01:00:00-04:00", "2012-11-04T01:00:00-05:00"),
        ("0 0 * * *", NEW_YORK, "2012-11-04T00:00:00-04:00", "2012-11-05T00:00:00-05:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-06-01T00:00:00Z", "2026-06-01T01:00:00Z"),
        # In Sao Paulo the day began at 1:00 where clocks were put forward at midnight.
        ("0 1 21 Oct ?", "America/Sao_Paulo", "2012-10-20T00:00:00-03:00", "2012-10-21T01:00:00-02:00"),
        ("0 0 21 Oct ?", "America/Sao_Paulo", "2012-10-20T00:00:00-03:00", "2013-10-21T00:00:00-02:00"),
        # Half hours, in the clock and in its change.
        ("0 0 * * *", "Asia/Kathmandu", "2026-01-01T00:00:00Z", "2026-01-01T18:15:00Z"),
        ("30 2 * * *", "Australia/Lord_Howe", "2025-10-04T12:00:00Z", "2025-10-04T15:30:00Z"),
    ],
)
def test_in_a_zone(schedule: str, zone: str, after: str, expected: str) -> None:
    found = cron.parse(schedule).after(at(after), cron.zone(zone))
    assert found == at(expected)


def test_zones_that_nobody_knows() -> None:
    for name in ("Middle/Earth", "../etc/passwd", "/etc/localtime", ""):
        with pytest.raises(ValueError, match="unknown time zone"):
            cron.zone(name)


@given(
    st.sampled_from(["*/7 * * * *", "30 1,2 * * *", "0 0 1 */3 *", "15 3 * * 1-5", "59 23 29 2 *"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
    st.sampled_from(["UTC", NEW_YORK, "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo"]),
)
def test_moments_are_those_that_the_fields_name(text: str, start: datetime, name: str) -> None:
    """Against a search minute by minute, as far as that goes."""
    schedule, zone, moment = cron.parse(text), cron.zone(name), start.replace(tzinfo=UTC)
    found = schedule.after(moment, zone)
    assert found is not None
    assert found > moment
    assert found.second == 0
    assert names(text, found, zone)
    minute = moment.replace(second=0, microsecond=0)
    for _ in range(600):
        minute += timedelta(minutes=1)
        if minute >= found:
            break
        assert not names(text, minute, zone)


def names(text: str, moment: datetime, zone: tzinfo) -> bool:
    schedule, local = cron.parse(text), moment.astimezone(zone)
    days = local.day in schedule.days, local.isoweekday() % 7 in schedule.weekdays
    day = all(days) if schedule.any_day or schedule.any_weekday else any(days)
    return day and local.minute in schedule.minutes and local.hour in schedule.hours and local.month in schedule.months
