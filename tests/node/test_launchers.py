"""What launchers say of a worker's failure does not hide what the worker said."""

from pathlib import Path

import pytest

from homeport.node import logs
from homeport.node.launchers import without_summary

WORKER = ["epoch 1", "Traceback (most recent call last):", "ValueError: the rate has to be positive"]
STOPS = "W1123 10:00:00 7 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process 8 closing signal"
SUMMARY = [
    "Traceback (most recent call last):",
    *(f"    frame {n} {'of the launcher ' * 10}" for n in range(12)),
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
    "=" * 60,
    "train.py FAILED",
    "Root Cause (first observed failure):",
    "  exitcode  : 1 (pid: 8)",
    "=" * 60,
]
FAILED = [
    "E1123 10:00:00 7 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1) local_rank: 1",
    "[2024-02-01 10:00:00,8] torch.distributed.elastic.multiprocessing.api: [ERROR] failed (exitcode: 1) local_rank: 1",
    "ERROR:torch.distributed.elastic.multiprocessing.api:failed (exitcode: 1) local_rank: 1 (pid: 8) of binary: python",
]
"""As releases of torchrun have written it."""


def shown(lines: list[str]) -> list[str]:
    return [line.decode() for line in without_summary([line.encode() for line in lines])]


@pytest.mark.parametrize("failed", FAILED)
def test_the_end_is_the_workers(failed: str) -> None:
    assert shown([*WORKER, "", STOPS, failed, *SUMMARY]) == WORKER


def test_only_a_summary_at_the_end_is_left_out() -> None:
    started_again = [*WORKER, FAILED[0], "started again", *WORKER]
    assert shown(started_again) == started_again
    went_on = [*WORKER, FAILED[0], *SUMMARY, "what comes next failed, too"]
    assert shown(went_on) == went_on


def test_a_worker_that_said_nothing() -> None:
    assert shown([STOPS, FAILED[0], *SUMMARY]) == [STOPS, FAILED[0], *SUMMARY]
    assert shown([]) == []


def test_a_termination_message_holds_the_workers_error(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    lines = [*WORKER, STOPS, FAILED[0], *SUMMARY]
    path.write_text("".join(f"2026-01-01T00:00:00.000000000Z stderr F {line}\n" for line in lines))
    assert logs.last_words(path).splitlines() == WORKER
