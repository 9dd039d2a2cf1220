from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from homeport.node.memory import Memory, Verdict
from homeport.node.room import Room


def pod(name: str) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"cpu": "3"}}}
    return {"metadata": {"name": name, "uid": name}, "spec": {"containers": [container]}}


@pytest.mark.parametrize("is_gone", [False, True])
def test_what_was_deleted_by_force_has_no_claim_to_what_it_still_uses(*, is_gone: bool) -> None:
    """Neither against a pod that comes nor against one here that wants more."""
    other: Any = SimpleNamespace(uid="other", allocated=pod("other"), memory=Memory(), is_taken=True, is_gone=is_gone)
    policy = SimpleNamespace(allow_privileged=True, run_as_root=True)
    host: Any = SimpleNamespace(policy=policy, allocatable={"cpu": "4", "pods": "10"}, node_name="n", gpus=())
    room = Room(host, {"other": other}, node=dict, pressures=tuple, orphaned=tuple)
    answer = room.admit(pod("new"))
    assert isinstance(answer, Verdict) is not is_gone
    assert bool(room.lacking(pod("new"))) is not is_gone
