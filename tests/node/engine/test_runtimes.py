"""What every runtime promises, asked of each: processes of this machine, containers of an engine."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from ports import free_port
from runtimes import Pods, dialled, end_of, everything, runs, said, until

from homeport.node.engine.runtime import EngineRuntime
from homeport.node.plain.runtime import PlainRuntime
from homeport.node.runtime import (
    Mount,
    SandboxError,
    StartError,
    Unenforceable,
    Wanted,
)

pytestmark = pytest.mark.slow

_WGET = "busybox wget -qO-"
_GREETER = "cd $(mktemp -d); echo hello from $(hostname) > index.html; busybox httpd -f -p 8000"


async def test_a_container_runs_to_its_end_and_its_log_is_complete_when_that_is_told(pods: Pods) -> None:
    sandbox = await pods.create("one")
    state = await pods.run(
        sandbox,
        'echo "$GREETING"; pwd; hostname; echo oh >&2; seq 1 2000; exit 3',
        env={"PATH": "/usr/bin:/bin", "GREETING": "hello  you"},
        cwd="/tmp",
    )
    assert (state.phase, state.exit_code, state.reason) == ("exited", 3, "Error")
    assert state.started_at <= state.finished_at
    assert pods.lines(sandbox)[:3] == ["hello  you", "/tmp", "one"]
    assert pods.lines(sandbox)[3:] == [str(number) for number in range(1, 2001)]
    assert pods.lines(sandbox, "stderr") == ["oh"]
    assert sandbox.containers()["main"] == state


async def test_the_last_message_of_a_container(rooted: Pods) -> None:
    sandbox = await rooted.create("one")
    assert (await rooted.run(sandbox, "echo why > /dev/termination-log; exit 3")).message == "why\n"


async def test_a_command_that_is_not_there_is_told_with_the_shells_code(pods: Pods) -> None:
    sandbox = await pods.create("one")
    state = await sandbox.start(pods.spec(sandbox, "", argv=("/no/such/program",)))
    assert (state.phase, state.exit_code, state.reason) == ("exited", 127, "StartError")
    assert "/no/such/program" in state.message
    assert (await pods.run(sandbox, "true", attempt=1)).exit_code == 0


async def test_who_a_container_runs_as(pods: Pods) -> None:
    sandbox = await pods.create("one")
    state = await pods.run(sandbox, "id -u; id -g; id -G; echo no > /dev/null", uid=1234, gid=2345, groups=(3456,))
    assert state.exit_code == 0
    uid, gid, groups = pods.lines(sandbox)
    assert (uid, gid) == ("1234", "2345")
    assert set(groups.split()) == {"2345", "3456"}


async def test_mounts_are_what_they_say(rooted: Pods) -> None:
    sandbox = await rooted.create("one")
    shared = Path(sandbox.directory) / "volumes" / "shared"
    shared.mkdir(parents=True)
    (shared / "given").write_text("a gift\n")
    mounts = (Mount(str(shared), "/data"), Mount(str(shared / "given"), "/etc/given", read_only=True))
    state = await rooted.run(
        sandbox, "cat /etc/given; echo made > /data/made; echo x > /etc/given || echo refused", mounts=mounts
    )
    assert state.exit_code == 0
    assert rooted.lines(sandbox) == ["a gift", "refused"]
    assert (shared / "made").read_text() == "made\n"
    await rooted.runtime.remove(str(shared))
    assert not shared.exists()


async def test_a_root_that_is_read_only(rooted: Pods) -> None:
    sandbox = await rooted.create("one")
    state = await rooted.run(sandbox, "echo x > /file || echo refused", read_only_root=True)
    assert state.exit_code == 0
    assert rooted.lines(sandbox) == ["refused"]


async def test_containers_of_a_pod_share_its_network(pods: Pods) -> None:
    sandbox = await pods.create("one")
    await sandbox.start(pods.spec(sandbox, _GREETER, "server"))
    script = "until busybox wget -qO- 127.0.0.1:8000; do sleep 0.05; done"
    state = await pods.run(sandbox, script, "client")
    assert state.exit_code == 0
    assert "hello from one" in "\n".join(pods.lines(sandbox, name="client"))


async def test_containers_of_a_pod_share_its_memory_and_have_files_of_their_own(rooted: Pods) -> None:
    sandbox = await rooted.create("one")
    assert (await rooted.run(sandbox, "touch /tmp/mine /dev/shm/ours", "first")).exit_code == 0
    assert (await rooted.run(sandbox, "ls /tmp /dev/shm", "second")).exit_code == 0
    assert "ours" in rooted.lines(sandbox, name="second")
    assert "mine" not in rooted.lines(sandbox, name="second")


async def test_pods_reach_one_another_and_the_platform_reaches_them(pods: Pods) -> None:
    one, two = await asyncio.gather(pods.create("one"), pods.create("two"))
    assert one.address != two.address
    await pods.runtime.set_records({"greeter.default.svc.cluster.local": (one.address,)})
    await one.start(pods.spec(one, _GREETER))
    script = "until busybox wget -qO- greeter:8000; do sleep 0.05; done; getent hosts two || cat /etc/hosts"
    state = await pods.run(two, script)
    assert state.exit_code == 0
    assert any("hello from one" in line for line in pods.lines(two))
    assert any(line.split()[0] == two.address and "two" in line for line in pods.lines(two))
    assert (await said(lambda: pods.runtime.dial(one.address, 8000))).endswith(b"\r\n\r\nhello from one\n")
    assert (await said(lambda: one.connect(8000))).endswith(b"\r\n\r\nhello from one\n")


async def test_pods_reach_what_the_platform_listens_on(pods: Pods) -> None:
    sandbox = await pods.create("one")
    listener = await pods.runtime.listen(0)
    with listener:
        port = listener.getsockname()[1]
        running = await sandbox.start(
            pods.spec(sandbox, f"echo from the pod | busybox nc {pods.runtime.gateway} {port}")
        )
        assert running.phase == "running"
        connection, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(listener), 30)
        with connection:
            assert await asyncio.get_running_loop().sock_recv(connection, 100) == b"from the pod\n"
    await end_of(sandbox)


async def test_services_lead_to_their_targets_from_pods_and_from_the_machine(pods: Pods) -> None:
    server, client = await asyncio.gather(pods.create("server"), pods.create("client"))
    await server.start(pods.spec(server, _GREETER))
    port = free_port()
    target = [[server.address, 8000]]
    frontends = {
        "tcp 10.43.0.7 80": {"to": target},
        "tcp 10.43.0.8 80": {"to": []},
        f"tcp * {port}": {"to": target, "published": True},
    }
    await pods.runtime.set_frontends(frontends, everything=True)
    script = "until busybox wget -qO- 10.43.0.7; do sleep 0.05; done; busybox wget -qO- 10.43.0.8 || echo refused"
    assert (await pods.run(client, script)).exit_code == 0
    assert pods.lines(client) == ["hello from server", "refused"]
    assert (await said(lambda: dialled("127.0.0.1", port))).endswith(b"hello from server\n")
    await pods.runtime.set_frontends({"tcp 10.43.0.7 80": None, f"tcp * {port}": None})
    assert (await pods.run(client, "busybox wget -qO- 10.43.0.7 || echo gone", "later")).exit_code == 0
    assert pods.lines(client, name="later") == ["gone"]
    with pytest.raises(ConnectionRefusedError):
        await dialled("127.0.0.1", port)


async def test_network_policies_hold_or_it_is_told_that_they_cannot(pods: Pods) -> None:
    server, client = await asyncio.gather(pods.create("server"), pods.create("client"))
    await server.start(pods.spec(server, _GREETER))
    assert (
        await pods.run(client, f"until {_WGET} {server.address}:8000; do sleep 0.05; done", "before")
    ).exit_code == 0
    message = {"pods": {server.address: [0, None]}, "lists": [[]]}
    if isinstance(pods.runtime, PlainRuntime):
        with pytest.raises(Unenforceable, match="plain"):
            await pods.runtime.set_policies(message)
        return
    await pods.runtime.set_policies(message)
    state = await pods.run(client, f"{_WGET} -T 1 {server.address}:8000 && exit 9; echo kept away", "after")
    assert (state.exit_code, pods.lines(client, name="after")) == (0, ["kept away"])


async def test_commands_in_a_container(pods: Pods) -> None:
    sandbox = await pods.create("one")
    await sandbox.start(pods.spec(sandbox, "sleep 600", env={"PATH": "/usr/bin:/bin", "NAME": "value"}, cwd="/tmp"))
    session = await sandbox.execute(
        "main", ["sh", "-c", "cat; echo oh >&2; echo $NAME; pwd; exit 4"], Wanted(stdin=True, stdout=True, stderr=True)
    )
    assert session.stdin is not None
    await session.stdin.write(b"typed\n")
    session.stdin.close()
    assert await everything(session.stdout) == b"typed\nvalue\n/tmp\n"
    assert await everything(session.stderr) == b"oh\n"
    assert await session.wait() == 4
    session.close()
    with pytest.raises(SandboxError):
        await sandbox.execute("other", ["true"], Wanted(stdout=True))


async def test_a_command_that_is_not_there_is_refused_or_ends_so(pods: Pods) -> None:
    sandbox = await pods.create("one")
    await sandbox.start(pods.spec(sandbox, "sleep 600"))
    code = 0
    try:
        session = await sandbox.execute("main", ["no-such-program"], Wanted(stdout=True, stderr=True))
    except StartError as error:
        code = error.code
    else:
        # Engines tell only then.
        code = await session.wait()
        session.close()
    # Docker 20.10 has a code of its own for whatever it can't start in a container that runs.
    assert code == 127 or (code == 126 and isinstance(pods.runtime, EngineRuntime))


async def test_a_terminal(pods: Pods) -> None:
    sandbox = await pods.create("one")
    await sandbox.start(pods.spec(sandbox, "sleep 600"))
    wanted = Wanted(stdin=True, stdout=True, tty=True)
    session = await sandbox.execute("main", ["sh", "-c", "tty; read line; stty size; echo got $line"], wanted)
    assert session.stdin is not None
    assert session.stderr is None
    session.resize(33, 77)
    said = await session.stdout.read()  # type: ignore[union-attr]
    await asyncio.sleep(0.3)
    await session.stdin.write(b"typed\n")
    said += await everything(session.stdout)
    assert b"/dev/pts/" in said
    assert b"33 77" in said
    assert b"got typed" in said
    assert await session.wait() == 0
    session.close()


async def test_attaching(pods: Pods) -> None:
    sandbox = await pods.create("one")
    await sandbox.start(pods.spec(sandbox, "while read line; do echo got $line; done; exit 5", stdin=True))
    session = await sandbox.attach("main", Wanted(stdin=True, stdout=True))
    assert session.stdin is not None
    await session.stdin.write(b"one\ntwo\n")
    data = b""
    async with asyncio.timeout(30):
        while data != b"got one\ngot two\n":
            data += await session.stdout.read()  # type: ignore[union-attr]
    session.close()
    await sandbox.signal("main", signal.SIGKILL)
    await end_of(sandbox)
    assert pods.lines(sandbox) == ["got one", "got two"]


async def test_signals(pods: Pods) -> None:
    sandbox = await pods.create("one")
    await sandbox.start(
        pods.spec(sandbox, "trap 'echo asked; exit 7' TERM; echo ready; while true; do sleep 0.05; done")
    )
    await until(lambda: pods.log(sandbox).exists() and pods.lines(sandbox))
    await sandbox.signal("main", signal.SIGTERM)
    state = await end_of(sandbox)
    assert (state.exit_code, state.reason) == (7, "Error")
    assert pods.lines(sandbox) == ["ready", "asked"]
    await sandbox.signal("main", signal.SIGTERM)  # nobody is there any more
    await sandbox.start(pods.spec(sandbox, "sleep 600", attempt=1))
    await sandbox.signal("main", signal.SIGKILL)
    assert (await end_of(sandbox)).exit_code == 137


async def test_pods_outlive_the_platform(pods: Pods) -> None:
    sandbox = await pods.create("one")
    await pods.run(sandbox, "exit 9", "ended")
    path = Path(sandbox.directory) / "go"
    script = "i=0; while [ ! -e /pod/go ]; do i=$((i+1)); echo line $i; sleep 0.02; done; exit 6"
    await sandbox.start(pods.spec(sandbox, script, mounts=(Mount(sandbox.directory, "/pod"),)))
    await until(lambda: pods.log(sandbox).exists() and len(pods.lines(sandbox)) > 10)
    address = sandbox.address
    sandbox = (await pods.again())["one"]
    assert (sandbox.alive, sandbox.address) == (True, address)
    states = sandbox.containers()
    assert (states["ended"].phase, states["ended"].exit_code) == ("exited", 9)
    assert states["main"].phase == "running"
    count = len(pods.lines(sandbox))
    await until(lambda: len(pods.lines(sandbox)) > count + 10)
    path.touch()
    assert (await end_of(sandbox)).exit_code == 6
    lines = pods.lines(sandbox)
    assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]


async def test_what_ended_while_nobody_looked_is_told_with_its_true_exit_code(pods: Pods) -> None:
    sandbox = await pods.create("one")
    path = Path(sandbox.directory) / "go"
    script = "while [ ! -e /pod/go ]; do sleep 0.02; done; echo the end; exit 11"
    await sandbox.start(pods.spec(sandbox, script, mounts=(Mount(sandbox.directory, "/pod"),)))
    await pods.runtime.stop(end_pods=False)
    path.touch()
    await asyncio.sleep(1)
    state = (await pods.again())["one"].containers()["main"]
    assert (state.phase, state.exit_code) == ("exited", 11)
    assert pods.lines(sandbox) == ["the end"]


async def test_a_sandbox_that_is_destroyed_leaves_nothing_that_runs(pods: Pods) -> None:
    sandbox = await pods.create("one")
    state = await sandbox.start(pods.spec(sandbox, "trap '' TERM; while true; do sleep 1; done"))
    assert runs(state.pid)
    await sandbox.destroy()
    assert not runs(state.pid)
    assert not sandbox.alive
    async for _ in sandbox.changes():
        pass
    assert (await pods.again()) == {}


async def test_pods_that_were_ended_politely_tell_how(pods: Pods) -> None:
    sandbox = await pods.create("one")
    script = "trap 'echo bye; exit 0' TERM; echo ready; while true; do sleep 0.05; done"
    await sandbox.start(pods.spec(sandbox, script))
    await until(lambda: pods.log(sandbox).exists() and pods.lines(sandbox))
    await pods.runtime.shut_down(10)
    pods.runtime = pods.make(pods.directory)
    await pods.runtime.start()
    ended = {sandbox.uid: sandbox for sandbox in await pods.runtime.adopt()}["one"]
    assert not ended.alive
    assert ended.containers()["main"].exit_code == 0
    assert pods.lines(sandbox) == ["ready", "bye"]
    await ended.destroy()
