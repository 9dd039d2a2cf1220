"""The benchmarks still measure something. Small counts: the figures themselves mean nothing here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from machinery import REPOSITORY


@pytest.mark.parametrize(
    "command",
    [
        ("startup.py", "--idle", "1"),
        ("pod_start.py", "--pods", "2"),
        ("gang_start.py", "--jobs", "2"),
        ("many_jobs.py", "--jobs", "5"),
        ("training_controller.py", "--jobs", "3", "--replicas", "10"),
        ("workloads.py", "--pods", "3", "--rolling", "2", "--jobs", "3"),
        ("batch_scheduling.py", "--nodes", "4", "--pods", "40", "--only", "2x20"),
        ("node_start.py", "--pods", "2", "--many", "8", "--crowd", "4"),
    ],
    ids=lambda command: command[0],
)
def test_a_benchmark_prints_figures_and_ratios(command: tuple[str, ...]) -> None:
    script, *arguments = command
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "benchmarks" / script), "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["figures"]
    assert figures
    for figure in figures:
        assert figure["name"]
        assert figure["against"]
        assert figure["ratio"] == pytest.approx(figure["value"] / figure["peer"])
