"""What `homeport history` tells of a job."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from homeport.cli.history import lines
from homeport.cli.jobs import Job
from homeport.cli.terminal import Terminal
from homeport.kube.kind import Resource

NOW = datetime(2026, 1, 2, tzinfo=UTC)
READ = [{"name": "epoch", "value": "2", "time": "2026-01-01T00:00:01Z"}]
READ += [{"name": "loss", "value": "0.5", "time": "2026-01-01T00:00:02Z"}]
REPORTED = {
    "metrics": [{"name": "loss", "value": "0.5"}],
    "lastUpdatedTime": "2026-01-01T00:00:03Z",
    "progressPercentage": 40,
}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({}, []),
        ({"trainingMetrics": READ}, ["  2026-01-01 00:00:02  epoch=2 loss=0.5"]),
        ({"trainerStatus": REPORTED}, ["  2026-01-01 00:00:03  loss=0.5 (40 % done)"]),
        ({"trainerStatus": {"progressPercentage": 40}}, []),
    ],
)
def test_the_last_figures_are_told(status: dict[str, Any], told: list[str]) -> None:
    metadata = {"name": "digits", "creationTimestamp": "2026-01-01T00:00:00Z"}
    job = Job(Resource("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob"), {"metadata": metadata, "status": status})
    first = "PyTorchJob digits, created 2026-01-01 00:00:00"
    assert list(lines(job, [], NOW, Terminal())) == [first, *told]
