"""What limits an ordinary user's pods; run by test_unprivileged.py as one, with no packages installed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from unprivileged import Node

from homeport.node.runtime import ContainerState, Limits, Sandbox, Wanted

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


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), delegated=sys.argv[2] == "delegated"))
    print("done")
