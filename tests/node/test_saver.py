from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from homeport.kube import core
from homeport.kube.patch import strategic_merge_patch
from homeport.kube.schema.struct import components, schema_name
from homeport.node import saver as saver_module
from homeport.node.saver import StatusSaver, difference, is_passing


def condition(type: str, status: str = "True", **more: str) -> dict[str, str]:
    return {"type": type, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z", **more}


def test_only_what_changed_is_written() -> None:
    old = {"phase": "Running", "podIP": "1", "conditions": [condition("Ready"), condition("Others")]}
    new = {"phase": "Failed", "podIP": "1", "conditions": [condition("Ready", "False"), condition("Initialized")]}
    assert difference(old, new) == {
        "phase": "Failed",
        "conditions": [condition("Ready", "False"), condition("Initialized")],
    }


def test_what_others_wrote_is_no_difference() -> None:
    new = {"phase": "Running", "conditions": [condition("Ready")]}
    old = {**new, "nominatedNodeName": "x", "conditions": [condition("Ready", reason=""), condition("Others")]}
    assert difference(old, new) == {}


def test_a_reason_that_is_over_goes() -> None:
    assert difference({"reason": "Evicted", "message": "m"}, {"phase": "Pending"}) == {
        "phase": "Pending",
        "reason": None,
        "message": None,
    }


def test_what_is_over_is_gone_after_the_patch() -> None:
    not_ready = condition("Ready", "False", reason="ContainersNotReady", message="containers with unready status: [c]")
    old = {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}], "conditions": [not_ready, condition("Others")]}
    new = {"podIP": "10.0.0.3", "podIPs": [{"ip": "10.0.0.3"}], "conditions": [condition("Ready")]}
    parts = components([core.POD])
    schema = {"$ref": f"#/components/schemas/{schema_name(core.POD.struct)}"}
    written = strategic_merge_patch({"status": old}, {"status": difference(old, new)}, schema, parts)["status"]
    assert written == {**new, "conditions": [condition("Ready"), condition("Others")]}


def status(phase: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"phase": phase, "containerStatuses": [{"name": "c", "state": state}]}


@pytest.mark.parametrize(
    ("value", "passing"),
    [
        (status("Pending", {"waiting": {"reason": "ContainerCreating"}}), True),
        (status("Pending", {"waiting": {"reason": "ContainerCreating", "message": "resolving"}}), False),
        (status("Pending", {"waiting": {"reason": "ErrImagePull"}}), False),
        (status("Pending", {"running": {}}), False),
        (status("Running", {"waiting": {"reason": "ContainerCreating"}}), False),
    ],
)
def test_what_is_about_to_pass(value: dict[str, Any], passing: bool) -> None:
    assert is_passing(value) is passing


def test_a_condition_of_a_time_goes_and_those_of_others_stay() -> None:
    old = {"conditions": [condition("PodResizeInProgress"), condition("Others")]}
    patch = difference(old, {"conditions": [condition("Ready")]})
    assert patch == {"conditions": [condition("Ready"), {"$patch": "delete", "type": "PodResizeInProgress"}]}


class _Server:
    """Keeps statuses as an API server does, in ever newer revisions; `drops` names a field that it does not keep."""

    def __init__(self, drops: str = "") -> None:
        self.pod: dict[str, Any] = {"metadata": {"name": "p", "namespace": "d", "uid": "u", "resourceVersion": "1"}}
        self.writes = 0
        self._drops = drops

    async def patch(self, _resource: Any, _name: str, _namespace: str, body: Any, **_how: Any) -> Any:
        self.writes += 1
        kept = {key: value for key, value in body["status"].items() if key != self._drops}
        return self.write(**kept)

    def write(self, **status: Any) -> Any:
        revision = str(int(self.pod["metadata"]["resourceVersion"]) + 1)
        metadata = {**self.pod["metadata"], "resourceVersion": revision}
        self.pod = {"metadata": metadata, "status": {**self.pod.get("status", {}), **status}}
        return self.pod


@pytest.mark.parametrize("drops", ["", "hostIP"])
async def test_what_others_overwrite_is_put_right_and_nothing_is_written_twice(drops: str) -> None:
    server = _Server(drops)
    host: Any = SimpleNamespace(client=server, status_slots=asyncio.Semaphore(1))
    done = asyncio.Event()
    saver = StatusSaver(host, server.pod, done.set)

    async def save() -> None:
        done.clear()
        saver.save(wanted)
        if not saver.is_saved(wanted):
            await asyncio.wait_for(done.wait(), 5)

    wanted = {"phase": "Running", "hostIP": "1", "conditions": [condition("Ready")]}
    await save()
    first = server.pod
    saver.see(first)
    await save()
    assert server.writes == 1
    saver.see(server.write(conditions=[condition("Ready", "False")]))
    await save()
    assert server.writes == 2
    assert server.pod["status"]["conditions"] == [condition("Ready")]
    saver.see(first)  # the watch is late
    await save()
    assert server.writes == 2


async def test_that_a_pod_waits_for_its_turn_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saver_module, "_PASSING_DELAY", 0.01)
    server = _Server()
    host: Any = SimpleNamespace(client=server, status_slots=asyncio.Semaphore(1))
    done = asyncio.Event()
    saver = StatusSaver(host, server.pod, done.set)
    saver.wait()
    saver.save(status("Pending", {"waiting": {"reason": "ContainerCreating"}}))
    await asyncio.sleep(0.05)
    assert server.writes == 0
    saver.go_on()
    await asyncio.wait_for(done.wait(), 5)
    assert server.writes == 1
