"""How often a job's reports are stored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from homeport.components.trainer.turns import Turns


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 3), max_size=60))
def test_a_job_is_stored_no_oftener_than_it_may_be_and_its_last_report_always(pauses: list[float]) -> None:
    clock, stored = Clock(), []
    turns: Turns[str, int] = Turns(clock)
    due: float | None = None

    def pass_time(until: float) -> None:
        nonlocal due
        if due is not None and due <= until:
            clock.now = due
            report = turns.due("job")
            assert report is not None
            stored.append((clock.now, report))
            due = None
        clock.now = until

    for number, pause in enumerate(pauses):
        pass_time(clock.now + pause)
        seconds = turns.take("job", number)
        if seconds == 0:
            stored.append((clock.now, number))
        elif seconds is not None:
            assert due is None
            due = clock.now + seconds
    pass_time(clock.now + 100)
    assert [report for _, report in stored] == sorted({report for _, report in stored})
    assert not pauses or stored[-1][1] == len(pauses) - 1
    times = [at for at, _ in stored]
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= 5 + times[last] - times[first] + 1e-6


def test_jobs_do_not_wait_for_one_another_and_quiet_ones_are_forgotten() -> None:
    clock = Clock()
    turns: Turns[str, int] = Turns(clock)
    assert [turns.take("a", number) for number in range(7)] == [0, 0, 0, 0, 0, 1, None]
    assert turns.take("b", 0) == 0
    clock.now = 1.0
    assert turns.due("a") == 6
    assert turns.due("a") is None
    clock.now = 60.0
    assert turns.take("c", 0) == 0
    assert len(turns) == 1
