"""Layers one upon another, looked at as a container will see them, without mounting them."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from homeport.node.layers.attributes import LayerError, is_opaque, is_whiteout

_MOST_LINKS = 40
"""As the kernel (ELOOP)."""


class Found(NamedTuple):
    """What is at a path: where it really is, and what is known of it."""

    real: str
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.status.st_mode)


class Stack:
    """`layers` are directories, the topmost first. `mounted` are directories of the machine that a container sees below
    the layers' own at some paths (``/usr``, ``/opt/venv``)."""

    def __init__(self, layers: Sequence[str], mounted: Mapping[str, str] | None = None) -> None:
        self.layers = list(layers)
        self._mounted = dict(mounted or {})

    def under(self, layer: str) -> Stack:
        """The same with a layer on top."""
        return Stack([layer, *self.layers], self._mounted)

    def find(self, path: str) -> Found | None:
        """What is at an absolute path of which no directory is a link."""
        found, directories = self._look(path)
        if found is not None and found.is_directory and directories:
            found = Found(directories[0], found.status)
        return None if found is None or self._is_private(found) else found

    def _is_private(self, found: Found) -> bool:
        """Whether it is the machine's and not for everybody: no container sees that."""
        mode = found.status.st_mode
        visible = 0o005 if stat.S_ISDIR(mode) else 0o004
        return (
            mode & visible != visible
            and not stat.S_ISLNK(mode)
            and any(f"{found.real}/".startswith(f"{real}/") for real in self._mounted.values())
        )

    def resolve(self, path: str, *, last: bool = True) -> str:
        """The path with every link in it followed, inside the root. What is not there stays as it is; the last part is
        left alone unless `last`. Raises LayerError for links in a circle."""
        todo = [part for part in path.split("/") if part not in ("", ".")][::-1]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            here = "/" + "/".join([*done, part])
            found = self.find(here) if todo or last else None
            if found is None or not found.is_link:
                done.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise LayerError(f"{path}: {os.strerror(errno.ELOOP).lower()}")
            target = os.readlink(found.real)
            if target.startswith("/"):
                done = []
            todo += [piece for piece in target.split("/") if piece not in ("", ".")][::-1]
        return "/" + "/".join(done)

    def children(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        _, directories = self._look(path)
        names: dict[str, bool] = {}
        for directory in directories:
            for entry in os.scandir(directory):
                if entry.name not in names:
                    names[entry.name] = not is_whiteout(entry.stat(follow_symlinks=False))
        above = f"{path.rstrip('/')}/"
        for at in self._mounted:
            if at.startswith(above) and at != above:
                names[at[len(above) :].split("/")[0]] = True
        return sorted(name for name, shown in names.items() if shown)

    def walk(self, path: str) -> Iterator[tuple[str, Found]]:
        """Everything below a directory, parents first, with the path relative to it."""
        todo = [""]
        while todo:
            inside = todo.pop()
            below = []
            for name in self.children(posixpath.join(path, inside).rstrip("/") or "/"):
                relative = posixpath.join(inside, name)
                found = self.find(posixpath.join(path, relative))
                if found is not None:
                    yield relative, found
                    if found.is_directory:
                        below.append(relative)
            todo += reversed(below)

    def _look(self, path: str) -> tuple[Found | None, list[str]]:
        """What is at the path, and of a directory all that it is merged of."""
        directories = list(self.layers)
        if "/" in self._mounted:
            directories.append(self._mounted["/"])
        found: Found | None = Found(directories[0], os.stat(directories[0])) if directories else None
        here = ""
        for part in (piece for piece in path.split("/") if piece):
            here = f"{here}/{part}"
            found, directories = self._step(directories, part)
            if here in self._mounted and (found is None or found.is_directory):
                real = self._mounted[here]
                directories.append(real)
                if found is None and os.path.isdir(real):
                    found = Found(real, os.stat(real))
            if found is None and any(at.startswith(f"{here}/") for at in self._mounted):
                # Only there because something is mounted below it.
                found = Found("/", os.stat("/"))
            if found is None:
                return None, []
        return found, directories

    @staticmethod
    def _step(directories: list[str], name: str) -> tuple[Found | None, list[str]]:
        merged: list[str] = []
        found: Found | None = None
        for directory in directories:
            path = f"{directory}/{name}"
            try:
                status = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if is_whiteout(status):
                break
            if not stat.S_ISDIR(status.st_mode):
                if found is None:
                    found = Found(path, status)
                break
            if found is None:
                found = Found(path, status)
            merged.append(path)
            if is_opaque(path):
                break
        return found, merged
