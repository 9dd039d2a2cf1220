"""Which runtime pods get, by what the machine can do and what is asked for; and how what it can do is found out."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from homeport.kube.errors import Permanent
from homeport.node import choice, isolating
from homeport.node.choice import Machine
from homeport.settings import NodeSettings

_CIDR = "10.43.0.0/16"
_CAPABLE = Machine("", "")
_WITH_ENGINE = Machine("Operation not permitted", "/run/docker.sock")
_LOOK = "from homeport.node import isolating; print(isolating.problem())"


def chosen(directory: Path, kind: str = "auto", machine: Machine = _CAPABLE) -> choice.Choice:
    settings = NodeSettings(runtime=kind)
    return choice.choose(directory, settings, service_cidr=_CIDR, environ={}, look=lambda _environ: machine)[1]


def with_pods(directory: Path) -> Path:
    (directory / "pods" / "uid").mkdir(parents=True)
    return directory


def test_the_best_that_the_machine_has(tmp_path: Path) -> None:
    assert chosen(tmp_path / "node").runtime == "processes"
    found = chosen(tmp_path / "node", machine=_WITH_ENGINE)
    assert (found.runtime, found.socket, found.why) == ("docker", "/run/docker.sock", "Operation not permitted")
    assert "/run/docker.sock" in found.line
    assert "Operation not permitted" in found.line
    assert choice.recorded_choice(tmp_path / "node") == found


def test_what_is_asked_for_is_had_whatever_the_machine_can_do(tmp_path: Path) -> None:
    found = chosen(tmp_path / "node", "processes", _WITH_ENGINE)
    assert (found.runtime, found.asked) == ("processes", True)
    assert found.line == "processes in namespaces"


def test_pods_keep_their_runtime(tmp_path: Path) -> None:
    directory = tmp_path / "node"
    chosen(directory, machine=_WITH_ENGINE)
    with_pods(directory)
    assert chosen(directory, machine=_CAPABLE).runtime == "docker"
    with pytest.raises(Permanent, match="pods of the runtime docker are left"):
        chosen(directory, "processes")
    (directory / "pods" / "uid").rmdir()
    assert chosen(directory, machine=_CAPABLE).runtime == "processes"


def test_records_of_former_versions_and_broken_ones(tmp_path: Path) -> None:
    (tmp_path / "runtime.json").write_text(json.dumps({"runtime": "docker", "socket": "/s", "more": 1}))
    assert choice.recorded_choice(tmp_path).socket == "/s"
    (tmp_path / "runtime.json").write_text("[")
    assert choice.recorded_choice(tmp_path).runtime == "processes"


def test_other_systems_have_no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isolating.problem() == "namespaces are Linux's"


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
@pytest.mark.parametrize(("number", "is_refusal"), [(errno.EPERM, True), (errno.EAGAIN, False), (errno.EMFILE, False)])
def test_only_a_refusal_has_pods_be_less_than_they_can(
    monkeypatch: pytest.MonkeyPatch, number: int, is_refusal: bool
) -> None:
    def refuse() -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(isolating, "_try", refuse)
    assert bool(isolating.problem()) == is_refusal


def looked(*before: str) -> str:
    """What is found out by a process that those commands lead to."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*before, sys.executable, "-c", _LOOK], env=environ, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="takes rights away, which takes root")


def test_this_machine() -> None:
    assert looked() == isolating.problem()


@_root_only
def test_root_without_the_rights_of_the_machines_root() -> None:
    """As in a container that nobody made privileged."""
    program = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
for capability in range(41):
    libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.argv[1], sys.argv[1:])
"""
    assert looked(sys.executable, "-c", program) == os.strerror(1)


@_root_only
def test_user_namespaces_that_are_off() -> None:
    """As with user.max_user_namespaces=0, of a user namespace made for the purpose."""
    program = """
import os, sys
from homeport.node import isolating
from homeport.node.sandbox import linux
ready, mapped = os.pipe(), os.pipe()
pid = os.fork()
if pid:
    os.close(ready[1])
    os.read(ready[0], 1)
    for kind in ("uid", "gid"):
        with open(f"/proc/{pid}/{kind}_map", "w") as file:
            file.write("0 0 4294967295")
    os.write(mapped[1], b"y")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
linux.unshare(linux.CLONE_NEWUSER)
os.write(ready[1], b"y")
os.read(mapped[0], 1)
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
os.setresuid(65534, 65534, 65534)  # who may not read this interpreter, perhaps
print(isolating.problem(), flush=True)
os._exit(0)
"""
    assert looked(sys.executable, "-c", program) == os.strerror(28)


def test_a_filter_of_system_calls() -> None:
    """As of a container's runtime, which refuses new namespaces (clone3 as if there were no such call)."""
    program = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
numbers = {"aarch64": (435, 97)}.get(os.uname().machine, (435, 272))
code = [(0x20, 0, 0, 0)]
for number, verdict in zip(numbers, (38, 1)):
    code += [(0x15, 0, 1, number), (6, 0, 0, 0x00050000 | verdict)]
code.append((6, 0, 0, 0x7FFF0000))
text = b"".join(struct.pack("=HBBI", *one) for one in code)
held = ctypes.create_string_buffer(text, len(text))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc.prctl(38, 1, 0, 0, 0)
libc.prctl(22, 2, ctypes.byref(Program(len(code), ctypes.addressof(held))))
os.execv(sys.argv[1], sys.argv[1:])
"""
    assert looked(sys.executable, "-c", program) == os.strerror(38)
