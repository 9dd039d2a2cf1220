"""Go's durations."""

from __future__ import annotations

import pytest

from homeport.kube import durations


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("0", 0),
        ("0s", 0),
        ("32s", 32),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        (".5m", 30),
        ("1.h", 3600),
        ("250ms", 0.25),
        ("3µs", 3e-6),
        ("-1m", -60),
        ("+2s", 2),
    ],
)
def test_durations_are_read(text: str, length: float) -> None:
    assert durations.seconds(text) == pytest.approx(length)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("invalid", 'time: invalid duration "invalid"'),
        ("5", 'time: missing unit in duration "5"'),
        ("5d", 'time: unknown unit "d" in duration "5d"'),
        ("1s 2s", 'time: unknown unit "s " in duration "1s 2s"'),
        ("9999999999h", 'time: invalid duration "9999999999h"'),
        ("1" * 1000 + "s", "time: invalid duration"),
        ("٣s", 'time: invalid duration "٣s"'),
    ],
)
def test_others_are_refused_in_the_words_of_go(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^time: ") as error:
        durations.seconds(text)
    assert str(error.value).startswith(words)
