"""A layer's directory into an archive: always the same bytes for the same files."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from typing import IO, Any, NamedTuple

from homeport.node.layers.attributes import is_opaque, is_whiteout, kept
from homeport.node.layers.stack import Stack

_BUFFER = 32 << 10
"""Bytes that the library moves with each of its writes."""


class Packed(NamedTuple):
    diff_id: str
    bytes: int


class _Counting:
    def __init__(self, target: IO[bytes] | None) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.bytes += len(data)
        if self._target is not None:
            self._target.write(data)
        return len(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def pack(directory: str, target: IO[bytes] | None = None) -> Packed:
    """Write the layer as a tar stream, or only find out what its digest and size are."""
    counting = _Counting(target)
    sink: Any = counting
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BUFFER) as archive:
        linked: dict[tuple[int, int], str] = {}
        _add(archive, directory, "", linked)
    return Packed(counting.digest, counting.bytes)


def pack_all(stack: Stack, target: IO[bytes]) -> Packed:
    """Write all that a container sees as one layer."""
    counting = _Counting(target)
    sink: Any = counting
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BUFFER) as archive:
        for relative, found in stack.walk("/"):
            mode = found.status.st_mode
            if stat.S_ISSOCK(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                continue
            member = _member(relative, found.real, found.status)
            if stat.S_ISREG(mode):
                with open(found.real, "rb") as file:
                    archive.addfile(member, file)
            else:
                archive.addfile(member)
    return Packed(counting.digest, counting.bytes)


def _add(archive: tarfile.TarFile, base: str, inside: str, linked: dict[tuple[int, int], str]) -> None:
    for name in sorted(os.listdir(f"{base}/{inside}" if inside else base)):
        relative = f"{inside}/{name}" if inside else name
        path = f"{base}/{relative}"
        status = os.lstat(path)
        if is_whiteout(status):
            _mark(archive, f"{inside}/.wh.{name}" if inside else f".wh.{name}")
            continue
        if stat.S_ISSOCK(status.st_mode) or stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            continue
        member = _member(relative, path, status)
        if stat.S_ISREG(status.st_mode):
            key = (status.st_dev, status.st_ino)
            if status.st_nlink > 1 and key in linked:
                member.type, member.linkname, member.size = tarfile.LNKTYPE, linked[key], 0
                archive.addfile(member)
                continue
            linked[key] = relative
            with open(path, "rb") as file:
                archive.addfile(member, file)
            continue
        archive.addfile(member)
        if stat.S_ISDIR(status.st_mode):
            if is_opaque(path):
                _mark(archive, f"{relative}/.wh..wh..opq")
            _add(archive, base, relative, linked)


def _mark(archive: tarfile.TarFile, name: str) -> None:
    archive.addfile(tarfile.TarInfo(name))


def _member(name: str, path: str, status: os.stat_result) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    mode = status.st_mode
    member.mode, member.uid, member.gid = stat.S_IMODE(mode), status.st_uid, status.st_gid
    member.mtime = int(status.st_mtime)
    if stat.S_ISDIR(mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(mode):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
    elif stat.S_ISFIFO(mode):
        member.type = tarfile.FIFOTYPE
    else:
        member.size = status.st_size
    values = kept(path)
    if values:
        member.pax_headers = {
            f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in values.items()
        }
    return member
