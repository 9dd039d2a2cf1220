"""What an ordinary user's pods must be able to do; run by test_unprivileged.py as one, with no packages installed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import venv
from pathlib import Path

import outside

from homeport.node.process import ProcessRuntime
from homeport.node.runtime import (
    ContainerSpec,
    ContainerState,
    ImageRoot,
    MemoryVolume,
    Mount,
    Sandbox,
    SandboxSpec,
    Wanted,
)
from homeport.node.sandbox import linux, wire

SERVER = """
import socket
server = socket.create_server(("", 2222))
print("up", flush=True)
while True:
    server.accept()[0].send(b"hello")
"""
CLIENT = "import socket, sys; print(socket.create_connection((sys.argv[1], 2222), 10).recv(9).decode())"


class Node:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runtime = ProcessRuntime(directory / "node", hidden=[directory])

    async def create(self, name: str, *memory: MemoryVolume) -> Sandbox:
        path = self.directory / "pods" / name
        path.mkdir(parents=True, exist_ok=True)
        return await self.runtime.create(
            SandboxSpec(name, "default", name, str(path), name, searches=("svc.cluster.local",), memory=memory)
        )

    async def start(self, sandbox: Sandbox, *argv: str, **changes: object) -> ContainerState:
        spec = {
            "name": "main",
            "attempt": 0,
            "argv": argv,
            "env": {"PATH": "/usr/bin:/bin"},
            "cwd": "/",
            "image": ImageRoot(),
            "mounts": (),
            "log_path": str(Path(sandbox.directory) / "log"),
        }
        return await sandbox.start(ContainerSpec(**{**spec, **changes}))  # type: ignore[arg-type]

    async def run(self, name: str, *argv: str, **changes: object) -> tuple[int, str]:
        sandbox = await self.create(name)
        state = await self.start(sandbox, *argv, **changes)
        if state.phase == "running":
            state = await anext(aiter(sandbox.changes()))
        output = self.output(name)
        await sandbox.destroy()
        return state.exit_code, output or state.message

    def output(self, name: str) -> str:
        lines = (self.directory / "pods" / name / "log").read_text().splitlines()
        return "\n".join(line.split(" ", 3)[3] for line in lines)


async def give_a_file(node: Node) -> None:
    """With a range of ids or with one: whom a file is given to can read it, and reads what nobody else may."""
    volume = node.directory / "given"
    volume.mkdir()
    volume.chmod(0o777)
    token = volume / "token"
    token.write_text("secret\n")
    token.chmod(0o600)
    await node.runtime.give_file(str(token), 1000)
    sandbox = await node.create("given")
    script = "umask 077; cat /v/token > /v/copy; sleep 1000"
    await node.start(sandbox, "sh", "-c", script, mounts=(Mount(str(volume), "/v"),), uid=1000, gid=1000)
    for _ in range(1000):
        if await sandbox.read(str(volume), "copy"):
            break
        await asyncio.sleep(0.01)
    assert await sandbox.read(str(volume), "copy") == b"secret\n"
    assert await sandbox.read(str(volume), "none") is None
    await sandbox.destroy()


async def main(directory: Path) -> None:
    node = Node(directory)
    await node.runtime.start()
    try:
        await check(node)
    finally:
        await node.runtime.stop(end_pods=True)


async def use_volumes(node: Node) -> None:
    """Memory of the pod's own, of whatever group; a part of a volume; a copy of what other users have written."""
    place, data = node.directory / "pods" / "volumes" / "m", node.directory / "origin"
    data.mkdir(mode=0o777)
    data.chmod(0o777)
    sandbox = await node.create("volumes", MemoryVolume(str(place), 1 << 20, 2000))
    script = (
        "dd if=/dev/zero of=/m/x bs=1M count=2 2>/dev/null || echo full; mkdir /o/d; echo y > /o/d/f; chmod 700 /o/d"
    )
    mounts = (Mount(str(place), "/m"), Mount(str(data), "/o", sub_path="a/b"))
    state = await node.start(sandbox, "sh", "-c", script, uid=1000, gid=2000, mounts=mounts)
    if state.phase == "running":
        state = await anext(aiter(sandbox.changes()))
    assert (state.exit_code, node.output("volumes")) == (0, "full"), (state, node.output("volumes"))
    os.kill(json.loads((node.directory / "pods" / "volumes" / "state.json").read_text())["pid"], signal.SIGKILL)
    async for _ in sandbox.changes():
        pass
    await sandbox.destroy()
    sandbox = await node.create("volumes", MemoryVolume(str(place), 1 << 20, 2000))
    state = await node.start(sandbox, "sh", "-c", "stat -c %s /m/x", uid=1000, gid=2000, mounts=mounts)
    if state.phase == "running":
        state = await anext(aiter(sandbox.changes()))
    assert node.output("volumes").splitlines()[-1] == str(1 << 20), node.output("volumes")
    await sandbox.destroy()
    assert list(place.iterdir()) == []
    copied = node.directory / "copied"
    await node.runtime.copy(str(data), str(copied))
    code, text = await node.run(
        "reads", "cat", "/o/a/b/d/f", uid=1000, gid=2000, mounts=(Mount(str(copied), "/o", read_only=True),)
    )
    assert (code, text) == (0, "y"), (code, text)
    for tree in (data, copied):
        await node.runtime.remove(str(tree))
        assert not tree.exists()


async def look_inside(sandbox: Sandbox, uid: str) -> None:
    """A command, and one on a terminal, in a running container."""
    for wanted in (Wanted(stdout=True), Wanted(stdout=True, tty=True)):
        session = await sandbox.execute("main", ["sh", "-c", "id -u; echo $PPID; exit 6"], wanted)
        assert session.stdout is not None
        text = b""
        while part := await session.stdout.read():
            text += part
        assert (await session.wait(), text.decode().split()) == (6, [uid, "0"]), text
        session.close()


async def start_warm(node: Node) -> None:
    """The fork of a warm interpreter has what a cold start has."""
    place = node.directory / "venv"
    venv.create(place, symlinks=True)
    (packages,) = (place / "lib").glob("python*/site-packages")
    (packages / "heavy.py").write_text("import os; TOKEN = os.urandom(8).hex()")
    image = ImageRoot(environment=str(place), warm=("heavy",))
    look = "import heavy, os; print(heavy.TOKEN, os.getpid(), os.getuid(), os.listdir('/proc/self/fd'), os.getcwd())"
    env = {"PATH": "/opt/venv/bin:/usr/bin:/bin"}
    told = []
    for name in ("cold", "warm-a", "warm-b"):
        code, text = await node.run(name, "python3", "-c", look, image=image, env=env, cwd="/work")
        assert code == 0, text
        told.append(text.partition(" "))
        for _ in range(500):
            sockets = list((node.directory / "node" / "warm").glob("*.sock"))
            if sockets and listens(sockets[0]):
                break
            await asyncio.sleep(0.02)
    assert len({token for token, _, _ in told}) == 2, told
    assert len({rest for _, _, rest in told}) == 1, told


def listens(path: Path) -> bool:
    try:
        wire.connect(str(path)).close()
    except OSError:
        return False
    return True


def kill(comm: str, directory: Path) -> None:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                arguments = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
                found = Path(f"/proc/{name}/comm").read_text().strip()
            except OSError:
                continue
            if found == comm and os.fsencode(directory / "node") in arguments:
                os.kill(int(name), signal.SIGKILL)


async def check(node: Node) -> None:
    secret = node.directory / "secret"
    secret.write_text("secret")
    code, text = await node.run("looks", "sh", "-c", f"id -u; cat {secret} || exit 3")
    assert (code, text.split("\n")[0]) == (3, "0"), (code, text)

    code, text = await node.run("other", "sh", "-c", "id -u; id -g; touch /tmp/x", uid=1000, gid=2000)
    assert (code, text) == (0, "1000\n2000"), (code, text)

    data = node.directory / "data"
    data.mkdir()
    code, text = await node.run(
        "writes", "sh", "-c", "echo x > /data/x; mkdir /data/d", mounts=(Mount(str(data), "/data"),)
    )
    assert (code, (data / "x").read_text()) == (0, "x\n"), (code, text)
    await node.runtime.remove(str(data))
    assert not data.exists()

    await use_volumes(node)
    await give_a_file(node)

    server = await node.create("server")
    assert (await node.start(server, "/usr/bin/python3", "-c", SERVER)).phase == "running"
    await node.runtime.set_frontends({"tcp 10.43.0.7 2222": {"to": [[server.address, 2222]]}}, everything=True)
    assert await node.run("balanced", sys.executable, "-c", CLIENT, "10.43.0.7") == (0, "hello")
    await node.runtime.set_records({"server.default.svc.cluster.local": (server.address,)})
    for _ in range(500):
        if "up" in node.output("server"):
            break
        await asyncio.sleep(0.02)
    code, text = await node.run("client", "/usr/bin/python3", "-c", CLIENT, "server.default")
    assert (code, text) == (0, "hello"), (code, text)
    await node.runtime.set_policies({"pods": {server.address: [0, None]}, "lists": [[]]})
    code, text = await node.run("denied", "/usr/bin/python3", "-c", CLIENT.replace("10)", "1)"), "server.default")
    assert (code, "TimeoutError" in text) == (1, True), (code, text)
    await node.runtime.set_policies({"pods": {}, "lists": []})
    with outside.servers() as world:
        if world is not None:
            code, text = await node.run("reaches", "/usr/bin/python3", "-c", outside.CLIENT, *world.arguments)
            assert (code, text.split("\n")) == (0, outside.FOUND), (code, text)
    (await node.runtime.dial(server.address, 2222)).close()
    (await server.connect(2222)).close()
    await look_inside(server, "0")
    other = await node.create("someone")
    await node.start(other, "sleep", "1000", uid=1000, gid=2000)
    await look_inside(other, "1000")
    for uid in (0, 1000):
        # Among the processes of another container.
        log = node.directory / f"debugger{uid}.log"
        script = "tr '\\0' ' ' </proc/1/cmdline"
        changes = {"name": "debugger", "attempt": uid, "target": "main", "log_path": str(log), "uid": uid, "gid": uid}
        state = await node.start(other, "sh", "-c", script, **changes)
        if state.phase == "running":
            state = await anext(aiter(other.changes()))
        text = log.read_text()
        assert (state.exit_code, "sleep 1000" in text) == (0, True), (state, text)
    await other.destroy()
    (await node.runtime.listen(443)).close()

    await start_warm(node)

    # The next one joins the namespaces that are in use.
    kill("homeport-zygote", node.directory)
    kill("homeport-net", node.directory)
    code, text = await node.run("later", "/usr/bin/python3", "-c", CLIENT, "server.default")
    assert (code, text) == (0, "hello"), (code, text)

    await node.runtime.stop(end_pods=False)
    node.runtime = ProcessRuntime(node.directory / "node")
    await node.runtime.start()
    (adopted,) = await node.runtime.adopt()
    assert adopted.containers()["main"].phase == "running"
    pid = json.loads((Path(adopted.directory) / "state.json").read_text())["pid"]
    await adopted.destroy()
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        linux.start_time(pid)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
    print("done")
