"""Putting files into a layer that is being made, where a container will look for them."""

from __future__ import annotations

import os
import posixpath
import stat

from homeport.node.layers.attributes import LayerError, make_opaque, make_whiteout, settle, settle_like
from homeport.node.layers.stack import Stack
from homeport.node.sandbox import trees

COPY_BYTES = 1 << 20


class Layer:
    """A directory that becomes the topmost layer over `below`. Only this process writes to it, and it holds no link
    that a path goes through: paths are resolved in the whole stack first."""

    def __init__(self, directory: str, below: Stack) -> None:
        self.directory = directory
        self.below = below
        self.whole = below.under(directory)
        self._places: dict[str, str] = {}

    def place(self, path: str) -> str:
        """Where the file at an absolute path of the container belongs. Its directories are made: as they are in the
        layers below, or as a new one is."""
        parent = posixpath.dirname(path)
        real = self._places.get(parent)
        if real is None:
            resolved = self.whole.resolve(parent)
            self.make_directories(resolved)
            real = self._places[parent] = f"{self.directory}{resolved.rstrip('/')}"
        return f"{real}/{posixpath.basename(path)}"

    def forget_places(self) -> None:
        """To be called when a link comes: it may be a part of paths."""
        self._places.clear()

    def make_directories(self, path: str, *, uid: int = 0, gid: int = 0, mode: int = 0o755) -> None:
        """All of a path without links; new ones belong to the ids."""
        here = ""
        for part in (piece for piece in path.split("/") if piece):
            here = f"{here}/{part}"
            real = f"{self.directory}{here}"
            found = self.whole.find(here)
            if found is not None and not found.is_directory:
                raise LayerError(f"{here} is no directory")
            if os.path.lexists(real) and found is not None:
                continue
            if os.path.lexists(real):
                # A whiteout of this layer: what comes now is new, and nothing of what was there.
                os.unlink(real)
                os.mkdir(real, 0o755)
                make_opaque(real)
            else:
                os.mkdir(real, 0o755)
            if found is None:
                settle(real, uid, gid, mode, None)
            else:
                settle_like(real, found.status)

    def clear(self, real: str) -> None:
        """Make room at a place for something that is no directory."""
        try:
            status = os.lstat(real)
        except FileNotFoundError:
            return
        if stat.S_ISREG(status.st_mode):
            os.unlink(real)
            return
        self.forget_places()
        trees.remove(real)

    def hide(self, path: str) -> None:
        """Take out what the layers below have at the path."""
        real = self.place(path)
        self.clear(real)
        make_whiteout(real)


def write_file(source: int, target: str, size: int | None = None) -> int:
    """Copy from a descriptor into a new file; the number of bytes."""
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    count = 0
    try:
        while data := os.read(source, COPY_BYTES):
            _write(handle, data)
            count += len(data)
    finally:
        os.close(handle)
    return count


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
