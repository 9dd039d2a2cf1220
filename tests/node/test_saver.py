from __future__ import annotations

from typing import Any

import pytest

from homeport.kube import core
from homeport.kube.patch import strategic_merge_patch
from homeport.kube.schema.struct import components, schema_name
from homeport.node.saver import difference, is_passing


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
