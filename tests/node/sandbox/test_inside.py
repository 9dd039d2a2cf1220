"""Clients inside running containers: further commands, terminals, and whoever is attached to the container itself."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from typing import Any

import pytest

from homeport.node.runtime import Reader, SandboxError, Session, StartError, Wanted

Pods = Any
ALL = Wanted(stdin=True, stdout=True, stderr=True)
OUTPUT = Wanted(stdout=True, stderr=True)


async def everything(reader: Reader | None) -> bytes:
    assert reader is not None
    data = b""
    while part := await reader.read():
        data += part
    return data


async def result(session: Session) -> tuple[int, bytes, bytes]:
    out = b"" if session.stdout is None else await everything(session.stdout)
    error = b"" if session.stderr is None else await everything(session.stderr)
    code = await session.wait()
    session.close()
    return code, out, error


async def until(reader: Reader | None, text: bytes) -> bytes:
    assert reader is not None
    data = b""
    async with asyncio.timeout(30):
        while text not in data:
            part = await reader.read()
            assert part, data
            data += part
    return data


@pytest.fixture
async def sandbox(pods: Pods) -> Any:
    made = await pods.create("a")
    command = ("sh", "-c", "echo $$ > /tmp/first; sleep 1000")
    await made.start(pods.container("a", *command, env={"COLOR": "blue"}, cwd="/usr"))
    await pods.until(lambda: made.containers()["main"].phase == "running")
    return made


async def test_a_command_is_the_containers_own(sandbox: Any) -> None:
    script = "echo $COLOR $PWD $(id -u); readlink /proc/self/ns/pid /proc/1/ns/pid | sort -u | wc -l; echo no >&2"
    done = await result(await sandbox.execute("main", ["sh", "-c", f"{script}; exit 42"], OUTPUT))
    assert done == (42, b"blue /usr 0\n1\n", b"no\n")
    script = "ls /proc/self/fd; cat; cat /tmp/first; kill -9 $$"
    code, out, _ = await result(await sandbox.execute("main", ["sh", "-c", script], OUTPUT))
    assert (code, out) == (137, b"0\n1\n2\n3\n1\n")  # 3 is the directory being listed


async def test_what_cannot_be_started(sandbox: Any) -> None:
    with pytest.raises(StartError, match=r'exec: "nope": executable file not found in \$PATH') as failure:
        await sandbox.execute("main", ["nope"], OUTPUT)
    assert failure.value.code == 127
    with pytest.raises(StartError, match="permission denied"):
        await sandbox.execute("main", ["/etc/passwd"], Wanted(stdin=True, stdout=True, tty=True))
    with pytest.raises(SandboxError, match="container other does not run"):
        await sandbox.execute("other", ["true"], OUTPUT)
    # What refused is as good as before.
    assert (await result(await sandbox.execute("main", ["true"], OUTPUT)))[0] == 0


async def test_input_goes_through_and_ends(sandbox: Any) -> None:
    session = await sandbox.execute("main", ["sha256sum"], ALL)
    data = os.urandom(10 << 20)
    await session.stdin.write(data)
    session.stdin.close()
    code, out, _ = await result(session)
    assert (code, out.split()[0].decode()) == (0, hashlib.sha256(data).hexdigest())
    session = await sandbox.execute("main", ["cat"], ALL)

    async def feed() -> None:
        await session.stdin.write(data)
        session.stdin.close()

    feeding = asyncio.create_task(feed())
    assert (await everything(session.stdout)) == data
    await feeding
    session.close()


async def test_a_background_process_does_not_hold_the_session(sandbox: Any) -> None:
    code, out, _ = await result(await sandbox.execute("main", ["sh", "-c", "sleep 1000 & seq 100000"], OUTPUT))
    assert (code, out.split()[-1]) == (0, b"100000")


async def test_a_command_outlives_its_client(pods: Pods, sandbox: Any) -> None:
    script = "trap '' PIPE; read x; echo gone > /tmp/left; sleep 1000"
    session = await sandbox.execute("main", ["sh", "-c", script], ALL)
    session.close()
    async with asyncio.timeout(30):
        while True:
            code, out, _ = await result(await sandbox.execute("main", ["cat", "/tmp/left"], OUTPUT))
            if (code, out) == (0, b"gone\n"):
                break
    _, out, _ = await result(await sandbox.execute("main", ["ps", "-eo", "args"], OUTPUT))
    assert out.split(b"\n").count(b"sleep 1000") == 2


async def test_a_terminal(sandbox: Any) -> None:
    session = await sandbox.execute("main", ["sh"], Wanted(stdin=True, stdout=True, tty=True))
    assert session.stderr is None
    session.resize(33, 101)
    await session.stdin.write(b"stty size; tty; echo $TERM; test -t 0 -a -t 1 -a -t 2 && echo a''ll\n")
    out = await until(session.stdout, b"all\r\n")
    for text in (b"33 101\r\n", b"/dev/pts/0\r\n", b"xterm\r\n"):
        assert text in out
    # A terminal's ^C reaches what is in the foreground, once it is there: that is what it says itself.
    await session.stdin.write(b"sh -c 'echo the''re; exec sleep 1000'\n")
    await until(session.stdout, b"there\r\n")
    await session.stdin.write(b"\x03")
    await session.stdin.write(b"exit 5\n")
    assert (await result(session))[0] == 5


async def test_many_at_once(sandbox: Any) -> None:
    async def one(number: int) -> bytes:
        session = await sandbox.execute("main", ["cat"], ALL)
        await session.stdin.write(b"%d" % number)
        session.stdin.close()
        return (await result(session))[1]

    assert await asyncio.gather(*(one(n) for n in range(40))) == [b"%d" % n for n in range(40)]


async def test_a_containers_end_ends_its_commands(pods: Pods, sandbox: Any) -> None:
    session = await sandbox.execute("main", ["sleep", "1000"], OUTPUT)
    await sandbox.signal("main", 9)
    assert (await result(session))[0] == 137
    assert (await pods.exit_of(sandbox)).exit_code == 137
    with pytest.raises(SandboxError, match="does not run"):
        await sandbox.execute("main", ["true"], OUTPUT)


@pytest.mark.needs_ids
async def test_as_another_user(pods: Pods) -> None:
    sandbox = await pods.create("a")
    await sandbox.start(pods.container("a", "sleep", "1000", uid=1000, gid=2000, groups=(3000,)))
    code, out, _ = await result(await sandbox.execute("main", ["sh", "-c", "id -u; id -g; id -G; ls /root"], OUTPUT))
    assert out == b"1000\n2000\n2000 3000\n"
    assert code == 2
    session = await sandbox.execute("main", ["sh", "-c", "echo x > $(tty) && echo ok"], Wanted(stdout=True, tty=True))
    assert b"ok" in (await result(session))[1]


async def test_attached_to_a_container_with_input(pods: Pods) -> None:
    sandbox = await pods.create("a")
    await sandbox.start(pods.container("a", "cat", stdin=True, stdin_once=True))
    first = await sandbox.attach("main", ALL)
    other = await sandbox.attach("main", OUTPUT)
    assert other.stdin is None
    await first.stdin.write(b"hello\n")
    assert await until(first.stdout, b"hello\n") == b"hello\n"
    assert await until(other.stdout, b"hello\n") == b"hello\n"
    await first.stdin.write(bytes(1 << 16))
    first.stdin.close()
    assert len(await everything(first.stdout)) == 1 << 16
    assert await first.wait() == 0
    assert len(await everything(other.stdout)) == 1 << 16
    first.close()
    other.close()
    assert (await pods.exit_of(sandbox)).exit_code == 0
    assert pods.output("a").startswith("hello")


async def test_input_stays_open_without_once(pods: Pods) -> None:
    sandbox = await pods.create("a")
    await sandbox.start(pods.container("a", "cat", stdin=True))
    for text in (b"one\n", b"two\n"):
        session = await sandbox.attach("main", ALL)
        await session.stdin.write(text)
        session.stdin.close()
        await until(session.stdout, text)
        session.close()
    assert sandbox.containers()["main"].phase == "running"


async def test_a_slow_client_holds_the_container_and_loses_nothing(pods: Pods) -> None:
    sandbox = await pods.create("a")
    script = "read go; seq 300000; echo done"
    await sandbox.start(pods.container("a", "sh", "-c", script, stdin=True))
    session = await sandbox.attach("main", ALL)
    await session.stdin.write(b"go\n")
    await asyncio.sleep(0.3)
    assert sandbox.containers()["main"].phase == "running"
    out = await everything(session.stdout)
    assert out.endswith(b"300000\ndone\n")
    assert out.count(b"\n") == 300001
    session.close()


async def test_a_container_with_a_terminal(pods: Pods) -> None:
    sandbox = await pods.create("a")
    await sandbox.start(pods.container("a", "sh", stdin=True, tty=True))
    session = await sandbox.attach("main", Wanted(stdin=True, stdout=True, tty=True))
    session.resize(20, 60)
    await session.stdin.write(b"stty size; echo in''side\n")
    out = await until(session.stdout, b"inside\r\n")
    assert b"20 60\r\n" in out
    session.close()
    again = await sandbox.attach("main", Wanted(stdin=True, stdout=True, tty=True))
    await again.stdin.write(b"exit 3\n")
    assert await again.wait() == 3
    again.close()
    await pods.until(lambda: "inside" in pods.output("a"))


SERVER = """
import socket
server = socket.create_server(("127.0.0.1", 7000))
print("up", flush=True)
while True:
    server.accept()[0].send(b"hello")
"""


async def test_a_pods_loopback(pods: Pods) -> None:
    sandbox = await pods.create("a")
    await sandbox.start(pods.container("a", "python3", "-c", SERVER))
    await pods.until(lambda: "up" in pods.output("a"))
    with await sandbox.connect(7000) as connected:
        assert await asyncio.get_running_loop().sock_recv(connected, 9) == b"hello"
    with pytest.raises(ConnectionRefusedError):
        await sandbox.connect(7001)


async def test_a_debugger_is_among_the_processes_of_its_target(pods: Pods) -> None:
    sandbox = await pods.create("p")
    await sandbox.start(pods.container("p", "sh", "-c", "sleep 1000 & wait"))
    script = "sleep 2000 & tr '\\0' ' ' </proc/1/cmdline; echo; basename $(readlink /proc/self); exec sleep 1000"
    await sandbox.start(pods.container("p", "sh", "-c", script, name="debugger", target="main"))
    await pods.until(lambda: len(pods.entries("p", "debugger")) == 2)
    first, own = pods.output("p", "debugger").splitlines()
    assert first.startswith("sh -c sleep 1000 & wait"), "the target's first process is the first that it sees"
    assert int(own) > 2, "it is one of several"

    await sandbox.signal("debugger", signal.SIGKILL)
    assert (await pods.exit_of(sandbox)).name == "debugger"
    look = ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]
    _, seen, _ = await result(await sandbox.execute("main", look, OUTPUT))
    assert b"sleep 1000" in seen
    assert b"2000" not in seen, "what it started has gone with it"

    with pytest.raises(SandboxError, match="unable to find target container"):
        await sandbox.start(pods.container("p", "true", name="other", target="none"))
    await sandbox.start(pods.container("p", "sleep", "1000", name="debugger", attempt=1, target="main"))
    await sandbox.signal("main", signal.SIGKILL)
    ends = {(await pods.exit_of(sandbox)).name for _ in range(2)}
    assert ends == {"main", "debugger"}, "without its first process a namespace has none"
