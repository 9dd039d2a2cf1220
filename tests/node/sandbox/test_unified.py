"""Cgroups of version 2 as far as this machine lets them be tried: making room, entering, ending, removing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.node.sandbox import cgroups, groupends, hierarchies
from homeport.node.sandbox.hierarchies import Place
from homeport.node.sandbox.spec import Limits

MOVES = """
import os, sys
from homeport.node.sandbox import cgroups
from homeport.node.sandbox.hierarchies import Place
own = sys.argv[1]
with open(f"{own}/cgroup.procs", "w") as file:
    file.write("0")
print("in", flush=True)
sys.stdin.readline()
try:
    os.mkdir(f"{own}/ours")
    cgroups._make_room(Place(2, own, frozenset(), True), f"{own}/ours", rehearse=sys.argv[2] == "rehearse")
    print("moved", flush=True)
except OSError as error:
    print(error.strerror, flush=True)
sys.stdin.readline()
cgroups.Groups([cgroups.Base(2, f"{own}/ours", frozenset())], []).give_up()
print("back", flush=True)
sys.stdin.readline()
"""

ASKS = (
    "import sys; from homeport.node.sandbox import hierarchies as h; print(h.strangers(sys.argv[1], int(sys.argv[2])))"
)


@pytest.fixture
def group() -> Iterator[str]:
    """A group of version 2 of its own."""
    mounts = [m for m in hierarchies.mounted(Path("/proc/self/mountinfo").read_text()) if m.version == 2]
    if not mounts:
        pytest.skip("no cgroups of version 2 are mounted")
    path = f"{mounts[0].path}/homeport-test-{os.getpid()}"
    try:
        os.mkdir(path)
    except OSError as error:
        own = hierarchies.own_groups(Path("/proc/self/cgroup").read_text()).get("", "/")
        path = f"{hierarchies.directory_of(mounts[0], own)}/homeport-test-{os.getpid()}"
        if not os.access(os.path.dirname(path), os.W_OK):
            pytest.skip(f"no cgroups of version 2 can be made: {error}")
        os.mkdir(path)
    yield path
    groupends.end(path)
    assert not os.path.exists(path)


def test_a_pods_groups(group: str) -> None:
    groups = cgroups.Groups([cgroups.Base(2, group, frozenset())], [])
    pod = groups.make_pod("u", Limits())
    container = pod.make("main-0", Limits())
    (path,) = container.paths
    child = subprocess.Popen(["sleep", "1000"], preexec_fn=container.enter)
    assert hierarchies.processes(path) == [child.pid]
    assert groups.has_pod("u", os.getpid())
    assert groups.others({"u": os.getpid()}) == []
    container.remove()
    assert os.path.isdir(path)  # somebody is in it
    groupends.end_all(groups.others({}))
    assert child.wait() == -signal.SIGKILL
    assert not groups.has_pod("u", os.getpid())
    groups.clear_pod("u", os.getpid())


BORN = """
import os, sys
from homeport.node.sandbox import cgroups, linux
made = cgroups.Group([cgroups.Base(2, sys.argv[1], frozenset())], [sys.argv[1]], is_divided=False)
place = made.open_birthplace()
pid, pidfd = linux.fork_into(linux.CLONE_NEWNS, place)
if pid == 0:
    os.read(0, 1)
    os._exit(0)
made.enter(pid, born=True)
print(pid, linux.parent_of(pid) == os.getpid(), flush=True)
os.waitpid(pid, 0)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace takes root")
def test_a_process_is_born_in_its_group(group: str) -> None:
    """Nothing moves it there: :meth:`cgroups.Group.enter` has nothing to do for one that was born there."""
    command = [sys.executable, "-c", BORN, group]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pid, is_child = process.stdout.readline().split()
        assert is_child == "True"
        assert hierarchies.processes(group) == [int(pid)]
        process.stdin.close()
    assert process.returncode == 0


class Mover:
    def __init__(self, group: str, how: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", MOVES, group, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        assert self.say() == "in"

    def say(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def go_on(self) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.say()

    def end(self) -> None:
        self._process.communicate("\n\n")


def test_the_platform_makes_room_in_a_group_that_was_given_to_it(group: str) -> None:
    mover = Mover(group, "really")
    assert mover.go_on() == "moved"
    assert hierarchies.processes(group) == []
    assert hierarchies.processes(f"{group}/ours/main") == [mover.pid]
    # Another node of this platform's family, whose groups are in there; and a pod of this one.
    for other in ("theirs", "ours/podx.1"):
        os.mkdir(f"{group}/{other}")
        cgroups.Groups([cgroups.Base(2, f"{group}/ours", frozenset())], []).give_up()
        assert hierarchies.processes(f"{group}/ours/main") == [mover.pid]
        os.rmdir(f"{group}/{other}")
    assert mover.go_on() == "back"
    assert hierarchies.processes(group) == [mover.pid]
    assert not os.path.exists(f"{group}/ours")
    mover.end()


def test_a_platform_is_no_stranger_to_its_fork_server(group: str) -> None:
    """Which is nobody's child any more by then."""
    mover = Mover(group, "really")
    answer = subprocess.run(
        ["sh", "-c", f"(exec setsid {sys.executable} -c '{ASKS}' {group} {mover.pid}) & wait"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert answer == "[]\n"
    mover.end()


def test_the_doctor_moves_nobody(group: str) -> None:
    mover = Mover(group, "rehearse")
    assert mover.go_on() == "moved"
    assert hierarchies.processes(group) == [mover.pid]
    mover.end()


def test_a_group_with_strangers_is_left_alone(group: str) -> None:
    mover = Mover(group, "really")
    shell = f"setsid sleep 1000 >/dev/null 2>&1 & echo $! > {group}/cgroup.procs; echo $!"
    stranger = int(subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout)
    try:
        answer = mover.go_on()
        if answer == "moved":
            pytest.skip("who loses a parent here stays in the family")  # a subreaper among this process's ancestors
        assert answer == f"processes of others are in it, such as {stranger}"
        assert set(hierarchies.processes(group)) == {mover.pid, stranger}
    finally:
        os.kill(stranger, signal.SIGKILL)
        mover.end()


def test_a_place_that_gives_no_controllers_is_refused(group: str) -> None:
    """This machine's may have all of them in version 1."""
    if Path(group, "cgroup.controllers").read_text().split():
        pytest.skip("there are controllers here")
    with pytest.raises(OSError, match="no controller to give"):
        cgroups._base(Place(2, group, frozenset({"memory"}), False), "ours", rehearse=False)
    assert not os.path.exists(f"{group}/ours")
