"""Pods together and over time: their network, and what is left when one of the processes behind them is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from leftovers import processes

import homeport
from homeport.node.messages import container_message
from homeport.node.process import ProcessRuntime
from homeport.node.runtime import SandboxError
from homeport.node.sandbox import linux, spec
from homeport.node.supervised import connect

Pods = Any
PYTHON = "/usr/bin/python3"
SERVER = """
import socket, sys
server = socket.create_server(("", 2222))
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(socket.gethostname().encode())
    connection.close()
"""
CLIENT = """
import socket, sys
for name in sys.argv[1:]:
    connection = socket.create_connection((name, 2222), timeout=10)
    print(connection.recv(100).decode(), connection.getpeername()[0])
"""
COUNTER = "i=0; while [ $i -lt {count} ]; do echo $i; i=$((i+1)); {pause} done; exit 5"


async def serve(pods: Pods, name: str) -> Any:
    sandbox = await pods.create(name)
    await sandbox.start(pods.container(name, PYTHON, "-c", SERVER))
    await pods.until(lambda: "listening" in pods.output(name))
    return sandbox


def helper_pid(pods: Pods) -> int:
    return json.loads((pods.directory / "node" / "netd.json").read_text())[0]


def supervisor_pid(pods: Pods, name: str) -> int:
    return json.loads((pods.path(name) / "state.json").read_text())["pid"]


def kill(pid: int) -> None:
    """Kill a process that a test's runtime started, and wait for its end."""
    handle = os.pidfd_open(pid)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    select.select([handle], [], [])
    os.close(handle)


def is_running(pid: int) -> bool:
    try:
        linux.start_time(pid)
    except ProcessLookupError:
        return False
    return True


async def test_pods_bind_one_port_and_meet_by_name(pods: Pods) -> None:
    a, b = await asyncio.gather(serve(pods, "job-worker-0"), serve(pods, "job-worker-1"))
    assert a.address != b.address
    await pods.runtime.set_records(
        {
            "job-worker-0.default.svc.cluster.local": (a.address,),
            "job-worker-1.default.svc.cluster.local": (b.address,),
        }
    )
    names = ("job-worker-0.default.svc", "job-worker-1", "JOB-worker-1.default.svc.cluster.local.")
    state = await pods.run("client", PYTHON, "-c", CLIENT, *names)
    assert state.exit_code == 0, pods.output("client", stream="stderr")
    assert pods.output("client").split("\n") == [
        f"job-worker-0 {a.address}",
        f"job-worker-1 {b.address}",
        f"job-worker-1 {b.address}",
    ]


async def test_names_change_and_unknown_ones_fail_at_once(pods: Pods) -> None:
    script = textwrap.dedent(
        """
        import socket, sys, time
        began = time.time()
        try:
            print(socket.gethostbyname(sys.argv[1]))
        except OSError as error:
            print(error.errno, time.time() - began < 4)  # nobody waited for an answer that does not come
        """
    )
    # A name of the cluster's for sure, that is: others are asked of the machine's resolvers, which may take their time.
    await pods.run("a", PYTHON, "-c", script, "x.default.svc.cluster.local.")
    assert pods.output("a") == "-2 True"
    await pods.runtime.set_records({"x.default.svc.cluster.local": ("10.42.9.9",)})
    await pods.runtime.set_records({"x.default.svc.cluster.local": ("10.42.9.8",), "y.z.cluster.local": ("10.42.1.1",)})
    await pods.run("b", PYTHON, "-c", script, "x.default.svc")
    assert pods.output("b") == "10.42.9.8"
    await pods.runtime.set_records({"y.z.cluster.local": ("10.42.1.1",)})
    await pods.run("c", PYTHON, "-c", script, "x.default.svc.cluster.local.")
    assert pods.output("c") == "-2 True"


async def test_the_network_helper_writes_down_what_it_knows_before_it_ends(pods: Pods) -> None:
    await pods.runtime.set_records({"x.default.svc.cluster.local": ("10.42.9.9",)})
    await pods.runtime.stop(end_pods=True)
    node = pods.directory / "node"
    assert json.loads((node / "records.json").read_text()) == {"x.default.svc.cluster.local": ["10.42.9.9"]}
    assert not list(node.glob("*.json.new"))


async def test_platform_and_pods_reach_each_other(pods: Pods) -> None:
    sandbox = await serve(pods, "a")
    loop = asyncio.get_running_loop()
    with await pods.runtime.dial(sandbox.address, 2222) as connection:
        assert await loop.sock_recv(connection, 100) == b"a"
    with pytest.raises(ConnectionRefusedError):
        await pods.runtime.dial(sandbox.address, 2223)

    with await pods.runtime.listen(443) as listener:
        with pytest.raises(OSError, match="in use"):
            await pods.runtime.listen(443)
        script = f"import socket; print(socket.create_connection(('{pods.runtime.gateway}', 443)).recv(9).decode())"
        sandbox = await pods.create("b")
        await sandbox.start(pods.container("b", PYTHON, "-c", script))
        accepted, (address, _) = await loop.sock_accept(listener)
        with accepted:
            await loop.sock_sendall(accepted, b"hello")
        assert address == sandbox.address
        assert (await pods.exit_of(sandbox)).exit_code == 0
        assert pods.output("b") == "hello"


async def test_ended_sandbox_keeps_its_state_and_address_for_the_next_platform(pods: Pods) -> None:
    await pods.run("a", "sh", "-c", "exit 4")
    await pods.runtime.stop(end_pods=False)
    pods.runtime = ProcessRuntime(pods.directory / "node")
    await pods.runtime.start()
    (sandbox,) = await pods.runtime.adopt()
    assert sandbox.alive
    assert sandbox.containers()["main"].exit_code == 4
    assert (await pods.create("b")).address != sandbox.address
    state = await pods.run("a", "true", sandbox=sandbox, attempt=1)
    assert (state.attempt, state.exit_code) == (1, 0)


async def test_platform_killed_while_pods_run(pods: Pods) -> None:
    """No line and no exit code is lost, whether a container ends before, while, or after nobody listened."""
    script = textwrap.dedent(
        f"""
        import asyncio, sys
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from conftest import Pods
        COUNTER = {COUNTER!r}
        async def main():
            pods = Pods(Path({str(pods.directory)!r}))
            await pods.runtime.start()
            jobs = (("short", 10, ""), ("long", 150, "sleep 0.02;"), ("endless", 100000000, "sleep 0.05;"))
            for name, count, pause in jobs:
                sandbox = await pods.create(name)
                await sandbox.start(pods.container(name, "sh", "-c", COUNTER.format(count=count, pause=pause)))
            print("started", flush=True)
            await asyncio.sleep(1000)
        asyncio.run(main())
        """
    )
    platform = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    try:
        assert platform.stdout is not None
        assert await platform.stdout.readline() == b"started\n"
    finally:
        platform.kill()
        await platform.communicate()
    await pods.until(lambda: len(pods.entries("long")) == 150)
    sandboxes = {sandbox.uid: sandbox for sandbox in await pods.runtime.adopt()}
    assert set(sandboxes) == {"short", "long", "endless"}
    if sandboxes["long"].containers()["main"].phase == "running":
        await pods.exit_of(sandboxes["long"])
    for name, count in (("short", 10), ("long", 150)):
        state = sandboxes[name].containers()["main"]
        assert (state.phase, state.exit_code) == ("exited", 5)
        assert pods.output(name).split("\n") == [str(number) for number in range(count)]
    assert sandboxes["endless"].containers()["main"].phase == "running"
    await sandboxes["endless"].signal("main", signal.SIGKILL)
    assert (await pods.exit_of(sandboxes["endless"])).exit_code == 137
    lines = pods.output("endless").split("\n")
    assert lines == [str(number) for number in range(len(lines))]


async def test_fork_server_killed(pods: Pods) -> None:
    old = await serve(pods, "old")
    await pods.runtime.set_records({"old.default.svc.cluster.local": (old.address,)})
    kill(pods.zygote)
    state = await pods.run("new", PYTHON, "-c", CLIENT, "old.default.svc")
    assert state.exit_code == 0, pods.output("new", stream="stderr")
    assert pods.output("new") == f"old {old.address}"
    assert old.alive
    assert old.containers()["main"].phase == "running"


async def test_fork_server_and_network_helper_killed(pods: Pods) -> None:
    old = await serve(pods, "old")
    await pods.runtime.set_records({"old.default.svc.cluster.local": (old.address,)})
    kill(pods.zygote)
    kill(helper_pid(pods))
    new = await pods.create("new")
    assert new.address != old.address
    state = await pods.run("new", PYTHON, "-c", CLIENT, "old.default.svc", sandbox=new)
    assert state.exit_code == 0, pods.output("new", stream="stderr")
    assert pods.output("new") == f"old {old.address}"


async def test_network_helper_killed(pods: Pods) -> None:
    old = await serve(pods, "old")
    await pods.runtime.set_records({"old.default.svc.cluster.local": (old.address,)})
    kill(helper_pid(pods))
    (await pods.runtime.dial(old.address, 2222)).close()
    state = await pods.run("new", PYTHON, "-c", CLIENT, "old.default.svc")
    assert state.exit_code == 0, pods.output("new", stream="stderr")
    await pods.runtime.set_records({"late.default.svc.cluster.local": (old.address,)})
    state = await pods.run("newer", PYTHON, "-c", CLIENT, "late.default.svc")
    assert state.exit_code == 0, pods.output("newer", stream="stderr")


async def test_supervisor_killed(pods: Pods) -> None:
    sandbox = await serve(pods, "a")
    running = sandbox.containers()["main"]
    container = os.pidfd_open(running.pid)
    kill(supervisor_pid(pods, "a"))
    state = await pods.exit_of(sandbox)
    assert (state.exit_code, state.signal, state.reason) == (137, signal.SIGKILL, "Error")
    assert "supervisor was killed" in state.message
    assert [change async for change in sandbox.changes()] == []
    assert not sandbox.alive
    # The container went with it, and the log is there.
    await pods.until(lambda: not is_running(running.pid))
    os.close(container)
    assert pods.output("a") == "listening"

    await pods.runtime.stop(end_pods=False)
    pods.runtime = ProcessRuntime(pods.directory / "node")
    await pods.runtime.start()
    (adopted,) = await pods.runtime.adopt()
    assert adopted.containers()["main"] == state
    await adopted.destroy()
    assert os.listdir(pods.path("a")) == ["logs"]
    assert await pods.runtime.adopt() == []


async def test_sandbox_destroyed_while_its_end_is_being_found_out(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, goes_on = asyncio.Event(), asyncio.Event()
    settle = ProcessRuntime._settle

    async def late(self: ProcessRuntime, path: str) -> None:
        asked.set()
        await goes_on.wait()
        await settle(self, path)

    monkeypatch.setattr(ProcessRuntime, "_settle", late)
    sandbox = await pods.create("one")
    await sandbox.start(pods.container("one", "sleep", "1000"))
    kill(supervisor_pid(pods, "one"))
    await asked.wait()
    asyncio.get_running_loop().call_later(0.5, goes_on.set)
    await sandbox.destroy()
    assert not sandbox.alive


@pytest.mark.parametrize("adopted", [False, True])
async def test_end_that_a_killed_supervisor_has_not_heard_of(pods: Pods, adopted: bool) -> None:
    """A container that ended by itself while its supervisor could not take notice ended as it did."""
    sandbox = await pods.create("a")
    await sandbox.start(pods.container("a", "sh", "-c", "echo ready; sleep 0.3; exit 7"))
    await pods.until(lambda: pods.output("a") == "ready")
    supervisor = supervisor_pid(pods, "a")
    os.kill(supervisor, signal.SIGSTOP)
    if adopted:
        await pods.runtime.stop(end_pods=False)
    await pods.until(lambda: not is_running(sandbox.containers()["main"].pid))
    kill(supervisor)
    if adopted:
        pods.runtime = ProcessRuntime(pods.directory / "node")
        (sandbox,) = await pods.runtime.adopt()
        state = sandbox.containers()["main"]
    else:
        state = await pods.exit_of(sandbox)
    assert (state.exit_code, state.signal, state.reason) == (7, 0, "Error")
    assert not sandbox.alive


async def test_a_supervisor_killed_before_anybody_heard_of_what_it_had_started(pods: Pods) -> None:
    """The container has run: it counts as an attempt, and does not begin again as if it had not."""
    sandbox = await pods.create("a")
    other, _ = await connect(sandbox.directory)
    await other.request(op="start", spec=container_message(pods.container("a", "sh", "-c", "echo ready; sleep 300")))
    await pods.until(lambda: pods.output("a") == "ready")
    assert not sandbox.containers()
    kill(supervisor_pid(pods, "a"))
    state = await pods.exit_of(sandbox)
    assert (state.attempt, state.exit_code, state.reason) == (0, 137, "Error")
    other.close()


async def test_supervisor_killed_that_another_fork_server_made(pods: Pods) -> None:
    """Nobody has inherited its containers: how they ended is not known, and is not made up."""
    sandbox = await serve(pods, "a")
    before = pods.zygote
    kill(before)
    await pods.until(lambda: set(pods.zygotes) - {before})
    kill(supervisor_pid(pods, "a"))
    state = await pods.exit_of(sandbox)
    assert (state.exit_code, state.reason) == (137, "ContainerStatusUnknown")


async def test_fork_server_goes_with_the_last_who_needs_it(pods: Pods) -> None:
    """What outlives the platform: pods, and as long as there are any the fork server and the network helper."""
    helpers = pods.zygote, helper_pid(pods)
    await pods.runtime.stop(end_pods=False)
    await pods.until(lambda: not any(is_running(pid) for pid in helpers))
    assert not [name for name in os.listdir(pods.directory / "node") if name.endswith(".sock")]

    pods.runtime = ProcessRuntime(pods.directory / "node", hidden=[pods.directory])
    await pods.runtime.start()
    sandbox = await serve(pods, "a")
    helpers = pods.zygote, helper_pid(pods)
    await pods.runtime.stop(end_pods=False)
    other = ProcessRuntime(pods.directory / "node")
    (sandbox,) = await other.adopt()
    assert all(is_running(pid) for pid in helpers)
    await sandbox.leave(0)
    await pods.until(lambda: not any(is_running(pid) for pid in helpers))
    await other.stop(end_pods=False)


async def test_addresses_are_not_reused_at_once(pods: Pods) -> None:
    first = await pods.create("a")
    await first.destroy()
    assert (await pods.create("b")).address != first.address


async def test_create_is_refused_with_the_reason(pods: Pods) -> None:
    spec = pods.spec("a", directory=str(pods.directory / "not" / "there"))
    with pytest.raises(SandboxError, match="not/there"):
        await pods.runtime.create(spec)
    assert await pods.runtime.adopt() == []


@pytest.mark.slow
async def test_many_lines_none_lost(pods: Pods) -> None:
    script = "import sys\nfor i in range(200000): print(i)\nfor i in range(1000): print(i, file=sys.stderr)"
    assert (await pods.run("a", PYTHON, "-c", script)).exit_code == 0
    assert pods.output("a").split("\n") == [str(number) for number in range(200000)]
    assert pods.output("a", stream="stderr").split("\n") == [str(number) for number in range(1000)]


@pytest.mark.slow
async def test_a_hundred_pods_at_once(pods: Pods) -> None:
    async def one(number: int) -> Any:
        name = f"p{number}"
        sandbox = await pods.create(name)
        state = await sandbox.start(pods.container(name, "sh", "-c", f"echo {number}; exit {number}"))
        assert state.phase == "running", state
        return sandbox, await pods.exit_of(sandbox)

    done = await asyncio.gather(*(one(number) for number in range(100)))
    assert [state.exit_code for _, state in done] == list(range(100))
    assert len({sandbox.address for sandbox, _ in done}) == 100
    assert all(pods.output(f"p{number}") == str(number) for number in range(100))
    await asyncio.gather(*(sandbox.destroy() for sandbox, _ in done))
    assert len(pods.processes) == 2


@pytest.mark.parametrize(
    ("place", "name", "other"), [(spec, "VERSION", spec.VERSION + 1), (homeport, "__version__", "0.0.1")]
)
async def test_fork_server_of_another_release_is_replaced(
    pods: Pods, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, other: object
) -> None:
    old = await serve(pods, "old")
    before = pods.zygote
    await pods.runtime.stop(end_pods=False)
    pods.runtime = ProcessRuntime(pods.directory / "node")
    await pods.runtime.start()
    assert pods.zygote == before
    await pods.runtime.stop(end_pods=False)

    monkeypatch.setattr(place, name, other)
    pods.runtime = ProcessRuntime(pods.directory / "node")
    await pods.runtime.start()
    assert pods.zygote != before
    (adopted,) = await pods.runtime.adopt()
    assert adopted.containers()["main"].phase == "running"
    (await pods.runtime.dial(old.address, 2222)).close()


async def test_shutting_down_asks_first_and_keeps_how_everything_ended(pods: Pods) -> None:
    polite = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    for name, argv in (("polite", ("sh", "-c", polite)), ("deaf", ("sh", "-c", "echo ready; exec sleep 300"))):
        sandbox = await pods.create(name)
        await sandbox.start(pods.container(name, *argv))
        await pods.until(lambda name=name: pods.output(name) == "ready")  # type: ignore[misc]
    await pods.create("empty")
    await pods.runtime.shut_down(1.0)
    assert not pods.processes
    pods.runtime = ProcessRuntime(pods.directory / "node", hidden=[pods.directory])
    left = {sandbox.uid: sandbox for sandbox in await pods.runtime.adopt()}
    assert set(left) == {"polite", "deaf", "empty"}
    assert not any(sandbox.alive for sandbox in left.values())
    assert left["polite"].containers()["main"].exit_code == 9
    assert left["deaf"].containers()["main"].signal == signal.SIGKILL
    assert not left["empty"].containers()


def restart_machine(pods: Pods) -> None:
    """What a power cut leaves: nothing that runs, and records of processes of another boot. Their pids are others' by
    now: this very process's."""
    all_of_them = [pid for pid, _ in processes(pods.directory / "node")]
    for pid in all_of_them:  # at one moment: none may see another end, and write that down
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    for pid in all_of_them:
        with contextlib.suppress(ProcessLookupError):
            kill(pid)
    ticks = linux.start_time(os.getpid()).partition("@")[0]
    then = f"{ticks}@00000000-0000-0000-0000-000000000000"
    records = [*(pods.directory / "node" / "sandboxes").iterdir(), *(pods.directory / "pods").glob("*/state.json")]
    for path in records:
        path.write_text(json.dumps({**json.loads(path.read_text()), "pid": os.getpid(), "start_time": then}))
    (pods.directory / "node" / "netd.json").write_text(json.dumps([os.getpid(), then]))


async def test_machine_restarted_while_pods_run(pods: Pods) -> None:
    await serve(pods, "runs")
    await serve(pods, "loses-its-record")
    await pods.run("ended", "sh", "-c", "exit 3")
    await pods.runtime.stop(end_pods=False)
    await asyncio.to_thread(restart_machine, pods)
    # Written shortly before, and never through to the disk.
    (pods.path("loses-its-record") / "state.json").write_text("")
    (pods.directory / "node" / "sandboxes" / "runs.new").write_text("{")

    pods.runtime = ProcessRuntime(pods.directory / "node", hidden=[pods.directory])
    await pods.runtime.start()
    left = {sandbox.uid: sandbox for sandbox in await pods.runtime.adopt()}
    assert set(left) == {"runs", "loses-its-record", "ended"}
    assert not any(sandbox.alive for sandbox in left.values())
    state = left["runs"].containers()["main"]
    assert (state.phase, state.exit_code, state.reason) == ("exited", 137, "ContainerStatusUnknown")
    assert left["ended"].containers()["main"].exit_code == 3
    assert not left["loses-its-record"].containers()
    for sandbox in left.values():
        await sandbox.destroy()
    assert await pods.runtime.adopt() == []
    assert os.listdir(pods.directory / "node" / "sandboxes") == []
    await serve(pods, "runs")


async def test_version_replaced_while_its_supervisors_are_killed(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade in the worst moment: pods of the old fork server's go on under the new one, which can end them."""
    for name in ("a", "b"):
        await serve(pods, name)
    await pods.runtime.stop(end_pods=False)
    kill(supervisor_pid(pods, "a"))
    monkeypatch.setattr(spec, "VERSION", spec.VERSION + 1)
    pods.runtime = ProcessRuntime(pods.directory / "node", hidden=[pods.directory])
    await pods.runtime.start()
    left = {sandbox.uid: sandbox for sandbox in await pods.runtime.adopt()}
    ended = left["a"].containers()["main"]
    # The old fork server has written it down before it was replaced.
    assert (ended.phase, ended.exit_code, ended.reason) == ("exited", 137, "Error")
    assert left["b"].containers()["main"].phase == "running"


async def test_an_address_is_used_again_while_something_still_holds_the_network_that_had_it(pods: Pods) -> None:
    await pods.runtime.stop(end_pods=True)
    pods.runtime = ProcessRuntime(pods.directory / "node", pod_cidr="10.42.0.0/29", hidden=[pods.directory])
    await pods.runtime.start()
    held: list[int] = []
    try:
        first = await serve(pods, "first")
        held.append(os.open(f"/proc/{supervisor_pid(pods, 'first')}/ns/net", os.O_RDONLY))
        await first.destroy()
        for name in ("second", "third", "fourth"):
            assert (await serve(pods, name)).address != first.address
        again = await serve(pods, "again")
        assert again.address == first.address
        with await pods.runtime.dial(again.address, 2222) as connection:
            connection.setblocking(False)
            answer = await asyncio.get_running_loop().sock_recv(connection, 100)
        assert answer == b"again"
    finally:
        for namespace in held:
            os.close(namespace)
