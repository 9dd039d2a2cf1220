"""Containers that are forks of a warm interpreter: they can't tell, and they end like others."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from leftovers import processes

from homeport.node.process import ProcessRuntime
from homeport.node.runtime import ContainerSpec, ContainerState, ImageRoot, Sandbox
from homeport.node.sandbox import linux, spec

Pods = Any
MODULE = """
import os, random, threading
TOKEN = os.urandom(8).hex()
"""
LOOK = """
import json, os, random, resource, signal, socket, sys, tempfile
import heavy
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
shown = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "NSpid", "Umask",
    "Threads", "SigBlk", "SigIgn", "SigCgt", "Name")
std = (sys.stdin, sys.stdout, sys.stderr)
numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP)
main = sys.modules["__main__"]
print(json.dumps({
    "status": {name: status[name].strip() for name in shown},
    "ids": [os.getpid(), os.getppid(), os.getsid(0), os.getpgid(0), os.getpriority(os.PRIO_PROCESS, 0)],
    "limits": [resource.getrlimit(number) for number in range(10)],
    "descriptors": sorted(name for name in os.listdir("/proc/self/fd") if name != "3"),
    "processes": [name for name in os.listdir("/proc") if name.isdigit()],
    "mounts": sorted(line.split()[4] for line in open("/proc/self/mountinfo")),
    "command": open("/proc/self/cmdline").read(),
    "environ": sorted(open("/proc/self/environ").read().split(chr(0))),
    "env": dict(os.environ), "argv": sys.argv, "orig": sys.orig_argv, "path": sys.path, "executable": sys.executable,
    "flags": list(sys.flags), "prefix": [sys.prefix, sys.base_prefix], "cwd": os.getcwd(), "host": socket.gethostname(),
    "address": sorted(open("/etc/hosts").read().replace(socket.gethostbyname(socket.gethostname()), "ADDRESS").split()),
    "main": sorted(main.__dict__), "name": __name__, "file": getattr(main, "__file__", None),
    "loader": type(__loader__).__name__ if __loader__ is not None else None, "spec": __spec__ is not None,
    "links": sorted(os.listdir("/sys/class/net")),
    "ours": [name for name in sys.modules if name.startswith("homeport")],
    "std": [[f.encoding, f.errors, f.line_buffering, f.write_through, f.fileno()] for f in std],
    "oom": open("/proc/self/oom_score_adj").read(), "root": sorted(os.listdir("/")),
    "handlers": [str(signal.getsignal(number)) for number in numbers],
    "different": [heavy.TOKEN, random.random(), next(tempfile._get_candidate_names())],
}))
"""


class Warm:
    """Pods with an image that has a module to be kept warm."""

    def __init__(self, pods: Pods) -> None:
        self.pods = pods
        place = pods.directory / "image"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", place / "venv"], check=True)
        (packages,) = (place / "venv" / "lib").glob("python*/site-packages")
        (packages / "heavy.py").write_text(MODULE)
        self.packages = packages
        self.scripts = pods.directory / "scripts"
        self.scripts.mkdir()
        for path in (place, self.scripts):
            path.chmod(0o755)
        self.image = ImageRoot(environment=str(place / "venv"), interpreter=sys.base_prefix, warm=("heavy",))
        self.ids: tuple[int, ...] = ()
        """Whom the last container that was run began as."""
        self._count = 0

    def container(self, name: str, *argv: str, **changes: Any) -> ContainerSpec:
        from homeport.node.runtime import Mount

        made = self.pods.container(name, *argv, env={"PATH": "/opt/venv/bin:/usr/bin:/bin", "HOME": "/root"})
        made = replace(made, image=self.image, mounts=(Mount(str(self.scripts), "/scripts"),))
        return replace(made, **changes)

    async def start(self, *argv: str, **changes: Any) -> tuple[str, Sandbox, ContainerState]:
        self._count += 1
        name = f"p{self._count}"
        # The same host name everywhere: it may be compared.
        sandbox = await self.pods.create(name, hostname="pod")
        return name, sandbox, await sandbox.start(self.container(name, *argv, **changes))

    async def run(self, *argv: str, **changes: Any) -> tuple[int, str, str]:
        """Exit code, output and errors."""
        name, sandbox, state = await self.start(*argv, **changes)
        if state.phase == "running":
            state = await self.pods.exit_of(sandbox)
        await sandbox.destroy()
        self.ids = state.ids
        return state.exit_code, self.pods.output(name) or state.message, self.pods.output(name, stream="stderr")

    async def kindle(self, *argv: str, **changes: Any) -> None:
        """Have a warm interpreter for containers that start like that."""
        before = set(self.sockets())
        await self.run(*(argv or ("python", "-c", "pass")), **changes)
        await self.pods.until(lambda: set(self.sockets()) - before and all(map(listens, self.sockets())))

    def sockets(self) -> list[Path]:
        return list((self.pods.directory / "node" / "warm").glob("*.sock"))

    def interpreters(self) -> list[int]:
        return [json.loads(path.read_text())[0] for path in (self.pods.directory / "node" / "warm").glob("*.json")]


def listens(path: Path) -> bool:
    from homeport.node.sandbox import wire

    try:
        wire.connect(str(path)).close()
    except OSError:
        return False
    return True


@pytest.fixture
async def warm(pods: Pods) -> Warm:
    return await asyncio.to_thread(Warm, pods)


@pytest.mark.parametrize("how", ["script", "module", "code"])
async def test_a_container_can_t_tell(warm: Warm, how: str) -> None:
    script = warm.scripts / "look.py"
    script.write_text(LOOK)
    (warm.packages / "looking.py").write_text(LOOK)
    argv = {
        "script": ("python", "-u", "/scripts/look.py", "a", "-b"),
        "module": ("python", "-u", "-m", "looking", "a"),
        "code": ("python", "-u", "-c", LOOK, "a"),
    }[how]
    changes = {"cwd": "/work", "env": {"PATH": "/opt/venv/bin:/usr/bin:/bin", "HOME": "/root", "RANK": "3"}}
    code, text, errors = await warm.run(*argv, **changes)
    assert (code, errors) == (0, "")
    cold = json.loads(text)
    await warm.pods.until(lambda: warm.sockets() and all(map(listens, warm.sockets())))
    looks = []
    for _ in range(3):
        code, text, errors = await warm.run(*argv, **changes)
        assert (code, errors, warm.ids[:2]) == (0, "", (0, 0))
        looks.append(json.loads(text))
    different = [look.pop("different") for look in looks]
    tokens = {one[0] for one in different}
    assert len(tokens) == 1, "they were not started warm"
    assert cold.pop("different")[0] not in tokens
    assert len({one[1] for one in different}) == len({one[2] for one in different}) == 3
    for look in looks:
        assert look == cold


async def test_ends_are_those_of_a_cold_start(warm: Warm) -> None:
    (warm.scripts / "fails.py").write_text("import heavy\ndef f():\n    raise ValueError('no')\nf()\n")
    cases = [
        ("python", "-c", "import sys; sys.exit(7)"),
        ("python", "-c", "import sys; sys.exit('words')"),
        ("python", "-c", "import os; os._exit(9)"),
        ("python", "-c", "import atexit; atexit.register(print, 'at exit'); print('x', end='')"),
        ("python", "/scripts/fails.py"),
        ("python", "-m", "nothing.there"),
        ("python", "/scripts/nothing.py"),
        ("python", "-c", "syntax error"),
        ("python", "-c", "raise KeyboardInterrupt"),
        (
            "python",
            "-c",
            "import threading, time; threading.Thread(target=lambda: (time.sleep(.1), print('late'))).start()",
        ),
        ("python", "-c", "import multiprocessing as m\nwith m.Pool(2) as p: print(p.map(abs, [-1, -2]))"),
        ("python", "-c", "import subprocess; print(subprocess.check_output(['sh', '-c', 'echo $PPID']))"),
    ]
    cold = [await warm.run(*case, image=replace(warm.image, warm=())) for case in cases]
    await warm.kindle()
    assert [await warm.run(*case) for case in cases] == cold


async def test_signals_input_and_commands(warm: Warm) -> None:
    await warm.kindle()
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(4)); print('ready', flush=True); signal.pause()"
    name, sandbox, _ = await warm.start("python", "-c", f"import heavy; {code}")
    await warm.pods.until(lambda: warm.pods.output(name) == "ready")
    session = await sandbox.execute("main", ["sh", "-c", "cat /proc/1/cmdline | head -c 6; exit 3"], wanted())
    assert session.stdout is not None
    assert (await session.stdout.read(), await session.wait()) == (b"python", 3)
    session.close()
    await sandbox.signal("main", signal.SIGTERM)
    assert (await warm.pods.exit_of(sandbox)).exit_code == 4

    name, sandbox, _ = await warm.start(
        "python", "-c", "import sys; print(sys.stdin.read()[::-1])", stdin=True, stdin_once=True
    )
    attached = await sandbox.attach("main", wanted(stdin=True))
    assert attached.stdin is not None
    await attached.stdin.write(b"abc")
    attached.stdin.close()
    attached.close()
    assert (await warm.pods.exit_of(sandbox)).exit_code == 0
    assert warm.pods.output(name) == "cba"


def wanted(**changes: bool) -> Any:
    from homeport.node.runtime import Wanted

    return Wanted(**{"stdout": True, **changes})


async def test_modules_that_start_threads_are_not_kept(warm: Warm) -> None:
    (warm.packages / "heavy.py").write_text(
        textwrap.dedent(
            """
            import threading
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            """
        )
    )
    log = warm.pods.directory / "node" / "zygote.log"
    assert (await warm.run("python", "-c", "print(1)"))[:2] == (0, "1")
    await warm.pods.until(lambda: "can't be kept warm: they have started 1 threads" in log.read_text())
    await warm.pods.until(lambda: not warm.sockets())
    assert (await warm.run("python", "-c", "print(1)"))[:2] == (0, "1")
    assert not warm.sockets()


async def test_what_is_killed_around_a_warm_container(warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    await warm.kindle()
    name, sandbox, state = await warm.start("python", "-c", "import time; print(1, flush=True); time.sleep(600)")
    await warm.pods.until(lambda: warm.pods.output(name) == "1")
    (interpreter,) = warm.interpreters()
    assert linux.parent_of(state.pid) == interpreter

    # Another fork server finds the interpreter, whether the one before was killed or replaced by another version's.
    os.kill(warm.pods.zygote, signal.SIGKILL)
    await warm.pods.runtime.stop(end_pods=False)
    monkeypatch.setattr(spec, "VERSION", spec.VERSION + 1)
    warm.pods.runtime = ProcessRuntime(warm.pods.directory / "node", hidden=[warm.pods.directory])
    await warm.pods.runtime.start()
    (sandbox,) = await warm.pods.runtime.adopt()
    assert sandbox.containers()["main"].phase == "running"

    # A supervisor takes its containers along.
    supervisor = json.loads((warm.pods.path(name) / "state.json").read_text())["pid"]
    os.kill(supervisor, signal.SIGKILL)
    assert (await warm.pods.exit_of(sandbox)).exit_code == 137
    await warm.pods.until(lambda: not Path(f"/proc/{state.pid}").exists())
    await sandbox.destroy()

    # So does the interpreter; and the next container is started cold, and the one after that warm again.
    name, sandbox, state = await warm.start("python", "-c", "import time; time.sleep(600)")
    os.kill(interpreter, signal.SIGKILL)
    ended = await warm.pods.exit_of(sandbox)
    assert (ended.exit_code, ended.signal) == (137, 9)
    # The fork server hears of it, too.
    await warm.pods.until(lambda: not warm.sockets())
    await warm.kindle()
    assert warm.interpreters() != [interpreter]


async def test_the_end_of_a_node_whose_fork_server_was_killed(warm: Warm) -> None:
    await warm.kindle()
    await warm.pods.runtime.stop(end_pods=False)
    await warm.pods.until(lambda: not processes(warm.pods.directory / "node"))
    await warm.pods.runtime.start()
    await warm.kindle()
    # So that no other one is started.
    await warm.pods.runtime._server.release()
    os.kill(warm.pods.zygote, signal.SIGKILL)
    await warm.pods.runtime.shut_down(0)
    assert not processes(warm.pods.directory / "node")


async def test_few_are_kept_and_none_is_left(warm: Warm) -> None:
    env = {"PATH": "/opt/venv/bin:/usr/bin:/bin", "HOME": "/root"}
    for number in range(6):
        await warm.kindle("python", "-c", "pass", env={**env, "TZ": f"UTC{number}"})
    assert len(warm.sockets()) == 4
    await warm.pods.runtime.stop(end_pods=False)
    await asyncio.to_thread(lambda: None)
    await warm.pods.until(lambda: not processes(warm.pods.directory / "node"))
    assert not warm.sockets()
