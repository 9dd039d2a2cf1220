"""What limits an ordinary user's pods; run by test_unprivileged.py as one, with no packages installed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
from pathlib import Path

from unprivileged import Node

from homeport.node.runtime import ContainerState, Limits, Sandbox, SandboxSpec, StartError, Wanted
from homeport.node.sandbox import idmap, linux

PYTHON = "/usr/bin/python3"
MIB = 1 << 20
EATS = "import os, time\nif os.fork(): os.wait()\nblock = bytearray({size} << 20)\ntime.sleep(1000)"
PROCESSORS = "import os, time; print(len(os.sched_getaffinity(0)), flush=True); time.sleep(1000)"


async def exit_of(sandbox: Sandbox) -> ContainerState:
    async with asyncio.timeout(60):
        return await anext(aiter(sandbox.changes()))


async def main(directory: Path, *, delegated: bool) -> None:
    node = Node(directory)
    await node.runtime.start()
    try:
        record = json.loads((directory / "node" / "cgroups.json").read_text())
        controllers = {name for _, _, names in record for name in names}
        assert ("memory" in controllers) == delegated, record
        await memory(node, delegated=delegated)
        if not delegated:
            await processors(node)
            await processes(node)
    finally:
        await node.runtime.stop(end_pods=True)
    assert not left(record)


def left(record: list[tuple[int, str, list[str]]]) -> list[str]:
    return [base for _, base, _ in record if os.path.exists(base)]


async def memory(node: Node, *, delegated: bool) -> None:
    sandbox = await node.create("eats")
    modest = {"name": "modest", "log_path": f"{sandbox.directory}/modest.log", "limits": Limits(memory=150 * MIB)}
    await node.start(sandbox, PYTHON, "-c", EATS.format(size=30), **modest)
    await node.start(sandbox, PYTHON, "-c", EATS.format(size=200), limits=Limits(memory=100 * MIB))
    state = await exit_of(sandbox)
    assert (state.name, state.reason, bool(state.cgroups)) == ("main", "OOMKilled", delegated), state
    assert sandbox.containers()["modest"].phase == "running"
    if not delegated:
        await sandbox.limit(Limits(), {"modest": Limits(memory=20 * MIB)})
        state = await exit_of(sandbox)
        assert (state.name, state.exit_code, state.reason) == ("modest", 137, "OOMKilled"), state
    await sandbox.destroy()


async def processors(node: Node) -> None:
    sandbox = await node.create("counts")
    await node.start(sandbox, PYTHON, "-c", PROCESSORS, limits=Limits(cpu_quota=70_000))
    while not node.output("counts"):
        await asyncio.sleep(0.02)
    assert node.output("counts") == "1"
    session = await sandbox.execute("main", [PYTHON, "-c", PROCESSORS], Wanted(stdout=True))
    assert session.stdout is not None
    assert await session.stdout.read() == b"1\n"
    session.close()
    await sandbox.destroy()


FORKS = """
import os, sys, time
for count in range(60):
    try:
        if not os.fork():
            time.sleep(1000)
    except BlockingIOError:
        break
print("forked", count, flush=True)
time.sleep(1000)
"""
SHARE = "import resource; print(*resource.getrlimit(resource.RLIMIT_NPROC))"


def text_of(path: str) -> str:
    return Path(path).read_text()


async def processes(node: Node) -> None:
    """A container whose ids are in a user namespace of their own has what its pod may have; others share. Before Linux
    5.14 the machine's user is counted, whom no limit of a pod may be put on."""
    is_alone = not (idmap.read_ranges("/etc/subuid") and idmap.helper("newuidmap"))
    is_held = is_alone and linux.counts_processes_by_namespace()
    path = node.directory / "pods" / "forks"
    path.mkdir(parents=True)
    limits = Limits(pids=20)
    sandbox = await node.runtime.create(
        SandboxSpec("forks", "default", "forks", str(path), "forks", searches=(), limits=limits)
    )
    for name in ("main", "other"):
        started = await node.start(
            sandbox, PYTHON, "-c", FORKS, name=name, uid=1000, gid=1000, log_path=f"{path}/{name}.log"
        )
        assert started.phase == "running", started
        while "forked" not in (text := text_of(f"{path}/{name}.log")):
            await asyncio.sleep(0.02)
        assert text.split()[-1] == ("19" if is_held else "59"), text
    # A command in the container counts as its own.
    if is_held:
        with contextlib.suppress(StartError):
            await sandbox.execute("main", ["sleep", "1000"], Wanted())
            raise AssertionError("one process too many")
    await sandbox.destroy()
    all_of_them = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    shared = await node.runtime.create(
        SandboxSpec("forks", "default", "forks", str(path), "forks", searches=(), limits=limits)
    )
    log = path / "shared.log"
    state = await node.start(shared, PYTHON, "-c", SHARE, name="shared", log_path=str(log))
    if state.phase == "running":
        state = await exit_of(shared)
    known = all_of_them != resource.RLIM_INFINITY and linux.counts_processes_by_namespace()
    soft, hard = map(int, log.read_text().split()[-2:])
    assert soft == (all_of_them * 90 // 100 if known else all_of_them)
    assert hard == soft or not known
    await shared.destroy()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), delegated=sys.argv[2] == "delegated"))
    print("done")
