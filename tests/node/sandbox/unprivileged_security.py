"""A securityContext means the same in a user namespace; run by test_unprivileged.py as an ordinary user."""

from __future__ import annotations

import asyncio
import struct
import sys
from pathlib import Path

from unprivileged import Node

from homeport.node.runtime import Mount, NotYet, SandboxSpec, Security
from homeport.node.sandbox.capabilities import ALL, NUMBERS

STATUS = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status"
ALLOW_ALL = struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)


async def check(node: Node) -> None:
    for sealed in (True, False):
        wanted = Security(frozenset({NUMBERS["NET_ADMIN"]}), sealed, ALLOW_ALL)
        code, text = await node.run(f"confined-{sealed}", "sh", "-c", STATUS, security=wanted)
        mask = f"{1 << NUMBERS['NET_ADMIN']:016x}"
        assert (code, text.split()[1::2]) == (0, [mask, mask, str(int(sealed)), "2"]), (code, text)

    wanted = Security(ALL, privileged=True)
    code, text = await node.run("privileged", "mount", "-t", "tmpfs", "x", "/mnt", security=wanted)
    assert code == 0, (code, text)
    code, text = await node.run("plain", "mount", "-t", "tmpfs", "x", "/mnt")
    assert code != 0, (code, text)

    await check_sub_paths(node)
    await check_shared(node)


async def check_sub_paths(node: Node) -> None:
    volume = node.directory / "volume"
    (volume / "inside").mkdir(parents=True)
    (volume / "out").symlink_to("/etc")
    mounts = (Mount(str(volume), "/data", sub_path="inside/deep"),)
    assert (await node.run("part", "touch", "/data/x", mounts=mounts))[0] == 0
    assert (volume / "inside/deep/x").exists()
    refused = ""
    try:
        await node.run("outward", "true", mounts=(Mount(str(volume), "/data", sub_path="out"),))
    except NotYet as error:
        refused = str(error)
    assert "leads out of the volume" in refused


async def check_shared(node: Node) -> None:
    path = node.directory / "pods" / "shared"
    path.mkdir(parents=True)
    sysctls = {"net.ipv4.ip_local_port_range": "40000 40100"}
    wanted = SandboxSpec("shared", "default", "shared", str(path), "shared", processes="pod", sysctls=sysctls)
    sandbox = await node.runtime.create(wanted)
    await node.start(sandbox, "sleep", "1000")
    script = (
        "cat /proc/1/comm /proc/sys/net/ipv4/ip_local_port_range; "
        "grep -l sleep /proc/[0-9]*/comm | wc -l; ls /proc/1/root/"
    )
    log = path / "other.log"
    state = await node.start(sandbox, "sh", "-c", script, name="other", log_path=str(log))
    if state.phase == "running":
        state = await anext(aiter(sandbox.changes()))
    found = [line.split(" ", 3)[3] for line in log.read_text().splitlines() if " stdout " in line]
    assert " ".join(found).split() == ["pause", "40000", "40100", "1"], (state, log.read_text())
    await sandbox.destroy()


async def main(directory: Path) -> None:
    node = Node(directory)
    await node.runtime.start()
    try:
        await check(node)
    finally:
        await node.runtime.stop(end_pods=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
    print("done")
