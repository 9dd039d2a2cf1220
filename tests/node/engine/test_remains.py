"""What is left of pods whose end or whose beginning was cut short goes, whoever cut it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runtimes import Pods, until

from homeport.node.engine import bodies, removing
from homeport.node.engine.runtime import EngineRuntime
from homeport.node.runtime import MemoryVolume, SandboxError

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("pods", ["docker", "podman"], indirect=True)]


def groups_of(pods: Pods) -> set[str]:
    """The pods that have a control group, by the groups' names."""
    name = f"homeport-{bodies.node_key(str(pods.directory))}"
    return {path.name for path in Path("/sys/fs/cgroup").glob(f"*/{name}/*") if path.is_dir()}


async def containers_of(pods: Pods) -> set[str]:
    """The pods that have containers, by their uids."""
    runtime: Any = pods.runtime
    found = await runtime.engine.request(
        "GET", "/containers/json", query=bodies.labelled(node=bodies.node_key(str(pods.directory)))
    )
    return {one["Labels"][bodies.UID] for one in found if bodies.UID in one["Labels"]}


async def start_again(pods: Pods) -> None:
    """The platform is killed, and comes back."""
    await pods.runtime.stop(end_pods=False)
    pods.runtime = pods.make(pods.directory)
    await pods.runtime.start()
    await pods.runtime.adopt()


async def test_a_platform_killed_before_it_removed_the_group_removes_it_later(pods: Pods) -> None:
    runtime = pods.runtime
    assert isinstance(runtime, EngineRuntime)
    await pods.create("one")
    await pods.create("two")
    made = groups_of(pods)
    assert made in ({"podone", "podtwo"}, set()), "an ordinary user's engine has none"
    await removing.remove_pod(await runtime._learn(), "one")
    assert groups_of(pods) == made
    await start_again(pods)
    assert groups_of(pods) == made - {"podone"}
    assert await containers_of(pods) == {"two"}


async def test_containers_that_nothing_holds_together_go_with_all_the_pod_has(pods: Pods) -> None:
    volume = MemoryVolume(str(pods.directory / "pods" / "one" / "volume"), 1 << 20)
    sandbox = await pods.create("one", memory=(volume,))
    await sandbox.start(pods.spec(sandbox, "sleep 1000"))
    runtime: Any = pods.runtime
    await pods.runtime.stop(end_pods=False)
    holder, main = (
        bodies.container_name(bodies.node_key(str(pods.directory)), name, "one", "default", "one", 0)
        for name in ("POD", "main")
    )
    if not await removing.remove(runtime.engine, holder):  # Podman removes none that others share something with
        await removing.remove_all(runtime.engine, [holder, main])
    await start_again(pods)
    assert (groups_of(pods), await containers_of(pods)) == (set(), set())
    assert not (await runtime.engine.request("GET", "/volumes"))["Volumes"]


async def test_a_sandbox_that_comes_to_nothing_leaves_nothing(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    await pods.create("one")
    made = groups_of(pods)
    as_it_is = bodies.infrastructure

    def impossible(*arguments: Any, **more: Any) -> bodies.Body:
        body = dict(as_it_is(*arguments, **more))
        return body | {"HostConfig": dict(body["HostConfig"]) | {"IpcMode": "container:nobody"}}

    monkeypatch.setattr(bodies, "infrastructure", impossible)
    with pytest.raises(SandboxError, match="nobody"):
        await pods.create("two")
    await until(lambda: groups_of(pods) == made)
    monkeypatch.undo()
    await pods.create("two")
    assert await containers_of(pods) == {"one", "two"}
