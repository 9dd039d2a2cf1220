"""An account of what a node has left on the machine: processes, mounts, namespaces, cgroups, sockets, files, links.

Everything is found from outside, by the node's directory: helpers carry it in their arguments, containers have it in
their mounts, or in their environment. So nodes that run side by side are told apart, and nothing has to be known about
how a node works.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from homeport.node.plain import family, supervisor
from homeport.node.sandbox import hostlink

_STAYS = frozenset(
    {
        *("zygote.log", "zygote.lock", "records.json", "sandboxes", "layers", "pods", "warm", "ended"),
        *("plain-net.log", "plain-net.lock", "plain-pods.log", "links", "hosts", "doors.json.lock"),
    }
)
"""What a node that has ended keeps in its directory: logs, names, and what pods own."""
_EMPTY = ("layers", "warm", "links", "hosts")
_NAMESPACES = ("cgroup:", "ipc:", "mnt:", "net:", "pid:", "time:", "user:", "uts:")
_SETTLE_SECONDS = 10.0


class Account:
    """Opened before a node starts in `node` (the directory of its sockets and records), closed after it has ended."""

    def __init__(self, node: Path) -> None:
        self._node = node
        node.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mark = os.fsencode(node)
        status = node.stat()
        self._group = f"homeport-{status.st_dev:x}-{status.st_ino:x}"
        self._link = hostlink.name_of(str(node))
        self._descriptors = _descriptors()
        self._children = set(_zombies())
        # Of a node that was killed with all it had, whose directory's number this one's has now.
        self._others = set(self._groups())

    def left(self) -> list[str]:
        """One line for each thing that should not be there, empty if all is well."""
        found = [f"process {pid}: {text}" for pid, text in processes(self._node)]
        found += [f"a child that nobody has reaped: {pid}" for pid in set(_zombies()) - self._children]
        found += [f"mount: {line}" for line in _lines("/proc/self/mountinfo") if os.fsdecode(self._mark) in line]
        found += [f"cgroup: {path}" for path in self._groups() if path not in self._others]
        found += [f"network link: {name}" for name in os.listdir("/sys/class/net") if name == self._link]
        found += [f"file: {path}" for path in self._files()]
        for kind, count in _descriptors().items():
            if count > self._descriptors.get(kind, 0):
                found.append(f"open descriptors of this process: {count - self._descriptors.get(kind, 0)} x {kind}")
        return found

    def close(self) -> None:
        """Fail the test if something is left. What the kernel takes away by itself, such as a killed process, may take
        a moment."""
        until = time.monotonic() + _SETTLE_SECONDS
        while found := self.left():
            if time.monotonic() > until:
                pytest.fail("the node has left behind:\n" + "\n".join(sorted(found)))
            time.sleep(0.05)

    def _groups(self) -> Iterator[str]:
        for line in _lines("/proc/self/mountinfo"):
            fields = line.split(" ")
            if fields[fields.index("-") + 1] not in ("cgroup", "cgroup2"):
                continue
            for directory, names, _ in os.walk(fields[4]):
                yield from (f"{directory}/{name}" for name in names if name == self._group)

    def _files(self) -> Iterator[Path]:
        if not self._node.exists():
            return
        for entry in self._node.iterdir():
            # A helper that is killed while it writes a record leaves the new one beside it, where the next write goes.
            record = entry.name.removesuffix(".new")
            keeps = entry.name in _STAYS or (record.endswith(".json") and record != "netd.json")
            if not keeps:
                yield entry
        for name in _EMPTY:
            if (self._node / name).is_dir():
                yield from (path for path in (self._node / name).iterdir() if path.name != ".lock")
        # Not those that a container may have made in a volume.
        yield from self._node.glob("pods/*/*.sock")
        yield from self._node.parent.glob("pods/*/*.sock")


def processes(node: Path, *, only: Callable[[int], bool] = lambda _: True) -> list[tuple[int, str]]:
    """Every process of a node, its containers' included: pid and name."""
    mark = os.fsencode(node)
    plain = f"{family.MARK}={supervisor.mark(str(node), '').removesuffix('/')}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            arguments = Path(f"/proc/{name}/cmdline").read_bytes()
            mounts = Path(f"/proc/{name}/mountinfo").read_bytes()
            # Of an overlay in a container the directory of its layer is seen, which is beside the node's.
            place = mark + b"/" in mounts or os.fsencode(node.parent / "pods") + b"/" in mounts
            # Plain processes have the machine's mounts, and a mark.
            place = place or plain in Path(f"/proc/{name}/environ").read_bytes()
            if (mark in arguments.split(b"\0") or place) and only(int(name)):
                found.append((int(name), Path(f"/proc/{name}/comm").read_text().strip()))
        except OSError:
            continue  # it has ended, or is somebody else's
    return found


def _lines(path: str) -> list[str]:
    return Path(path).read_text(errors="surrogateescape").splitlines()


def _zombies() -> Iterator[int]:
    """Children of this process that have ended and were not reaped."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] == b"Z" and int(fields[1]) == os.getpid():
                yield int(name)


def _descriptors() -> dict[str, int]:
    """How many namespaces and processes this process holds open, by kind."""
    counts: dict[str, int] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target == "anon_inode:[pidfd]" or target.startswith(("pidfd:", *_NAMESPACES)):
            kind = target.partition(":[")[0] if target.startswith(_NAMESPACES) else "pidfd"
            counts[kind] = counts.get(kind, 0) + 1
    return counts
