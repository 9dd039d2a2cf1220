"""What a container may use, and what it looks like when it wants more. On the machine's own cgroups."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from homeport.node.runtime import ImageRoot, Limits, SandboxError, Wanted
from homeport.node.sandbox import groupfiles

Pods = Any
PYTHON = "/usr/bin/python3"
EATS = "import time; block = bytearray({size} << 20); print('ate', flush=True); time.sleep({seconds})"
MIB = 1 << 20


def controllers(pods: Pods) -> set[str]:
    record = json.loads((pods.directory / "node" / "cgroups.json").read_text())
    return {name for _, _, names in record for name in names}


def need(pods: Pods, name: str) -> None:
    if name not in controllers(pods):
        pytest.skip(f"no cgroups with the controller {name} can be made here")


def read(pods: Pods, container: str, name: str) -> str:
    """A file of the container's cgroup, in whichever hierarchy has it."""
    (found,) = {path for group in pods.groups if group.endswith(f"/{container}") for path in Path(group).glob(name)}
    return found.read_text().strip()


async def test_a_container_that_wants_more_memory_is_ended_and_its_neighbour_is_not(pods: Pods) -> None:
    need(pods, "memory")
    sandbox = await pods.create("a", limits=Limits(memory=300 * MIB))
    await sandbox.start(pods.container("a", PYTHON, "-c", EATS.format(size=30, seconds=1000), name="modest"))
    state = await sandbox.start(
        pods.container("a", PYTHON, "-c", EATS.format(size=200, seconds=9), limits=Limits(memory=100 * MIB))
    )
    state = await pods.exit_of(sandbox)
    assert (state.name, state.exit_code, state.signal, state.reason) == ("main", 137, 9, "OOMKilled")
    assert sandbox.containers()["modest"].phase == "running"
    # The next attempt begins with a group of its own.
    await sandbox.start(pods.container("a", "sh", "-c", "exit 3", attempt=1, limits=Limits(memory=100 * MIB)))
    assert (await pods.exit_of(sandbox)).reason == "Error"
    # Both together may not have more than the pod.
    await sandbox.start(pods.container("a", PYTHON, "-c", EATS.format(size=290, seconds=9), attempt=2))
    states = {state.name: state.reason for state in (await pods.exit_of(sandbox),)}
    assert set(states.values()) == {"OOMKilled"}


async def test_one_that_does_without_a_process_is_not_called_out_of_memory(pods: Pods) -> None:
    need(pods, "memory")
    script = f"{PYTHON} -c '{EATS.format(size=200, seconds=9)[:40]}' >/dev/null; exit 0".replace("'", '"')
    state = await pods.run("a", "sh", "-c", script, limits=Limits(memory=100 * MIB))
    assert (state.exit_code, state.reason) in ((0, "Completed"), (137, "OOMKilled"))  # version 2 ends all of it


async def test_processor_and_processes(pods: Pods) -> None:
    need(pods, "cpu")
    need(pods, "pids")
    limits = Limits(cpu_shares=512, cpu_quota=20_000, pids=20)
    sandbox = await pods.create("a", limits=Limits(cpu_shares=512, cpu_quota=20_000))
    script = (
        "import time\nbegin, end = time.process_time(), time.time() + 1\n"
        "while time.time() < end: pass\nprint(time.process_time() - begin)"
    )
    state = await pods.run("a", PYTHON, "-c", script, sandbox=sandbox, limits=limits)
    assert state.exit_code == 0
    assert float(pods.output("a")) < 0.35  # a fifth of a second in a second, and what was left of the first tenth
    forks = "import os, time\nwhile True:\n    if not os.fork(): time.sleep(99)"
    state = await pods.run("a", PYTHON, "-c", forks, sandbox=sandbox, name="bomb", limits=limits)
    assert "BlockingIOError" in pods.output("a", name="bomb", stream="stderr")


async def test_commands_are_in_the_containers_group_too(pods: Pods) -> None:
    need(pods, "pids")
    sandbox = await pods.create("a")
    await sandbox.start(pods.container("a", "sleep", "1000", limits=Limits(pids=30)))
    session = await sandbox.execute("main", ["sleep", "1000"], Wanted())
    await pods.until(lambda: read(pods, "main-0", "pids.current") == "2")
    assert read(pods, "main-0", "pids.max") == "30"
    session.close()


async def test_limits_change_while_the_container_runs(pods: Pods) -> None:
    need(pods, "memory")
    need(pods, "cpu")
    before = Limits(memory=100 * MIB, cpu_shares=100, cpu_quota=10_000)
    sandbox = await pods.create("a", limits=before)
    await sandbox.start(pods.container("a", PYTHON, "-c", EATS.format(size=50, seconds=1000), limits=before))
    await pods.until(lambda: "ate" in pods.output("a"))
    more = Limits(memory=200 * MIB, cpu_shares=200, cpu_quota=20_000)
    await sandbox.limit(more, {"main": more})
    assert read(pods, "main-0", "memory.max" if is_unified(pods) else "memory.limit_in_bytes") == str(200 * MIB)
    less = Limits(memory=80 * MIB, cpu_shares=50, cpu_quota=5_000)
    await sandbox.limit(less, {"main": less})
    assert read(pods, "main-0", "cpu.max" if is_unified(pods) else "cpu.cfs_quota_us").split()[0] == "5000"
    with pytest.raises(SandboxError, match="can't be changed: Device or resource busy"):
        await sandbox.limit(less, {"main": Limits(memory=10 * MIB)})
    assert sandbox.containers()["main"].phase == "running"


def is_unified(pods: Pods) -> bool:
    return any(os.path.exists(f"{group}/cgroup.type") for group in pods.groups if group.endswith("main-0"))


async def test_nothing_is_left_of_what_is_killed(pods: Pods) -> None:
    if not pods.groups:
        pytest.skip("no cgroups can be made here")
    # One whose supervisor is killed, one whose supervisor is killed while no fork server runs, one that goes on.
    names = ("first", "second", "third")
    sandboxes = {name: await pods.create(name) for name in names}
    for name, sandbox in sandboxes.items():
        await sandbox.start(pods.container(name, "sleep", "1000"))

    def left(name: str) -> list[str]:
        return [group for group in pods.groups if f"/pod{name}." in group]

    def supervisor(name: str) -> int:
        return int(json.loads((pods.path(name) / "state.json").read_text())["pid"])

    assert all(left(name) for name in names)
    os.kill(supervisor("first"), signal.SIGKILL)
    await pods.until(lambda: not left("first"))
    zygote = pods.zygote
    os.kill(zygote, signal.SIGKILL)
    os.kill(supervisor("second"), signal.SIGKILL)
    await pods.until(lambda: zygote not in pods.processes)
    assert left("second")
    await pods.create("fourth")
    await pods.until(lambda: not left("second"))
    assert left("third")
    assert sandboxes["third"].containers()["main"].phase == "running"


def own_score() -> int:
    return int(Path("/proc/self/oom_score_adj").read_text())


def may_spare() -> bool:
    """Whether this process has CAP_SYS_RESOURCE."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:")]
    return bool(int(line.split()[1], 16) >> 24 & 1)


async def test_who_is_ended_first(pods: Pods) -> None:
    script = "cat /proc/self/oom_score_adj"
    own = own_score()
    for score in (1000, 3, -997):
        state = await pods.run(f"a{score}", "sh", "-c", script, oom_score=score)
        assert state.exit_code == 0
        assert pods.output(f"a{score}") == str(score if may_spare() else max(score, own))


async def test_a_command_that_cannot_be_started_leaves_no_group(pods: Pods) -> None:
    sandbox = await pods.create("a")
    state = await sandbox.start(pods.container("a", "/no/such", image=ImageRoot()))
    assert state.reason == "StartError"
    assert not [group for group in pods.groups if group.endswith("/main-0")]


def test_limits_as_files() -> None:
    every = frozenset({"cpu", "memory", "pids"})
    limits = Limits(memory=64 * MIB, cpu_shares=1024, cpu_quota=50_000, pids=100)
    assert dict(groupfiles.settings(2, every, limits)) == {  # type: ignore[arg-type]
        "cpu.weight": "100",
        "cpu.max": "50000 100000",
        "memory.max": "67108864",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "100",
    }
    assert "memory.oom.group" not in dict(groupfiles.settings(2, every, limits, divided=True))  # type: ignore[arg-type]
    assert dict(groupfiles.settings(1, every, Limits())) == {  # type: ignore[arg-type]
        "cpu.shares": "2",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "-1",
        "memory.memsw.limit_in_bytes": "-1",
        "memory.limit_in_bytes": "-1",
        "pids.max": "max",
    }


@pytest.mark.parametrize(("shares", "weight"), [(0, 1), (2, 1), (102, 17), (1024, 100), (2048, 174), (262144, 10000)])
def test_weight(shares: int, weight: int) -> None:
    assert groupfiles.weight(shares) == weight


def spare_device() -> str | None:
    return next((path for path in ("/dev/fuse", "/dev/net/tun", "/dev/kmsg") if os.path.exists(path)), None)


async def test_a_container_has_the_devices_that_it_is_given_and_no_others(pods: Pods) -> None:
    given = spare_device()
    if given is None:
        pytest.skip("this machine has no device file to spare")
    script = f"ls /dev; test -c {given} && echo given"
    await pods.run("a", "sh", "-c", script, devices=(given,))
    await pods.run("b", "sh", "-c", script)
    assert "given" in pods.output("a").split()
    assert "given" not in pods.output("b").split()
    assert not {"kmsg", "mem", "loop0"} - {Path(given).name} & set(pods.output("a").split())


async def test_nothing_is_left_when_the_end_comes_after_the_fork_servers(pods: Pods) -> None:
    if not pods.groups:
        pytest.skip("no cgroups can be made here")
    sandbox = await pods.create("a")
    await sandbox.start(pods.container("a", "sleep", "1000"))
    groups = pods.groups
    await pods.runtime.stop(end_pods=False)
    supervisor = int(json.loads((pods.path("a") / "state.json").read_text())["pid"])
    for pid in (pods.zygote, supervisor):
        os.kill(pid, signal.SIGKILL)
    await pods.until(lambda: not pods.processes - {helper_pid(pods)})
    await pods.runtime._server.stop()
    assert left_of(groups) == []


def left_of(groups: list[str]) -> list[str]:
    return [group for group in groups if os.path.exists(group)]


def helper_pid(pods: Pods) -> int:
    return int(json.loads((pods.directory / "node" / "netd.json").read_text())[0])


async def test_a_container_sees_its_own_limits_and_nobody_elses(pods: Pods) -> None:
    need(pods, "memory")
    script = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    more = "touch /sys/fs/cgroup/x; find /sys/fs/cgroup -name cgroup.procs -exec sh -c 'echo $$ > {}' ';'; echo end"
    sandbox = await pods.create("a", limits=Limits(memory=200 * MIB))
    state = await pods.run("a", "sh", "-c", f"{script}; {more}", sandbox=sandbox, limits=Limits(memory=64 * MIB))
    assert state.exit_code == 0
    assert pods.output("a").split() == [str(64 * MIB), "end"]
    assert "Read-only file system" in pods.output("a", stream="stderr")
