"""What every runtime promises of what pods may do and use, asked of each."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest
from ports import free_port
from runtimes import Pods, dialled, end_of, everything, said, until

from homeport.node import seccomp
from homeport.node.runtime import Limits, SandboxError, Security, Wanted

pytestmark = pytest.mark.slow

_MEMORY = 48 << 20
_GREETER = "cd $(mktemp -d); echo hello from $(hostname) > index.html; busybox httpd -f -p 8000"
_HUNGRY = "exec dd if=/dev/zero of=/dev/null bs=120M count=1"
_NO_DIRECTORIES = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}


async def test_system_calls_are_filtered_as_a_profile_says(rooted: Pods) -> None:
    text = json.dumps(_NO_DIRECTORIES)
    compiled = seccomp.parse(_NO_DIRECTORIES, os.uname().machine)
    sandbox = await rooted.create("one")
    script = "grep Seccomp: /proc/self/status | tr -s '[:space:]' ' '; echo; mkdir /tmp/x 2>/dev/null || echo refused"
    filtered = Security(seccomp=compiled)
    state = await rooted.run(sandbox, script, security=filtered, seccomp_profile=text)
    assert (state.exit_code, rooted.lines(sandbox)) == (0, ["Seccomp: 2 ", "refused"]), state
    default = Security(seccomp=seccomp.default_profile(Security().capabilities))
    state = await rooted.run(sandbox, script, "default", security=default)
    assert (state.exit_code, rooted.lines(sandbox, name="default")) == (0, ["Seccomp: 2 "]), state
    state = await rooted.run(sandbox, script, "free")
    assert (state.exit_code, rooted.lines(sandbox, name="free")) == (0, ["Seccomp: 0 "]), state


@pytest.fixture
async def limited(rooted: Pods) -> Pods:
    """The same where pods have control groups."""
    if rooted.kind == "podman" and os.geteuid() != 0:
        pytest.skip("an ordinary user's Podman has no control groups of version 1")
    return rooted


async def test_a_container_that_wants_too_much_memory_is_ended(limited: Pods) -> None:
    sandbox = await limited.create("one")
    state = await limited.run(sandbox, _HUNGRY, limits=Limits(memory=_MEMORY))
    assert (state.exit_code, state.reason) == (137, killed_for_memory(limited))


def killed_for_memory(pods: Pods) -> str:
    """The reason. Podman 4.3 is not told by control groups of version 1."""
    return "Error" if pods.kind == "podman" and Path("/sys/fs/cgroup/memory").is_dir() else "OOMKilled"


async def test_what_the_containers_of_a_pod_may_use_together(limited: Pods) -> None:
    limits = Limits(memory=_MEMORY, cpu_shares=512, cpu_quota=50_000, pids=100)
    sandbox = await limited.create("one", limits=limits)
    state = await limited.run(sandbox, _HUNGRY)
    assert (state.exit_code, state.reason) == (137, killed_for_memory(limited))
    await sandbox.start(limited.spec(sandbox, "sleep 600", "lasting", limits=Limits(memory=_MEMORY)))
    await sandbox.limit(Limits(memory=8 * _MEMORY), {"lasting": Limits(memory=4 * _MEMORY)})
    assert (await limited.run(sandbox, _HUNGRY, "later")).exit_code == 0
    await sandbox.limit(limits, {})
    assert (await limited.run(sandbox, _HUNGRY, "last")).exit_code == 137


async def test_where_a_container_leaves_its_last_message(rooted: Pods) -> None:
    sandbox = await rooted.create("one")
    script = "echo -n oops > /tmp/last/words; exit 2"
    state = await rooted.run(sandbox, script, termination_message_path="/tmp/last/words")
    assert (state.exit_code, state.message) == (2, "oops")
    state = await rooted.run(sandbox, "head -c 9000 /dev/zero | tr '\\0' x > /dev/termination-log", attempt=1)
    assert 0 < len(state.message) <= 4096


async def test_a_container_among_the_processes_of_another(rooted: Pods) -> None:
    sandbox = await rooted.create("one")
    await sandbox.start(rooted.spec(sandbox, "exec sleep 600"))
    state = await rooted.run(
        sandbox, "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/root/etc/hostname", "debugger", target="main"
    )
    assert state.exit_code == 0
    assert rooted.lines(sandbox, name="debugger") == ["sleep 600 one"]
    with pytest.raises(SandboxError):
        await sandbox.start(rooted.spec(sandbox, "true", "other", target="nobody"))


async def test_a_terminal_of_the_container_itself(pods: Pods) -> None:
    sandbox = await pods.create("one")
    script = "tty; while read line; do echo got $line; stty size; done"
    await sandbox.start(pods.spec(sandbox, script, tty=True, stdin=True))
    session = await sandbox.attach("main", Wanted(stdin=True, stdout=True, tty=True))
    assert session.stdin is not None
    assert session.stdout is not None
    session.resize(41, 99)
    await asyncio.sleep(0.3)
    await session.stdin.write(b"typed\n")
    data = b""
    async with asyncio.timeout(30):
        while b"41 99" not in data:
            data += await session.stdout.read()
    assert b"got typed" in data
    session.close()
    assert sandbox.containers()["main"].phase == "running"
    await sandbox.signal("main", 9)
    assert (await end_of(sandbox)).exit_code == 137
    assert any("/dev/pts/" in line or "/dev/console" in line for line in pods.lines(sandbox))


async def test_a_log_is_parted_and_the_oldest_parts_go(pods: Pods) -> None:
    if pods.kind == "podman":
        pytest.skip("Podman keeps one file per container, and begins it anew when it is full")
    sandbox = await pods.create("one")
    state = await pods.run(
        sandbox, "for part in 1 2 3 4 5 6 7 8 9; do seq 1 400; sleep 0.05; done", log_bytes=20_000, log_files=3
    )
    assert state.exit_code == 0
    directory, name = pods.log(sandbox).parent, pods.log(sandbox).name
    parts = sorted(path.name for path in directory.iterdir() if path.name.startswith(name))
    assert len(parts) == 3
    assert pods.lines(sandbox)[-1] == "400"
    assert all(path.stat().st_size < 45_000 for path in directory.iterdir())


async def test_files_are_copied_in_and_out_as_kubectl_does(pods: Pods) -> None:
    sandbox = await pods.create("one")
    await sandbox.start(pods.spec(sandbox, "sleep 600"))
    place = f"/tmp/copied-{pods.directory.parent.name}"
    payload = bytes(range(256)) * 4096
    into = await sandbox.execute("main", ["sh", "-c", f"cat > {place}"], Wanted(stdin=True, stdout=True, stderr=True))
    assert into.stdin is not None
    await into.stdin.write(payload)
    into.stdin.close()
    assert await into.wait() == 0
    into.close()
    out = await sandbox.execute("main", ["sh", "-c", f"cat {place}; rm {place}"], Wanted(stdout=True, stderr=True))
    assert await everything(out.stdout) == payload
    assert await out.wait() == 0
    out.close()


async def test_ports_of_the_machine_and_who_has_them_already(pods: Pods) -> None:
    server = await pods.create("server")
    await server.start(pods.spec(server, _GREETER))
    await said(lambda: server.connect(8000))
    heard: dict[str, int] = {}
    pods.runtime.watch_ports(heard.update)
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        taken, port = other.getsockname()[1], free_port()
        target = {"to": [[server.address, 8000]], "published": True}
        await pods.runtime.set_frontends({f"tcp * {port}": target, f"tcp * {taken}": target}, everything=True)
        assert (await said(lambda: dialled("127.0.0.1", port))).endswith(b"hello from server\n")
        await until(lambda: heard.get(f"tcp * {taken}"))
        assert heard[f"tcp * {port}"] == 0
    # Given back, it is had within some seconds.
    await until(lambda: heard.get(f"tcp * {taken}") == 0)
    assert (await said(lambda: dialled("127.0.0.1", taken))).endswith(b"hello from server\n")
    await pods.runtime.set_frontends({}, everything=True)


async def test_a_read_only_root_has_its_volumes_and_tmp_of_memory(rooted: Pods) -> None:
    sandbox = await rooted.create("one")
    script = "touch /file 2>/dev/null || echo kept; touch /dev/shm/there && echo written"
    state = await rooted.run(sandbox, script, read_only_root=True)
    assert (state.exit_code, rooted.lines(sandbox)) == (0, ["kept", "written"])
