"""Ports of the machine behind which pods' ports are, where all pods of a node have one address (macOS).

A door belongs to a name, ``<namespace>/<pod>``, not to a pod: it is there as soon as somebody is told of it, which may
be before the pod is, and it stays for the pod's successor as long as one pod lives that has been told. The first to ask
for a port gets that very one, if it is free.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

from homeport.node.sandbox import record

_FILE = "doors.json"
_FIRST, _COUNT = 20000, 10000
"""Below what systems give to connections (Linux from 32768 on, macOS from 49152 on)."""


class Doors:
    """Of the node whose directory that is. Whoever has them may be any process of the node."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, _FILE)
        self._seen: tuple[int, int] | None = None
        self._content: dict[str, Any] = {"doors": {}, "pods": {}}

    def register(self, uid: str, name: str, address: str) -> None:
        """Somebody is called so, and has that address of those that the API shows. Raises OSError."""
        with self._changing() as content:
            content["pods"][address] = [uid, name]

    def name_of(self, address: str) -> str:
        """Whose address it is; empty if nobody's."""
        self._look()
        return str(self._content["pods"].get(address, ("", ""))[1])

    def open(self, uid: str, name: str, port: int) -> int:
        """The machine's port for that one; `uid` is the pod that is told. Raises OSError."""
        with self._changing() as content:
            doors = content["doors"]
            door = doors.get(f"{name}:{port}")
            if door is None:
                door = doors[f"{name}:{port}"] = [_choose(port, {taken for taken, _ in doors.values()}), []]
            if uid not in door[1]:
                door[1].append(uid)
            return int(door[0])

    def behind(self, name: str, port: int) -> int:
        """The machine's port for that one: itself, as long as nobody has been told of another."""
        self._look()
        door = self._content["doors"].get(f"{name}:{port}")
        return int(door[0]) if door is not None else port

    def release(self, uid: str) -> None:
        """The pod is no more. Raises OSError."""
        if not os.path.exists(self._path):
            return
        with self._changing() as content:
            content["pods"] = {key: value for key, value in content["pods"].items() if value[0] != uid}
            told = {key: [port, [u for u in users if u != uid]] for key, (port, users) in content["doors"].items()}
            content["doors"] = {key: value for key, value in told.items() if value[1]}

    def _look(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(self._path)
            if (status.st_ino, status.st_mtime_ns) != self._seen:
                with open(self._path, encoding="utf-8") as file:
                    self._content = json.load(file)
                self._seen = (status.st_ino, status.st_mtime_ns)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        with open(f"{self._path}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._look()
            before = json.dumps(self._content)
            yield self._content
            if json.dumps(self._content) != before:
                record.write(self._path, self._content)


def _choose(port: int, taken: set[int]) -> int:
    if port not in taken and _is_free(port):
        return port
    for step in range(_COUNT):
        other = _FIRST + (port + step) % _COUNT
        if other not in taken and _is_free(other):
            return other
    raise OSError(errno.EADDRINUSE, "no port of the machine is left for pods")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
