"""What a container can do and can't: its securityContext, and what it tries although it should not."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.node import seccomp
from homeport.node.runtime import Mount, NotYet, Security, Wanted
from homeport.node.sandbox import linux
from homeport.node.sandbox.capabilities import ALL, DEFAULT, NUMBERS

Pods = Any
PYTHON = "/usr/bin/python3"
STATUS = "grep -E '^(Uid|Gid|Groups|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status"


async def status_of(pods: Pods, name: str, **changes: Any) -> dict[str, str]:
    state = await pods.run(name, "sh", "-c", STATUS, **changes)
    assert state.exit_code == 0, state
    return {key: value.strip() for key, value in (line.split(":") for line in pods.output(name).split("\n"))}


@pytest.mark.needs_ids
async def test_ids_and_groups(pods: Pods) -> None:
    found = await status_of(pods, "a", uid=1234, gid=5678, groups=(9, 10))
    assert found["Uid"].split()[:2] == ["1234", "1234"]
    assert found["Gid"].split()[:2] == ["5678", "5678"]
    assert found["Groups"].split() == ["9", "10"]
    assert found["CapEff"] == "0000000000000000"


@pytest.mark.needs_ids
async def test_users_by_the_containers_own_files(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbroken line\n")
    (tmp_path / "group").write_text("root:x:0:\napp:x:1001:\nmore:x:7:other,app\n")
    mounts = (Mount(str(tmp_path / "passwd"), "/etc/passwd"), Mount(str(tmp_path / "group"), "/etc/group"))
    sandbox = await pods.create("a")

    async def show(**changes: Any) -> str:
        state = await pods.run(
            "a", "sh", "-c", "id -u; id -g; id -G; echo $HOME", sandbox=sandbox, mounts=mounts, **changes
        )
        return pods.output("a", changes["name"]) if state.exit_code == 0 else state.message

    assert await show(name="named", user="app") == "1000\n1001\n1001 7\n/home/app"
    assert await show(name="group", user="app:more") == "1000\n7\n7\n/home/app"
    assert await show(name="number", user="1000", only_these_groups=True) == "1000\n1001\n1001\n/home/app"
    assert await show(name="pods", user="app", uid=77, gid=88) == "77\n88\n88\n/"
    assert await show(name="unknown", user="nobody") == "unable to find user nobody: no matching entries in passwd file"


async def test_capabilities_and_no_new_privileges(pods: Pods) -> None:
    wanted = Security(capabilities=frozenset({NUMBERS["NET_ADMIN"]}), no_new_privileges=True)
    found = await status_of(pods, "a", security=wanted)
    assert (found["CapEff"], found["CapBnd"], found["NoNewPrivs"]) == ("0000000000001000", "0000000000001000", "1")
    # The network is the pod's own: its administrator may change it.
    state = await pods.run("b", "ip", "link", "set", "lo", "down", security=Security(DEFAULT | {NUMBERS["NET_ADMIN"]}))
    assert state.exit_code in (0, 127), state


async def test_seccomp(pods: Pods) -> None:
    default = seccomp.default_profile(DEFAULT)
    script = f"{STATUS}; unshare -U true 2>&1; mkdir /tmp/x && echo made"
    for name, wanted in (
        ("kept", Security(seccomp=default, no_new_privileges=True)),
        ("free", Security(seccomp=default)),
    ):
        state = await pods.run(name, "sh", "-c", script, security=wanted, uid=1000)
        text = pods.output(name)
        assert state.exit_code == 0, state
        assert "Seccomp:\t2" in text
        assert "Operation not permitted" in text
        assert "made" in text
    found = await status_of(pods, "none")
    assert found["Seccomp"] == "0"


@pytest.mark.needs_ids
async def test_a_command_is_confined_as_its_container(pods: Pods) -> None:
    wanted = Security(frozenset({NUMBERS["KILL"]}), True, seccomp.default_profile(DEFAULT))
    sandbox = await pods.create("a")
    await sandbox.start(pods.container("a", "sleep", "1000", security=wanted, uid=1000, gid=7, groups=(8,)))
    session = await sandbox.execute("main", ["sh", "-c", STATUS], Wanted(stdout=True))
    assert session.stdout is not None
    text = b""
    while part := await session.stdout.read():
        text += part
    assert await session.wait() == 0
    session.close()
    found = {key: value.strip() for key, value in (line.split(":") for line in text.decode().strip().split("\n"))}
    assert (found["CapBnd"], found["NoNewPrivs"], found["Seccomp"]) == ("0000000000000020", "1", "2")
    assert (found["Uid"].split()[0], found["Gid"].split()[0], found["Groups"]) == ("1000", "7", "8")


async def test_whoever_runs_may_listen_on_low_ports_and_open_its_own_output(pods: Pods) -> None:
    script = "import socket; socket.create_server(('', 80)); open('/dev/stdout', 'w').write('hello\\n')"
    state = await pods.run("a", PYTHON, "-c", script, uid=1000)
    assert (state.exit_code, pods.output("a")) == (0, "hello"), pods.output("a", stream="stderr")


async def test_sysctls(pods: Pods) -> None:
    wanted = {"kernel.shm_rmid_forced": "1", "net.ipv4.ip_local_port_range": "40000 40100"}
    sandbox = await pods.create("a", sysctls=wanted)
    script = "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_local_port_range"
    await pods.run("a", "sh", "-c", script, sandbox=sandbox)
    assert pods.output("a").split() == ["1", "40000", "40100"]
    assert text_of("/proc/sys/net/ipv4/ip_local_port_range").split() != ["40000", "40100"]


@pytest.mark.needs_ids
async def test_shared_processes(pods: Pods) -> None:
    sandbox = await pods.create("a", processes="pod")
    await sandbox.start(pods.container("a", "sh", "-c", "sleep 1234 & exec sleep 2345", name="first"))
    script = (
        "cat /proc/1/comm; for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done; "
        "ls /proc/1/root/ /proc/1/cwd/ /proc/1/fd/ 2>&1; kill -9 1; kill -9 -1 2>&1; echo on"
    )
    state = await pods.run("a", "sh", "-c", script, sandbox=sandbox, name="second", uid=1000)
    text = pods.output("a", "second")
    assert (state.exit_code, text.split("\n")[0]) == (0, "pause"), text
    assert "sleep 1234" in text
    assert "sleep 2345" in text
    assert "on" in text.split("\n")
    # Nothing to be seen through the process that holds the namespace, whoever looks.
    looks = Security(DEFAULT | {NUMBERS["SYS_PTRACE"]})
    state = await pods.run(
        "a", "sh", "-c", "ls -A /proc/1/root/; ls /proc/1/fd/", sandbox=sandbox, name="third", security=looks
    )
    assert pods.output("a", "third") == ""
    # A container takes all of its processes along, though none of them is process 1.
    first = sandbox.containers()["first"].pid
    members = {first, *(int(p) for p in os.listdir("/proc") if p.isdigit() and parent_of(int(p)) == first)}
    await sandbox.signal("first", 9)
    assert (await pods.exit_of(sandbox)).exit_code == 137
    assert all(has_ended(pid) for pid in members)
    await sandbox.destroy()


def exists(path: str) -> bool:
    return os.path.lexists(path)


def has_ended(pid: int) -> bool:
    """Whether no process runs with that pid. Whoever inherits one that has ended may not have reaped it yet: its entry
    in /proc goes a moment later."""
    try:
        linux.start_time(pid)
    except ProcessLookupError:
        return True
    return False


def text_of(path: str) -> str:
    return Path(path).read_text()


def change_mode(path: str) -> None:
    os.chmod(path, os.stat(path).st_mode & 0o7777)


def parent_of(pid: int) -> int:
    try:
        return int(text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
    except OSError:
        return 0


async def test_processes_of_the_machine(pods: Pods) -> None:
    sandbox = await pods.create("a", processes="host")
    state = await sandbox.start(pods.container("a", "sh", "-c", "sleep 1111 & echo $$; exec sleep 1000"))
    await pods.until(lambda: pods.output("a"))
    assert int(pods.output("a")) == state.pid
    child = next(int(p) for p in os.listdir("/proc") if p.isdigit() and parent_of(int(p)) == state.pid)
    await sandbox.signal("main", 9)
    await pods.exit_of(sandbox)
    assert has_ended(child)
    # What the machine's processes have open and see is not the container's to look into.
    script = (
        f"for w in root/ cwd/ fd/0; do ls -L /proc/{os.getpid()}/$w && echo $w; done; cat /proc/{os.getpid()}/environ"
    )
    await pods.run("a", "sh", "-c", script, sandbox=sandbox, name="looks")
    assert pods.output("a", "looks") == ""


@pytest.fixture
def platforms_memory() -> Iterator[Path]:
    """A directory as platforms have it for their pods' secrets."""
    directory = Path(f"/dev/shm/homeport-test-{os.getpid()}")
    directory.mkdir()
    (directory / "token").write_text("secret")
    yield directory
    shutil.rmtree(directory)


async def test_ipc_of_the_machine(pods: Pods, platforms_memory: Path) -> None:
    sandbox = await pods.create("a", host_ipc=True)
    state = await pods.run("a", "sh", "-c", f"ls {platforms_memory}; readlink /proc/self/ns/ipc", sandbox=sandbox)
    assert (state.exit_code, pods.output("a")) == (0, os.readlink("/proc/self/ns/ipc"))


# Containers that try.


async def test_sub_paths_never_lead_out(pods: Pods, tmp_path: Path) -> None:
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    volume.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (volume / "direct").symlink_to(outside)
    (volume / "up").symlink_to("../outside")
    (volume / "magic").symlink_to("/proc/self/root")
    (volume / "inside").mkdir()
    (volume / "fine").symlink_to("inside")
    sandbox = await pods.create("a")
    for inner in ("direct", "up", "direct/made", "magic", "magic/etc"):
        mounts = (Mount(str(volume), "/data", sub_path=inner),)
        words = "magic" if inner.startswith("magic") else f"subPath {inner} leads out of the volume {volume}$"
        with pytest.raises(NotYet, match=words) as waits:
            await pods.run("a", "ls", "/data", sandbox=sandbox, mounts=mounts)
        assert waits.value.reason == "CreateContainerConfigError"
    assert sorted(os.listdir(outside)) == ["secret"]
    assert not sandbox.containers()
    # None of it counts as an attempt: the container begins as soon as its path is right.
    (volume / "direct").unlink()
    mounts = (Mount(str(volume), "/data", sub_path="direct"),)
    state = await pods.run("a", "ls", "/data", sandbox=sandbox, mounts=mounts)
    assert (state.exit_code, state.attempt) == (0, 0)
    for number, inner in enumerate(("fine", "fine/deep/er")):
        mounts = (Mount(str(volume), "/data", sub_path=inner),)
        state = await pods.run("a", "sh", "-c", "echo x > /data/x", sandbox=sandbox, attempt=10 + number, mounts=mounts)
        assert state.exit_code == 0, state
    assert (volume / "inside/x").read_text() == (volume / "inside/deep/er/x").read_text() == "x\n"


async def test_mount_targets_are_the_containers_own(pods: Pods, tmp_path: Path) -> None:
    """A volume that another container has filled with links, and a mount below it."""
    volume, data, witness = tmp_path / "volume", tmp_path / "data", tmp_path / "witness"
    for directory in (volume, data, witness):
        directory.mkdir()
    sandbox = await pods.create("a")
    for number, link in enumerate((f"/proc/self/root{witness}", "/proc/1/root/etc", "/proc/self/fd/7", "/proc/sys")):
        (volume / "link").unlink(missing_ok=True)
        (volume / "link").symlink_to(link)
        mounts = (Mount(str(volume), "/v"), Mount(str(data), "/v/link/made"))
        state = await pods.run("a", "true", sandbox=sandbox, attempt=number, mounts=mounts)
        assert state.reason == "StartError", link
    (volume / "link").unlink()
    (volume / "link").symlink_to("/srv")
    state = await pods.run(
        "a",
        "ls",
        "/srv",
        sandbox=sandbox,
        attempt=9,
        mounts=(Mount(str(volume), "/v"), Mount(str(data), "/v/link/x")),
    )
    # In the container's root the link leads to a place of the container's.
    assert (state.exit_code, pods.output("a")) == (0, "x")
    assert not exists("/srv/x")
    assert os.listdir(witness) == []


@pytest.mark.parametrize("target", ["/proc", "/proc/sys/kernel", "/proc/self/attr", "/x/../proc/1", "/"])
async def test_nothing_is_mounted_in_proc(pods: Pods, tmp_path: Path, target: str) -> None:
    state = await pods.run("a", "true", mounts=(Mount(str(tmp_path), target),))
    assert state.reason == "StartError"
    assert "/proc" in state.message or target == "/"


async def test_the_interpreter_behind_a_container_cant_be_written(pods: Pods) -> None:
    """CVE-2019-5736: whoever gets hold of /proc/PID/exe before the container's command is executed."""
    sandbox = await pods.create("a")
    state = await sandbox.start(pods.container("a", "sleep", "1000"))
    supervisor = parent_of(state.pid)
    # Opening it for writing says "text file busy" as long as one process runs it, and that passes: whether the mount it
    # was found at can be written to is what a change of its mode tells.
    with pytest.raises(OSError) as caught:
        change_mode(f"/proc/{supervisor}/exe")
    assert caught.value.errno == errno.EROFS
    await sandbox.destroy()


async def test_helpers_of_a_command_are_not_seen_by_the_container(pods: Pods) -> None:
    """All that shows up in a container while commands are started there has the container's own rights."""
    sandbox = await pods.create("a")
    watch = """
import os, sys, time
own, seen, end = os.getpid(), set(), time.time() + 4
while time.time() < end:
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != own:
            try:
                text = open(f"/proc/{name}/status").read()
            except OSError:
                continue
            seen.add(next(line for line in text.splitlines() if line.startswith("CapPrm")).split()[1])
            for what in ("exe", "root", "fd/3", "cwd"):
                try:
                    link = os.readlink(f"/proc/{name}/{what}")
                except OSError:
                    continue
                if "python" in link and "/usr/bin" not in link or "node" in link:
                    print("saw", link)
print(sorted(seen))
"""
    await sandbox.start(pods.container("a", PYTHON, "-c", watch))
    while sandbox.containers()["main"].phase == "running":
        try:
            session = await sandbox.execute("main", ["true"], Wanted())
        except Exception:
            break
        await session.wait()
        session.close()
    assert pods.output("a") == f"['{sum(1 << number for number in DEFAULT):016x}']"


async def test_no_way_to_the_machine(pods: Pods) -> None:
    """A root user in a container tries what has worked elsewhere."""
    witness = pods.directory / "state"
    witness.write_text("untouched")
    script = f"""
import ctypes, os, socket, stat
libc = ctypes.CDLL(None, use_errno=True)
done = []
def attempt(name, what):
    try:
        if what() not in (-1, None):
            done.append(name)
    except OSError:
        pass
def write(path, text="x"):
    with open(path, "w") as file:
        file.write(text)
    return True
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger", "/sys/power/state",
             "/sys/kernel/uevent_helper", "/proc/sys/vm/overcommit_memory", "/proc/self/root{witness}", "{witness}"):
    attempt(path, lambda: write(path))
for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware/dmi/tables/DMI", "/dev/mem", "/dev/kmsg"):
    attempt(path, lambda: os.path.getsize(path) or open(path, "rb").read(16) or None)
os.makedirs("/tmp/m", exist_ok=True)
attempt("mount", lambda: libc.mount(b"none", b"/tmp/m", b"tmpfs", 0, None))
attempt("remount", lambda: libc.mount(b"none", b"/proc/sys", b"", 32, None))
attempt("pivot", lambda: libc.syscall(155, b"/", b"/tmp/m"))
attempt("setns", lambda: libc.setns(os.open("/proc/1/ns/mnt", os.O_RDONLY), 0) if os.getpid() != 1 else -1)
attempt("module", lambda: libc.syscall(175, b"", 0, b""))
attempt("reboot", lambda: libc.syscall(169, 0xfee1dead, 672274793, 0, None))
attempt("settime", lambda: libc.syscall(227, 0, (ctypes.c_long * 2)(0, 0)))
attempt("hostname", lambda: libc.sethostname(b"x", 1))
attempt("swap", lambda: libc.syscall(168, b"/swap"))
attempt("dmesg", lambda: libc.syscall(103, 3, ctypes.create_string_buffer(64), 64))
def device():
    os.mknod("/tmp/sda", stat.S_IFBLK | 0o600, os.makedev(8, 0))
    return len(open("/tmp/sda", "rb").read(1))
attempt("device", device)
def handle():
    # open_by_handle_at, which walks a file system from any file of it ("shocker").
    handle = (ctypes.c_ubyte * 136)()
    ctypes.cast(handle, ctypes.POINTER(ctypes.c_uint))[0] = 128
    where = ctypes.c_int()
    if libc.name_to_handle_at(-100, b"/etc/hostname", handle, ctypes.byref(where), 0) == -1:
        return -1
    return libc.open_by_handle_at(os.open("/etc", os.O_RDONLY), handle, 0)
attempt("handle", handle)
for place in ("/proc/1/root", "/proc/self/root/..", "/proc/self/cwd/../../../.."):
    attempt(place, lambda: os.path.exists(place + "{pods.directory}") or None)
for number in range(3, 64):
    attempt("fd", lambda: os.fstat(number) and (number, os.readlink(f"/proc/self/fd/{{number}}")))
for path in ("{pods.directory}/node/zygote.sock", "{pods.path("a")}/sandbox.sock"):
    attempt(path, lambda: socket.socket(socket.AF_UNIX).connect(path[-107:]) or True)
print(done)
"""
    state = await pods.run("a", PYTHON, "-c", script)
    assert (state.exit_code, pods.output("a")) == (0, "[]"), (state, pods.output("a", stream="stderr"))
    assert witness.read_text() == "untouched"


@pytest.mark.needs_ids
async def test_the_helpers_sockets_are_their_owners_only(pods: Pods) -> None:
    sandbox = await pods.create("a")
    for path in (pods.directory / "node" / "zygote.sock", Path(sandbox.directory) / "sandbox.sock"):
        assert path.stat().st_mode & 0o077 == 0
    # Even where a container is shown the directory, another user can't connect.
    script = "import os, socket; os.chdir('/pod'); socket.socket(socket.AF_UNIX).connect('sandbox.sock')"
    mounts = (Mount(sandbox.directory, "/pod"),)
    state = await pods.run("a", PYTHON, "-c", script, sandbox=sandbox, mounts=mounts, uid=1000)
    assert "PermissionError" in pods.output("a", stream="stderr"), state


async def test_a_log_file_is_no_link(pods: Pods, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    (pods.path("a") / "logs").mkdir(parents=True)
    (pods.path("a") / "logs" / "main.log").symlink_to(victim)
    state = await pods.run("a", "echo", "hello")
    assert (state.reason, victim.read_text()) == ("StartError", "")


async def test_keys_of_the_session_are_not_shared(pods: Pods) -> None:
    state = await pods.run("a", PYTHON, "-c", "import ctypes; print(ctypes.CDLL(None).syscall(250, 0, -3, 0))")
    mine = str(ctypes.CDLL(None).syscall(250, 0, -3, 0))
    assert state.exit_code == 0
    assert pods.output("a") == "-1" or pods.output("a") != mine


async def test_privileged(pods: Pods) -> None:
    found = await status_of(pods, "a", security=Security(capabilities=ALL, privileged=True))
    assert int(found["CapEff"], 16) & (1 << NUMBERS["SYS_ADMIN"])
    # The kernel's settings are the machine's root's, also those of a user namespace's own.
    settings = "test -w /proc/sys/kernel/hostname" if os.geteuid() == 0 else "true"
    script = f"mount -t tmpfs x /mnt && {settings} && ls /dev/null /dev/kmsg"
    state = await pods.run("b", "sh", "-c", script, security=Security(capabilities=ALL, privileged=True))
    assert state.exit_code == 0 or not exists("/dev/kmsg"), pods.output("b", stream="stderr")
    assert socket.gethostname() != "b"


@pytest.fixture
def open_volume(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.mark.needs_ids
@pytest.mark.parametrize(("sealed", "expected"), [(False, "0"), (True, "1000")])
async def test_setuid_programs(pods: Pods, open_volume: Path, sealed: bool, expected: str) -> None:
    mounts = (Mount(str(open_volume), "/v"),)
    sandbox = await pods.create("a")
    made = await pods.run("a", "sh", "-c", "cp /usr/bin/id /v/id && chmod 4755 /v/id", sandbox=sandbox, mounts=mounts)
    assert made.exit_code == 0
    state = await pods.run(
        "a",
        "/v/id",
        "-u",
        sandbox=sandbox,
        name="other",
        mounts=mounts,
        uid=1000,
        security=Security(no_new_privileges=sealed),
    )
    assert (state.exit_code, pods.output("a", "other")) == (0, expected)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A directory whose mounts others are told of, as the root of a machine with systemd is."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    directory = tmp_path / "shared"
    directory.mkdir()
    linux.mount(str(directory), str(directory), "", linux.MS_BIND)
    linux.mount("", str(directory), "", 1 << 20)  # MS_SHARED
    yield directory
    linux.unmount(str(directory), linux.MNT_DETACH)


async def test_what_the_machine_mounts_later(shared: Path, pods: Pods) -> None:
    for name in ("a", "b"):
        (shared / name).mkdir()
    mounts = (Mount(str(shared), "/follows", follows=True), Mount(str(shared), "/stays"))
    script = "trap 'ls /follows/a /stays/a; exit' TERM; echo up; while :; do sleep 0.05; done"
    sandbox = await pods.create("p")
    await sandbox.start(pods.container("p", "sh", "-c", script, mounts=mounts))
    await pods.until(lambda: "up" in pods.output("p"))
    linux.mount("later", str(shared / "a"), "tmpfs")
    (shared / "a" / "file").write_text("")
    try:
        await sandbox.signal("main", signal.SIGTERM)
        await pods.exit_of(sandbox)
    finally:
        linux.unmount(str(shared / "a"))
    assert pods.output("p").split() == ["up", "/follows/a:", "file", "/stays/a:"]
