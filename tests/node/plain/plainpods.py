"""Pods of plain processes, as whoever runs this: ``plainpods.py DIRECTORY``. Prints ``done``, or a traceback."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any

from homeport.node.plain.notify import can_watch
from homeport.node.plain.runtime import PlainRuntime
from homeport.node.runtime import (
    ContainerSpec,
    ContainerState,
    ImageRoot,
    Mount,
    SandboxError,
    SandboxSpec,
    Unenforceable,
)

SERVER = """
import os, socket, sys
listener = socket.create_server(("", 2222), dualstack_ipv6=True, family=socket.AF_INET6)
while True:
    connection, client = listener.accept()
    connection.sendall(f"{os.uname().nodename} to {client[0]}".encode())
    connection.close()
"""
CLIENT = """
import socket, sys, threading, time

def ask(host, port):
    while True:
        try:
            with socket.create_connection((host, port), 10) as connection:
                return connection.recv(100).decode()
        except ConnectionRefusedError:
            time.sleep(0.05)

def in_a_thread():
    print(ask("one.default.svc.cluster.local", 2222), flush=True)

thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()
print(ask("10.43.0.7", 80), flush=True)
print(ask("127.0.0.1", 2222), flush=True)
print(socket.gethostbyname(socket.gethostname()), flush=True)
try:
    socket.create_connection(("10.43.0.8", 80), 10)
except ConnectionRefusedError:
    print("refused", flush=True)
"""
ORPHANS = (
    "import os, time\nif os.fork():\n    os._exit(3)\nos.setsid()\nif os.fork():\n    os._exit(0)\ntime.sleep(600)\n"
)
SENSELESS = """
import ctypes, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)

def call(function, *arguments):
    return ctypes.get_errno() if function(*arguments) < 0 else 0

tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
unix, six = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET6)
nowhere = ctypes.c_void_p(2**64 - 16)
address = struct.pack("=H", socket.AF_INET) + struct.pack(">H", 2222) + socket.inet_aton("127.0.0.1") + bytes(8)
print(*(call(libc.connect, each.fileno(), nowhere, 16) for each in (tcp, udp, unix)))
print(call(libc.bind, tcp.fileno(), nowhere, 16), call(libc.uname, nowhere))
print(*(call(libc.connect, each.fileno(), address, 16) > 0 for each in (unix, six)))
libc.sendto.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long, ctypes.c_char_p, ctypes.c_int]
print(call(libc.sendto, udp.fileno(), b"x", 1, 2**32 + socket.MSG_NOSIGNAL, address, 16))
"""
BOTH_FAMILIES = """
import asyncio, socket

async def main():
    servers = [await asyncio.start_server(lambda reader, writer: writer.close(), None, 2222)]
    for host in ("127.0.0.1", "::1"):
        reader, writer = await asyncio.open_connection(host, 2222)
        print(await reader.read() == b"", flush=True)

asyncio.run(main())
"""
UNMARKED = (
    "import os, time\nif os.fork():\n    time.sleep(1)\n    os._exit(0)\nos.setsid()\nif os.fork():\n    os._exit(0)\n"
    "os.execve('/bin/sleep', ['sleep', '{}'], {{}})\n"
)


class Node:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runtime = PlainRuntime(directory / "node")

    async def create(self, name: str, **changes: Any) -> Any:
        place = self.directory / "node" / "pods" / name
        place.mkdir(parents=True, exist_ok=True)
        wanted: dict[str, Any] = {"uid": name, "namespace": "default", "name": name, "directory": str(place)}
        wanted |= {"hostname": name, "searches": ("default.svc.cluster.local", "cluster.local")}
        return await self.runtime.create(SandboxSpec(**(wanted | changes)))

    def spec(self, sandbox: Any, script: str, name: str = "main", **changes: Any) -> ContainerSpec:
        log = str(Path(sandbox.directory) / "logs" / f"{name}.log")
        wanted: dict[str, Any] = {"name": name, "attempt": 0, "argv": (sys.executable, "-c", script), "cwd": "/"}
        wanted |= {"env": {"PATH": "/usr/bin:/bin"}, "image": ImageRoot(), "mounts": (), "log_path": log}
        return ContainerSpec(**(wanted | changes))

    def said(self, sandbox: Any, name: str = "main") -> list[str]:
        text = (Path(sandbox.directory) / "logs" / f"{name}.log").read_text()
        return [line.split(" ", 3)[3] for line in text.splitlines()]


async def end_of(sandbox: Any) -> ContainerState:
    async with asyncio.timeout(30), contextlib.aclosing(sandbox.changes()) as changes:
        async for state in changes:
            return state
    raise AssertionError("the sandbox has ended")


async def network(node: Node) -> None:
    one, two = await node.create("one"), await node.create("two")
    for sandbox in (one, two):
        await sandbox.start(node.spec(sandbox, SERVER, "server"))
    await node.runtime.set_records({"one.default.svc.cluster.local": (one.address,)})
    ends = {"tcp 10.43.0.7 80": {"to": [[one.address, 2222]]}, "tcp 10.43.0.8 80": {"to": []}}
    await node.runtime.set_frontends(ends, everything=True)
    await two.start(node.spec(two, CLIENT, "client"))
    ended = await end_of(two)
    assert (ended.name, ended.exit_code) == ("client", 0), (ended, node.said(two, ended.name))
    greetings = node.said(two, "client")
    assert [text.split(" to ")[0] for text in greetings[:3]] == ["one", "one", "two"], greetings
    assert all(text.endswith(two.address.split(".", 2)[2]) for text in greetings[:3]), greetings
    assert greetings[3:] == [two.address, "refused"], greetings
    with await node.runtime.dial(one.address, 2222) as connection:
        assert (await asyncio.get_running_loop().sock_recv(connection, 100)).startswith(b"one")
    try:
        await node.runtime.set_policies({"pods": {one.address: [0, 0]}, "lists": [[]]})
    except Unenforceable:
        pass
    else:
        raise AssertionError("policies can't be enforced")


async def senseless(node: Node) -> None:
    """Calls that make no sense fail as they would anywhere, and harm nobody but their process."""
    one = await node.create("senseless")
    await one.start(node.spec(one, SENSELESS))
    ended = await end_of(one)
    said = node.said(one)
    assert (ended.exit_code, ended.name) == (0, "main"), (ended, said)
    efault = str(errno.EFAULT)
    assert said == [" ".join([efault] * 3), f"{efault} {efault}", "True True", "0"], said
    await one.destroy()


async def both_families(node: Node) -> None:
    """Servers listen with a socket for each family, as they are used to; those of several pods on the same port."""
    for name in ("both", "too"):
        one = await node.create(name)
        await one.start(node.spec(one, BOTH_FAMILIES + "import time; time.sleep(600)" * (name == "both")))
        if name == "too":
            ended = await end_of(one)
            assert ended.exit_code == 0, (ended, node.said(one))
        async with asyncio.timeout(30):
            while node.said(one) != ["True", "True"]:
                await asyncio.sleep(0.02)


async def files(node: Node) -> None:
    one = await node.create("one")
    source, target = node.directory / "volume", node.directory / "appears" / "here"
    source.mkdir()
    mounts = (Mount(str(source), str(target)),)
    script = f"open({str(target / 'made')!r}, 'w').write('x')"
    await one.start(node.spec(one, script, "writer", mounts=mounts))
    assert (await end_of(one)).exit_code == 0, node.said(one, "writer")
    assert (source / "made").read_text() == "x"
    refused = ""
    try:
        await one.start(node.spec(one, script, "other", mounts=(Mount(str(source), "/proc/here"),)))
    except SandboxError as error:
        refused = str(error)
    assert "can't be given to a volume" in refused, refused
    await one.destroy()
    assert not target.is_symlink()


async def ends(node: Node) -> None:
    one = await node.create("orphans")
    await one.start(node.spec(one, ORPHANS))
    assert (await end_of(one)).exit_code == 3
    assert not living(node, "orphans")
    two = await node.create("killed")
    await two.start(node.spec(two, ORPHANS.replace("os._exit(3)", "time.sleep(600)")))
    while len(living(node, "killed")) < 2:
        await asyncio.sleep(0.02)
    (entry,) = (e for e in node.runtime._registry.entries() if e.uid == "killed")
    os.kill(entry.pid, signal.SIGKILL)
    state = await end_of(two)
    assert state.reason == "ContainerStatusUnknown", state
    async with asyncio.timeout(30):
        while living(node, "killed"):
            await asyncio.sleep(0.02)
    seconds = f"{600 + os.getpid() / 1e8:.8f}"
    three = await node.create("unmarked")
    await three.start(node.spec(three, UNMARKED.format(seconds)))
    assert (await end_of(three)).exit_code == 0
    await three.destroy()
    assert not with_argument(seconds)


def with_argument(argument: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if argument.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
    return found


def living(node: Node, uid: str) -> list[int]:
    from homeport.node.plain import family
    from homeport.node.plain.supervisor import mark

    return family.marked(mark(str(node.directory / "node"), uid))


async def main(directory: Path) -> None:
    node = Node(directory)
    await node.runtime.start()
    try:
        if can_watch():
            await network(node)
            await senseless(node)
            await both_families(node)
        await files(node)
        await ends(node)
    finally:
        await node.runtime.stop(end_pods=True)
    assert not list((directory / "node" / "sandboxes").iterdir())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
    print("done")
