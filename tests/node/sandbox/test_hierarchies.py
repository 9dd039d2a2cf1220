"""Where cgroups can be made, on machines of all kinds: from what their kernels say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from homeport.node.sandbox import hierarchies
from homeport.node.sandbox.hierarchies import Mounted, Place

V1 = """
30 20 0:25 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
31 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 20 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 20 0:28 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
34 20 0:29 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
nonsense
"""


def test_mounted_hierarchies() -> None:
    assert hierarchies.mounted(V1) == [
        Mounted(1, "/sys/fs/cgroup/cpu,cpuacct", "/", frozenset({"cpu", "cpuacct"})),
        Mounted(1, "/sys/fs/cgroup/memory", "/", frozenset({"memory"})),
        Mounted(2, "/sys/fs/cgroup/unified", "/", frozenset()),
    ]
    # Of several mounts the one that shows most.
    twice = "1 2 0:3 /docker/x /a rw - cgroup2 c rw\n1 2 0:3 / /my\\040place rw - cgroup2 c rw"
    assert hierarchies.mounted(twice) == [Mounted(2, "/my place", "/", frozenset())]


@pytest.mark.parametrize(
    ("root", "path", "directory"),
    [
        ("/", "/", "/m"),
        ("/", "/user.slice/a", "/m/user.slice/a"),
        ("/docker/x", "/docker/x", "/m"),
        ("/docker/x", "/docker/x/y", "/m/y"),
        ("/docker/x", "/docker/xy", None),
        ("/docker/x", "/elsewhere", None),
        ("/", "/../outside", None),
    ],
)
def test_where_a_group_is_seen(root: str, path: str, directory: str | None) -> None:
    assert hierarchies.directory_of(Mounted(1, "/m", root, frozenset({"cpu"})), path) == directory


def test_own_groups() -> None:
    text = "9:name=systemd:/s\n4:cpu,cpuacct:/c\n0::/u:v\n"
    assert hierarchies.own_groups(text) == {"name=systemd": "/s", "cpu": "/c", "cpuacct": "/c", "": "/u:v"}


def test_version_1_is_divided_where_one_is(tmp_path: Path) -> None:
    (tmp_path / "memory" / "mine").mkdir(parents=True)
    mountinfo = f"1 2 0:3 / {tmp_path}/memory rw - cgroup c rw,memory\n1 2 0:4 / {tmp_path}/cpu rw - cgroup c rw,cpu"
    found = hierarchies.places(mountinfo, "4:memory:/mine\n5:cpu:/gone\n", is_root=False)
    assert found == [Place(1, f"{tmp_path}/memory/mine", frozenset({"memory"}), False)]


class Unified:
    """A tree as version 2 shows it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mountinfo = f"1 2 0:3 / {root} rw - cgroup2 c rw"

    def group(self, path: str, controllers: str = "cpuset cpu io memory pids") -> Path:
        made = self.root / path
        made.mkdir(parents=True, exist_ok=True)
        (made / "cgroup.controllers").write_text(controllers)
        if path:
            (made / "cgroup.type").write_text("domain")
        return made

    def place(self, own: str, *, is_root: bool) -> list[Place]:
        return hierarchies.places(self.mountinfo, f"0::{own}\n", is_root=is_root)


def test_version_2(tmp_path: Path) -> None:
    tree = Unified(tmp_path)
    tree.group("")
    own = tree.group("user.slice/session-1.scope", "memory pids")
    every = frozenset({"cpu", "memory", "pids"})
    # Root's go beside systemd's slices; a user has its own group or nothing.
    assert tree.place("/user.slice/session-1.scope", is_root=True) == [Place(2, str(tmp_path), every, False)]
    few = frozenset({"memory", "pids"})
    assert tree.place("/user.slice/session-1.scope", is_root=False) == [Place(2, str(own), few, True)]
    tree.group("", "hugetlb")
    assert tree.place("/", is_root=True) == []


def test_version_2_in_a_container(tmp_path: Path) -> None:
    """The root that is seen there is not the machine's."""
    tree = Unified(tmp_path)
    tree.group("")
    (tmp_path / "cgroup.type").write_text("domain")
    (found,) = tree.place("/", is_root=True)
    assert (found.directory, found.is_own) == (str(tmp_path), True)


def test_root_divides_what_it_was_given(tmp_path: Path) -> None:
    tree = Unified(tmp_path)
    tree.group("")
    own = tree.group("system.slice/homeport.service")
    try:
        os.setxattr(own, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"no extended attributes in {tmp_path}: {error}")
    (found,) = tree.place("/system.slice/homeport.service", is_root=True)
    assert (found.directory, found.is_own) == (str(own), True)


def test_strangers(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n{os.getppid()}\n2\n")
    assert hierarchies.strangers(str(tmp_path)) in ([2], [])  # the kernel's own threads, where they are seen
