from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from homeport.kube import core
from homeport.kube.table import Printer

NOW = datetime(2026, 11, 3, 12, 0, 0, tzinfo=UTC)
PRINTER = Printer(core.POD.columns)


def status(name: str = "a", restarts: int = 0, ready: bool = False, last: str | None = None, **state: Any) -> Any:
    result = {"name": name, "restartCount": restarts, "ready": ready, "state": state}
    if last:
        result["lastState"] = {"terminated": {"exitCode": 1, "finishedAt": last}}
    return result


def pod(containers: int = 1, init: Any = (), deleted: bool = False, **fields: Any) -> Any:
    metadata = {"name": "p", "creationTimestamp": "2026-11-03T11:55:00Z"}
    if deleted:
        metadata["deletionTimestamp"] = "2026-11-03T11:59:00Z"
    spec = {"containers": [{"name": chr(97 + i)} for i in range(containers)]}
    if init:
        spec["initContainers"] = list(init)
    return {"metadata": metadata, "spec": spec, "status": fields}


RUNNING = {"running": {"startedAt": "2026-11-03T11:56:00Z"}}
READY = [{"type": "Ready", "status": "True"}]
SIDECAR = {"name": "s", "restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (pod(phase="Pending"), ["0/1", "Pending", "0"]),
        (pod(phase="Running", containerStatuses=[status(ready=True, **RUNNING)]), ["1/1", "Running", "0"]),
        (
            pod(phase="Pending", containerStatuses=[status(waiting={"reason": "ErrImagePull"})]),
            ["0/1", "ErrImagePull", "0"],
        ),
        (
            pod(phase="Running", containerStatuses=[status(restarts=3, waiting={"reason": "CrashLoopBackOff"})]),
            ["0/1", "CrashLoopBackOff", "3"],
        ),
        (
            pod(
                phase="Running",
                containerStatuses=[status(restarts=2, ready=True, last="2026-11-03T11:57:00Z", **RUNNING)],
            ),
            ["1/1", "Running", "2 (3m ago)"],
        ),
        (
            pod(phase="Succeeded", containerStatuses=[status(terminated={"exitCode": 0, "reason": "Completed"})]),
            ["0/1", "Completed", "0"],
        ),
        (
            pod(phase="Failed", containerStatuses=[status(terminated={"exitCode": 1, "reason": "Error"})]),
            ["0/1", "Error", "0"],
        ),
        (pod(phase="Failed", containerStatuses=[status(terminated={"exitCode": 3})]), ["0/1", "ExitCode:3", "0"]),
        (
            pod(phase="Failed", containerStatuses=[status(terminated={"exitCode": 137, "signal": 9})]),
            ["0/1", "Signal:9", "0"],
        ),
        (pod(phase="Failed", reason="Evicted"), ["0/1", "Evicted", "0"]),
        (
            pod(
                2,
                phase="Running",
                conditions=READY,
                containerStatuses=[
                    status("a", terminated={"exitCode": 0, "reason": "Completed"}),
                    status("b", ready=True, **RUNNING),
                ],
            ),
            ["1/2", "Running", "0"],
        ),
        (
            pod(
                2,
                phase="Running",
                containerStatuses=[
                    status("a", terminated={"exitCode": 0, "reason": "Completed"}),
                    status("b", ready=True, **RUNNING),
                ],
            ),
            ["1/2", "NotReady", "0"],
        ),
        (
            pod(init=[{"name": "i"}, {"name": "j"}], phase="Pending", initContainerStatuses=[status("i", **RUNNING)]),
            ["0/1", "Init:0/2", "0"],
        ),
        (
            pod(
                init=[{"name": "i"}, {"name": "j"}],
                phase="Pending",
                initContainerStatuses=[status("i", terminated={"exitCode": 0}), status("j", waiting={})],
            ),
            ["0/1", "Init:1/2", "0"],
        ),
        (
            pod(
                init=[{"name": "i"}],
                phase="Pending",
                initContainerStatuses=[status("i", restarts=1, waiting={"reason": "CrashLoopBackOff"})],
            ),
            ["0/1", "Init:CrashLoopBackOff", "1"],
        ),
        (
            pod(
                init=[{"name": "i"}],
                phase="Failed",
                initContainerStatuses=[status("i", terminated={"exitCode": 2, "reason": "Error"})],
            ),
            ["0/1", "Init:Error", "0"],
        ),
        (
            pod(init=[{"name": "i"}], phase="Failed", initContainerStatuses=[status("i", terminated={"exitCode": 2})]),
            ["0/1", "Init:ExitCode:2", "0"],
        ),
        (
            pod(
                init=[SIDECAR],
                phase="Running",
                initContainerStatuses=[{**status("s", ready=True, **RUNNING), "started": True}],
                containerStatuses=[status(ready=True, **RUNNING)],
            ),
            ["2/2", "Running", "0"],
        ),
        (
            pod(deleted=True, phase="Running", containerStatuses=[status(ready=True, **RUNNING)]),
            ["1/1", "Terminating", "0"],
        ),
        (pod(deleted=True, phase="Running", reason="NodeLost"), ["0/1", "Unknown", "0"]),
        (
            pod(
                deleted=True,
                phase="Succeeded",
                containerStatuses=[status(terminated={"exitCode": 0, "reason": "Completed"})],
            ),
            ["0/1", "Completed", "0"],
        ),
        (
            pod(phase="Pending", conditions=[{"type": "PodScheduled", "reason": "SchedulingGated"}]),
            ["0/1", "SchedulingGated", "0"],
        ),
    ],
)
def test_ready_status_restarts(obj, expected):
    assert PRINTER.cells(obj, NOW)[1:4] == expected


def test_headings_and_wide_columns():
    assert [column.name for column in PRINTER.columns] == [
        "Name",
        "Ready",
        "Status",
        "Restarts",
        "Age",
        "IP",
        "Node",
        "Nominated Node",
        "Readiness Gates",
    ]
    assert [column.priority for column in PRINTER.columns] == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert PRINTER.cells(pod(phase="Pending"), NOW)[4:] == ["5m", "<none>", "<none>", "<none>", "<none>"]
    obj = pod(phase="Running", podIP="10.0.0.2", conditions=[{"type": "up", "status": "True"}])
    obj["spec"] |= {"nodeName": "n", "readinessGates": [{"conditionType": "up"}, {"conditionType": "down"}]}
    assert PRINTER.cells(obj, NOW)[5:] == ["10.0.0.2", "n", "<none>", "1/2"]
