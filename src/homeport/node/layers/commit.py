"""What a container wrote, as a layer."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Mapping

from homeport.node.layers.writing import Layer

_OF_THE_POD = ("etc/hosts", "etc/hostname", "etc/resolv.conf")
_MOUNTED_ON = ("dev", "proc", "sys")


def commit(uppers: Mapping[str, str], layer: Layer, *, mounted: list[str]) -> bool:
    """Move the writable layers of a container, by the path that each lay over, into the (empty) directory of a layer.
    `mounted` are paths that something was mounted on and that are not the image's if they are empty. False: it wrote
    nothing."""
    top = uppers.get("/")
    if top is not None:
        for name in os.listdir(top):
            os.rename(f"{top}/{name}", f"{layer.directory}/{name}")
    for path in _OF_THE_POD:
        _drop(f"{layer.directory}/{path}")
    for path in (*_MOUNTED_ON, *mounted):
        _drop_empty(layer.directory, path.strip("/"))
    for path, upper in sorted(uppers.items()):
        if path == "/" or not os.listdir(upper):
            continue
        parent = posixpath.dirname(path)
        layer.make_directories(parent)
        target = f"{layer.directory}{path}"
        if os.path.isdir(target):
            os.rmdir(target)
        os.rename(upper, target)
    for path in ("etc", "tmp"):
        _drop_same(layer, path)
    return bool(os.listdir(layer.directory))


def _drop(path: str) -> None:
    if os.path.lexists(path) and not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)


def _drop_empty(base: str, path: str) -> None:
    """What was made to mount something on, and directories above that hold nothing else."""
    try:
        status = os.lstat(f"{base}/{path}")
    except OSError:
        return
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        os.unlink(f"{base}/{path}")
        path = posixpath.dirname(path)
    while path:
        try:
            os.rmdir(f"{base}/{path}")
        except OSError:
            return
        path = posixpath.dirname(path)


def _drop_same(layer: Layer, path: str) -> None:
    """A directory that is in the layer only because something in it was touched."""
    real = f"{layer.directory}/{path}"
    if os.path.isdir(real) and not os.listdir(real) and layer.below.find(f"/{path}") is not None:
        os.rmdir(real)
