from __future__ import annotations

import pytest

from homeport.kube import cron


def test_fields():
    found = cron.parse("*/15 0,12 1-3 jan-mar MON")
    assert found.minutes == {0, 15, 30, 45}
    assert found.hours == {0, 12}
    assert found.days == {1, 2, 3}
    assert found.months == {1, 2, 3}
    assert found.weekdays == {1}
    assert not found.any_day
    assert cron.parse("@hourly") == cron.parse("0 * * * *")
    assert cron.parse("5/20 * ? * *").minutes == {5, 25, 45}
    assert cron.parse("@every 1h30m").every == 5400.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("* * *", r"expected exactly 5 fields, found 3: \[\* \* \*\]"),
        ("60 * * * *", r"end of range \(60\) above maximum \(59\): 60"),
        ("* * 0 * *", r"beginning of range \(0\) below minimum \(1\): 0"),
        ("5-3 * * * *", r"beginning of range \(5\) beyond end of range \(3\): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number"),
        ("x * * * *", "failed to parse int from x"),
        ("@never", "unrecognized descriptor: @never"),
        ("@every x", "failed to parse duration @every x"),
        (", * * * *", "failed to parse int from ,"),
        ("1/2/3 * * * *", "too many slashes"),
    ],
)
def test_what_is_wrong(text, words):
    with pytest.raises(ValueError, match=words):
        cron.parse(text)
