"""Pods as processes, one at a time: what a container sees, how it starts, what is kept of its end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from homeport.node.runtime import ImageRoot, Mount, SandboxError
from homeport.node.sandbox import linux

Pods = Any


async def test_exit_code_and_reason(pods: Pods) -> None:
    good = await pods.run("good", "true")
    bad = await pods.run("bad", "sh", "-c", "exit 7")

    assert (good.phase, good.exit_code, good.reason, good.signal) == ("exited", 0, "Completed", 0)
    assert (bad.phase, bad.exit_code, bad.reason, bad.signal) == ("exited", 7, "Error", 0)
    assert good.started_at <= good.finished_at
    assert len(good.finished_at) == len("2026-01-01T00:00:00.000000000Z")


async def test_signal_ends_a_container_and_is_reported(pods: Pods) -> None:
    sandbox = await pods.create("a")
    state = await sandbox.start(
        pods.container("a", "sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done")
    )
    assert state.phase == "running"
    await pods.until(lambda: "ready" in pods.output("a"))
    await sandbox.signal("main", signal.SIGTERM)
    assert (await pods.exit_of(sandbox)).exit_code == 9

    await sandbox.start(pods.container("a", "sleep", "1000", attempt=1))
    await sandbox.signal("main", signal.SIGKILL)
    state = await pods.exit_of(sandbox)
    assert (state.exit_code, state.signal, state.attempt) == (137, 9, 1)
    await sandbox.signal("main", signal.SIGTERM)


async def test_missing_command(pods: Pods) -> None:
    sandbox = await pods.create("a")
    state = await sandbox.start(pods.container("a", "nope"))
    assert (state.phase, state.exit_code, state.reason) == ("exited", 127, "StartError")
    assert state.message == 'exec: "nope": executable file not found in $PATH'

    state = await sandbox.start(pods.container("a", "/etc/passwd", attempt=1))
    assert (state.exit_code, state.message) == (128, 'exec: "/etc/passwd": permission denied')
    state = await sandbox.start(pods.container("a", "/no/such", attempt=2))
    assert (state.exit_code, state.message) == (127, 'exec: "/no/such": no such file or directory')
    state = await sandbox.start(pods.container("a", "/etc", attempt=3))
    assert (state.exit_code, state.message) == (128, 'exec: "/etc": is a directory')
    state = await sandbox.start(pods.container("a", "true", attempt=4, cwd="/etc/passwd"))
    assert (state.exit_code, state.message) == (128, 'chdir to "/etc/passwd": not a directory')
    state = await sandbox.start(pods.container("a", attempt=5))
    assert state.exit_code == 128
    assert "no command" in state.message
    # The sandbox is as good as before.
    assert (await pods.run("a", "true", sandbox=sandbox, attempt=6)).exit_code == 0


async def test_missing_mount_source_names_the_mount(pods: Pods) -> None:
    state = await pods.run("a", "true", mounts=(Mount("/no/such/thing", "/data"),))
    assert (state.reason, state.exit_code) == ("StartError", 128)
    assert state.message == "mount of /no/such/thing at /data: no such file or directory"


async def test_no_descriptor_is_a_way_out_as_a_working_directory(pods: Pods) -> None:
    sandbox = await pods.create("a")
    for descriptor in range(3, 32):
        wanted = pods.container("a", "true", attempt=descriptor, cwd=f"/proc/self/fd/{descriptor}")
        assert (await sandbox.start(wanted)).reason == "StartError"


async def test_working_directory_is_made(pods: Pods) -> None:
    state = await pods.run("a", "pwd", cwd="/made/here")
    assert (state.exit_code, pods.output("a")) == (0, "/made/here")


async def test_log_format(pods: Pods) -> None:
    script = "import sys; print('a' * 40000); print('err', file=sys.stderr); print(); sys.stdout.write('no end')"
    assert (await pods.run("a", sys_python(), "-c", script)).exit_code == 0

    out = [(tag, text) for stream, tag, text in pods.entries("a") if stream == "stdout"]
    assert out == [
        ("P", "a" * 16384),
        ("P", "a" * 16384),
        ("F", "a" * (40000 - 2 * 16384)),
        ("F", ""),
        ("P", "no end"),
    ]
    assert pods.output("a", stream="stderr") == "err"


def sys_python() -> str:
    return "/usr/bin/python3"


async def test_container_sees_its_own_world_only(pods: Pods) -> None:
    secret = pods.directory / "secret"
    secret.write_text("x")
    script = (
        "cat /proc/1/comm; ls /home /root | grep -v : ; hostname; id -u; umask; "
        f"cat {secret} 2>&1; ls {pods.directory} 2>&1; cat /etc/shadow 2>&1; "
        "for d in /proc/[0-9]*; do echo $d; done; ls /sys/class/net"
    )
    state = await pods.run("seen", "sh", "-c", script)
    lines = pods.output("seen").split("\n")

    assert lines[:1] == ["sh"]
    assert "seen" in lines
    assert "0022" in lines
    assert state.exit_code == 0
    assert not [line for line in lines if line == "x"]
    assert sorted(line for line in lines if line in ("eth0", "lo")) == ["eth0", "lo"]
    assert len([line for line in lines if line.startswith("/proc/")]) <= 2
    assert not [line for line in lines if line.startswith("root:")]


async def test_environment_descriptors_and_session(pods: Pods) -> None:
    script = (
        "import os, signal, sys; print(sorted(os.listdir('/proc/self/fd'))[:3], len(os.listdir('/proc/self/fd'))); "
        "print(os.readlink('/proc/self/fd/0')); print(os.getsid(0), os.getpid()); print(sorted(os.environ)); "
        "print(signal.getsignal(signal.SIGHUP) is signal.SIG_DFL, signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    )
    await pods.run("a", sys_python(), "-c", script, env={"A": "1"})
    lines = pods.output("a").split("\n")
    assert lines[0] == "['0', '1', '2'] 4"
    assert lines[1] == "/dev/null"
    assert lines[2] == "1 1"
    assert set(eval(lines[3])) - {"LC_CTYPE"} == {"A", "HOME", "PATH"}
    assert lines[4] == "True set()"


async def test_files_of_etc(pods: Pods) -> None:
    name = "worker-0.job.default.svc.cluster.local"
    hosts = {"192.0.2.7": ("other", "another")}
    sandbox = await pods.create("worker-0", fqdn=name, hosts=hosts, dns_options=("ndots:5", "timeout:2"))
    state = await pods.run("worker-0", "cat", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", sandbox=sandbox)
    text = pods.output("worker-0").split("\n")

    assert state.exit_code == 0
    assert f"{sandbox.address}\t{name}\tworker-0" in text
    assert "192.0.2.7\tother\tanother" in text
    assert "worker-0" in text
    assert f"nameserver {pods.runtime.gateway}" in text
    assert "search default.svc.cluster.local svc.cluster.local cluster.local" in text
    assert "options ndots:5 timeout:2" in text


async def test_mounts(pods: Pods, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "in").write_text("hello")
    config = tmp_path / "config.txt"
    config.write_text("setting")
    mounts = (
        Mount(str(shared), "/var/run/deep/data"),
        Mount(str(shared), "/data", read_only=True),
        Mount(str(config), "/etc/app/config.txt", read_only=True),
    )
    script = (
        "cat /var/run/deep/data/in /etc/app/config.txt; echo out > /run/deep/data/out; cat /data/out; "
        "echo no > /data/refused || echo refused; echo no > /etc/app/config.txt || echo refused"
    )
    state = await pods.run("a", "sh", "-c", script, mounts=mounts)
    assert state.exit_code == 0
    assert pods.output("a").split("\n") == ["hellosetting" + "out", "refused", "refused"]
    assert (shared / "out").read_text() == "out\n"
    assert config.read_text() == "setting"


async def test_image_environment_and_files_stay_untouched(pods: Pods, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "tool").write_text(
        "#!/bin/sh\necho from the image; echo more >> /opt/venv/bin/tool; cat /app/x\n"
    )
    (environment / "bin" / "tool").chmod(0o755)
    code = tmp_path / "code"
    code.mkdir()
    (code / "x").write_text("code\n")
    single = tmp_path / "single"
    single.write_text("one\n")
    before = (environment / "bin" / "tool").read_text()
    image = ImageRoot(environment=str(environment), files=(Mount(str(code), "/app"), Mount(str(single), "/etc/single")))
    state = await pods.run(
        "a",
        "sh",
        "-c",
        "tool; echo changed > /app/x; cat /app/x; echo changed > /etc/single; cat /etc/single",
        image=image,
        env={"PATH": "/opt/venv/bin:/usr/bin:/bin"},
    )
    assert state.exit_code == 0
    assert pods.output("a").split("\n") == ["from the image", "code", "changed", "changed"]
    assert (environment / "bin" / "tool").read_text() == before
    assert (code / "x").read_text() == "code\n"
    assert single.read_text() == "one\n"


async def test_interpreter_is_shown_at_its_own_path(pods: Pods) -> None:
    prefix = Path(sys.base_prefix)
    if prefix == Path("/usr"):
        pytest.skip("the interpreter is the system's, which is shown anyway")
    state = await pods.run(
        "a", f"{prefix}/bin/python3", "-c", "import json; print('ok')", image=ImageRoot(interpreter=str(prefix))
    )
    assert (state.exit_code, pods.output("a")) == (0, "ok"), state


async def test_writes_stay_in_the_container(pods: Pods) -> None:
    sandbox = await pods.create("a")
    script = "set -e; for f in /x /usr/x /etc/x /opt/x /var/x /tmp/x /root/x /dev/shm/x; do echo 1 > $f; done"
    state = await pods.run("a", "sh", "-c", script, sandbox=sandbox)
    assert state.exit_code == 0, pods.output("a", stream="stderr")
    assert not any("x" in os.listdir(top) for top in ("/", "/usr", "/etc", "/opt", "/var"))
    # The pod's containers share memory, and nothing else.
    state = await pods.run("a", "sh", "-c", "cat /dev/shm/x; ls /x /usr/x /tmp/x", sandbox=sandbox, name="other")
    assert pods.output("a", "other") == "1"
    assert state.exit_code != 0


async def test_read_only_root(pods: Pods) -> None:
    script = (
        "for f in /x /usr/x /etc/x /tmp/x /var/x; do echo 1 > $f && echo wrote $f; done; echo 1 > /dev/shm/x; echo $?"
    )
    state = await pods.run("a", "sh", "-c", script, read_only_root=True)
    assert state.phase == "exited", state
    assert pods.output("a") == "0"


async def test_privileges(pods: Pods) -> None:
    script = (
        "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; mount -t tmpfs x /mnt; mknod /dev/sda b 8 0; dmesg -C"
    )
    state = await pods.run("a", "sh", "-c", script)
    lines = dict(line.split(":\t") for line in pods.output("a").split("\n"))
    assert lines["CapEff"] == lines["CapBnd"] == "00000000a00425fb"
    assert lines["NoNewPrivs"] == "0"
    assert state.exit_code != 0
    assert len(pods.output("a", stream="stderr").split("\n")) >= 3


async def test_other_user(pods: Pods) -> None:
    script = "id -u; id -g; grep CapEff /proc/self/status; echo mine > /tmp/mine; cat /tmp/mine"
    state = await pods.run("a", "sh", "-c", script, uid=1000, gid=1000)
    assert state.exit_code == 0, pods.output("a", stream="stderr")
    assert pods.output("a").split("\n") == ["1000", "1000", "CapEff:\t0000000000000000", "mine"]


async def test_termination_message(pods: Pods) -> None:
    state = await pods.run("a", "sh", "-c", "echo why > /dev/termination-log; exit 1")
    assert state.message == "why\n"
    state = await pods.run("b", "sh", "-c", "echo why > /tmp/why", termination_message_path="/tmp/why", uid=1000)
    assert state.message == "why\n"


async def test_two_containers_share_the_network(pods: Pods) -> None:
    sandbox = await pods.create("a")
    server = "import socket; s = socket.create_server(('127.0.0.1', 80)); print('up', flush=True); s.accept()"
    await sandbox.start(pods.container("a", sys_python(), "-c", server, name="server"))
    await pods.until(lambda: "up" in pods.output("a", "server"))
    client = "import socket; socket.create_connection(('localhost', 80))"
    await sandbox.start(pods.container("a", sys_python(), "-c", client, name="client"))
    ends = [await pods.exit_of(sandbox), await pods.exit_of(sandbox)]
    assert {end.name: end.exit_code for end in ends} == {"server": 0, "client": 0}


async def test_container_is_started_once(pods: Pods) -> None:
    sandbox = await pods.create("a")
    await sandbox.start(pods.container("a", "sleep", "1000"))
    with pytest.raises(SandboxError, match="still runs"):
        await sandbox.start(pods.container("a", "sleep", "1000", attempt=1))


async def test_destroy_leaves_nothing(pods: Pods) -> None:
    mounts = own_mounts(pods)
    sandbox = await pods.create("a")
    state = await sandbox.start(pods.container("a", "sh", "-c", "sleep 1000 & mkdir -p /tmp/a/b; exec sleep 1000"))
    supervisor = int(text_of(f"/proc/{state.pid}/stat").rpartition(")")[2].split()[1])
    started = linux.start_time(supervisor)
    namespace = os.stat(f"/proc/{state.pid}/ns/net").st_ino
    await sandbox.destroy()

    assert not sandbox.alive
    assert str(state.pid) not in os.listdir("/proc")
    assert not linux.is_alive(supervisor, started)
    assert namespace not in namespaces()
    # Links of pods are in the node's namespace; that it leaves none in the machine's is what its account says.
    assert own_mounts(pods) == mounts
    assert os.listdir(pods.path("a")) == ["logs"]
    assert await pods.runtime.adopt() == []
    # The kernel takes a namespace's link away a moment after its last process has ended, and says so nowhere. A try
    # that the link goes from under is not told: it ends with TCP's own patience.
    async with asyncio.timeout(30):
        while "No route to host" not in await failure_to_dial(pods, sandbox.address):
            await asyncio.sleep(0.01)


async def failure_to_dial(pods: Pods, address: str) -> str:
    try:
        async with asyncio.timeout(5):
            (await pods.runtime.dial(address, 80)).close()
    except OSError as error:
        return str(error)
    raise AssertionError(f"somebody answers at {address}")


def own_mounts(pods: Pods) -> list[str]:
    """Those of this node, of all that the machine shows: others' come and go."""
    return [line for line in text_of("/proc/self/mounts").splitlines() if str(pods.directory) in line]


def text_of(path: str) -> str:
    return Path(path).read_text()


def namespaces() -> set[int]:
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.add(os.stat(f"/proc/{name}/ns/net").st_ino)
            except OSError:
                continue
    return found


async def test_remove_deletes_what_containers_wrote(pods: Pods, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    deep = "d/" * 300
    script = f"cd /data && mkdir -p locked && touch locked/x && chmod 0 locked && mkdir -p {deep} && touch {deep}/x"
    state = await pods.run("a", "sh", "-c", script, mounts=(Mount(str(volume), "/data"),), uid=1000, gid=1000)
    assert state.exit_code == 0, pods.output("a", stream="stderr")
    await pods.runtime.remove(str(volume))
    assert os.listdir(tmp_path) == []
    await pods.runtime.remove(str(volume))


async def test_host_network(pods: Pods) -> None:
    sandbox = await pods.create("a", host_network=True)
    state = await pods.run("a", "ls", "/sys/class/net", sandbox=sandbox)
    assert state.exit_code == 0, state
    assert set(pods.output("a").split("\n")) == set(os.listdir("/sys/class/net"))


@pytest.mark.parametrize("parent", ["/var/tmp", "/opt", "/etc"])
async def test_data_below_what_is_shown(pods: Pods, parent: str) -> None:
    """The layers are inside the directories that they are layers of; nothing of that is seen inside."""
    if not os.access(parent, os.W_OK):
        pytest.skip(f"{parent} is not this user's to write")
    directory = Path(tempfile.mkdtemp(prefix="homeport:a,b\\ ", dir=parent))
    pods = type(pods)(directory)
    environment = directory / "images" / "venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "tool").symlink_to("/usr/bin/true")
    try:
        await pods.runtime.start()
        script = f"/opt/venv/bin/tool && ls -d '{directory}'; echo x > {parent}/x && cat {parent}/x"
        image = ImageRoot(environment=str(environment))
        state = await pods.run("a", "sh", "-c", script, image=image)
        assert state.exit_code == 0, (state.message, pods.output("a", stream="stderr"))
        assert pods.output("a") == "x"
        assert "No such file" in pods.output("a", stream="stderr")
    finally:
        await pods.runtime.stop(end_pods=True)
        shutil.rmtree(directory)


async def test_devices_come_by_name_only(pods: Pods) -> None:
    mounts = (
        Mount("/dev/zero", "/dev/nothing", device=True),
        Mount("/dev", "/host/dev"),
        Mount("/dev/zero", "/dev/refused"),
    )
    script = "head -c 4 /dev/nothing | od -An -tx1; ls /host/dev/zero; head -c 4 /dev/refused; head -c 4 /host/dev/zero"
    state = await pods.run("a", "sh", "-c", script, mounts=mounts)
    assert state.exit_code != 0
    assert pods.output("a").split("\n") == [" 00 00 00 00", "/host/dev/zero"]
    assert "Permission denied" in pods.output("a", stream="stderr")
