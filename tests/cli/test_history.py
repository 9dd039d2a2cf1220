"""What `homeport history` tells of a job."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from homeport.cli.history import ending, lines
from homeport.cli.jobs import Job
from homeport.cli.replicas import replica
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


@pytest.mark.parametrize(
    ("finished", "asked", "grace", "told"),
    [
        ("00:00:10", "", 0, "Failed, exit code 1: no such data"),
        ("00:00:10", "00:00:39", 30, "Stopped, exit code 1: no such data"),
        ("00:00:10", "00:00:40", 30, "Failed, exit code 1: no such data"),
        ("00:00:10", "00:00:20", 0, "Failed, exit code 1: no such data"),
    ],
    ids=["never deleted", "deleted before", "in the same second", "deleted after"],
)
def test_a_pod_that_was_deleted_did_not_fail(finished: str, asked: str, grace: int, told: str) -> None:
    """Nodes of an elastic job that is made smaller, and replicas that are cleaned up, may end with an error."""
    end = {"exitCode": 1, "reason": "Error", "finishedAt": f"2026-01-01T{finished}Z", "message": "no such data"}
    metadata: dict[str, Any] = {"name": "digits-node-0-1", "uid": "u"}
    if asked:
        metadata |= {"deletionTimestamp": f"2026-01-01T{asked}Z", "deletionGracePeriodSeconds": grace}
    status = {"phase": "Failed", "containerStatuses": [{"name": "node", "state": {"terminated": end}}]}
    pod = {"metadata": metadata, "spec": {"containers": [{"name": "node"}]}, "status": status}
    assert ending(replica(pod, kept=True)) == told
