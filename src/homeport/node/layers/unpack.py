"""A layer's archive into a directory.

The format is the OCI image specification's layer (tar; names ``.wh.*`` stand for what is taken out). Nothing in an
archive is trusted: no name leads out of the directory, links are followed inside the image only, device nodes are
left out, and size and number of files are bounded.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import posixpath
import shutil
import stat
import subprocess
import tarfile
import threading
import zlib
from collections.abc import Callable
from typing import IO, NamedTuple

from homeport.node.layers.attributes import (
    LayerError,
    is_whiteout,
    make_opaque,
    make_whiteout,
    set_kept,
    settle,
    settle_like,
)
from homeport.node.layers.writing import COPY_BYTES, Layer

_WHITEOUT, _OPAQUE, _AUFS = ".wh.", ".wh..wh..opq", ".wh..wh."
_LONGEST_HEADER = 1 << 20
_BUFFER = 32 << 10
"""Bytes that the library moves with each of its reads."""
_XATTR = "SCHILY.xattr."
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"))
BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class Limits(NamedTuple):
    bytes: int = 128 << 30
    entries: int = 4_000_000


class Unpacked(NamedTuple):
    diff_id: str
    bytes: int
    entries: int
    devices: int
    """Device nodes that were left out."""


class _Info(tarfile.TarInfo):
    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        # The library reads these as a whole into memory.
        if self.type in _HEADERS and self.size > _LONGEST_HEADER:
            raise LayerError(f"the archive has a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]


class _Hashing(io.RawIOBase):
    """Reads through, counting and hashing."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def finish(self) -> str:
        while self.read(COPY_BYTES):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def compression(head: bytes) -> str:
    """What the first bytes of a file say; empty: none that is known."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "")


def is_archive(path: str) -> bool:
    """Whether a file is a tar archive, compressed or not: by its content, as for ``ADD``."""
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            file.seek(0)
            with open_compressed(file, compression(head)) as plain:
                return _looks_like_tar(plain.read(512))
    except (OSError, LayerError, *BROKEN):
        return False


def _looks_like_tar(block: bytes) -> bool:
    if len(block) < 512 or block.count(0) == 512:
        return len(block) == 512
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def open_compressed(file: IO[bytes], kind: str) -> IO[bytes]:
    """Raises LayerError for what this machine can't read."""
    match kind:
        case "":
            return file
        case "gzip":
            return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
        case "bzip2":
            return bz2.BZ2File(file)
        case "xz":
            return lzma.LZMAFile(file)
    return _open_zstd(file)


def _open_zstd(file: IO[bytes]) -> IO[bytes]:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]

        return zstd.ZstdFile(file)  # type: ignore[no-any-return,unused-ignore]
    except ImportError:
        program = shutil.which("zstd")
    if program is None:
        raise LayerError("a layer is compressed with zstd: install zstd, or Python 3.14, or save the image with gzip")
    process = subprocess.Popen(
        [program, "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    threading.Thread(target=_feed, args=(file, process.stdin), daemon=True).start()
    return process.stdout


def _feed(source: IO[bytes], target: IO[bytes]) -> None:
    # If the program ends early the stream is short, and that is told by who reads it.
    with contextlib.suppress(BrokenPipeError), target:
        shutil.copyfileobj(source, target, COPY_BYTES)


def unpack(
    source: IO[bytes],
    layer: Layer,
    *,
    prefix: str = "/",
    limits: Limits = Limits(),  # noqa: B008
    progress: Callable[[int], None] = lambda count: None,
    whiteouts: bool = True,
    owner: tuple[int, int] | None = None,
) -> Unpacked:
    """Unpack a tar stream below `prefix`. With `owner` all files belong to these ids; without `whiteouts` names that
    begin with ``.wh.`` are files like any other (``ADD``). Raises LayerError."""
    hashing = _Hashing(source)
    work = _Unpacking(layer, prefix, limits, whiteouts, owner)
    try:
        with tarfile.open(fileobj=hashing, mode="r|", tarinfo=_Info, bufsize=_BUFFER) as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]
                work.take(member, archive)
                progress(work.bytes)
        work.finish()
        return Unpacked(hashing.finish(), work.bytes, work.entries, work.devices)
    except BROKEN as error:
        raise LayerError(f"the archive is damaged: {error or type(error).__name__}") from error


class _Unpacking:
    def __init__(
        self, layer: Layer, prefix: str, limits: Limits, whiteouts: bool, owner: tuple[int, int] | None
    ) -> None:
        self._layer = layer
        self._prefix = prefix.rstrip("/")
        self._limits = limits
        self._whiteouts = whiteouts
        self._owner = owner
        self._directories: dict[str, tarfile.TarInfo] = {}
        self.bytes = self.entries = self.devices = 0

    def take(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        self.entries += 1
        if self.entries > self._limits.entries:
            raise LayerError(f"the archive has more than {self._limits.entries} files")
        path = _inside(member.name)
        if not path:
            if member.isdir() and not self._prefix:
                self._directories[self._layer.directory] = member
            return
        path = f"{self._prefix}/{path}"
        name = posixpath.basename(path)
        if self._whiteouts and name.startswith(_WHITEOUT):
            self._take_out(posixpath.dirname(path), name)
            return
        if member.ischr() or member.isblk():
            self.devices += 1
            return
        if member.isdir():
            self._directory(path, member)
            return
        real = self._layer.place(path)
        self._layer.clear(real)
        if member.issym():
            os.symlink(member.linkname, real)
            self._layer.forget_places()
        elif member.islnk():
            self._link(real, path, member)
            return
        elif member.isfifo():
            os.mkfifo(real, 0o600)
        elif member.isfile():
            self._file(real, member, archive)
        else:
            raise LayerError(f"{member.name}: a file of the unknown type {member.type!r}")
        self._settle(real, member)

    def _take_out(self, parent: str, name: str) -> None:
        parent = self._layer.whole.resolve(parent)
        if name == _OPAQUE:
            self._layer.make_directories(parent)
            make_opaque(f"{self._layer.directory}{parent}")
        elif not name.startswith(_AUFS):
            hidden = name.removeprefix(_WHITEOUT)
            if hidden in ("", ".", ".."):
                raise LayerError(f"{parent}/{name}: it takes nothing out")
            real = self._layer.place(posixpath.join(parent, hidden))
            if not os.path.lexists(real):
                make_whiteout(real)
            elif stat.S_ISDIR(os.lstat(real).st_mode):
                # It takes out what is below, and not what the same layer brings.
                make_opaque(real)

    def _directory(self, path: str, member: tarfile.TarInfo) -> None:
        real = self._layer.place(path)
        if os.path.lexists(real) and not stat.S_ISDIR(os.lstat(real).st_mode):
            taken_out = is_whiteout(os.lstat(real))
            self._layer.clear(real)
            os.mkdir(real, 0o755)
            if taken_out:
                make_opaque(real)
        elif not os.path.lexists(real):
            os.mkdir(real, 0o755)
        # Its permissions may forbid what comes, and what comes changes its time.
        self._directories[real] = member

    def _link(self, real: str, path: str, member: tarfile.TarInfo) -> None:
        linked = f"{self._prefix}/{_inside(member.linkname)}"
        whole = self._layer.whole
        parent = whole.resolve(posixpath.dirname(linked))
        found = whole.find(posixpath.join(parent, posixpath.basename(linked)))
        if found is None or found.is_directory:
            raise LayerError(f"{member.name}: the file that it is a link to, {member.linkname}, is not there")
        if found.real.startswith(f"{self._layer.directory}/"):
            os.link(found.real, real, follow_symlinks=False)
        elif found.is_link:
            os.symlink(os.readlink(found.real), real)
        else:
            shutil.copyfile(found.real, real)
            settle_like(real, found.status)

    def _file(self, real: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        if self.bytes + member.size > self._limits.bytes:
            raise LayerError(f"the archive has more than {self._limits.bytes} bytes")
        content = archive.extractfile(member)
        assert content is not None
        handle = os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(handle, "wb", buffering=0) as file:
            shutil.copyfileobj(content, file, COPY_BYTES)
        self.bytes += member.size

    def _settle(self, real: str, member: tarfile.TarInfo) -> None:
        uid, gid = self._owner or (member.uid, member.gid)
        values = {
            key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape")
            for key, value in member.pax_headers.items()
            if key.startswith(_XATTR)
        }
        # Before the permissions, which may forbid it; capabilities after the owner, whose change clears them.
        settle(real, uid, gid, None, None)
        set_kept(real, values)
        settle(real, -1, -1, None if member.issym() else member.mode, max(member.mtime, 0))

    def finish(self) -> None:
        for real, member in sorted(self._directories.items(), reverse=True):
            if os.path.isdir(real) and not os.path.islink(real):
                self._settle(real, member)


def _inside(name: str) -> str:
    """A name of the archive relative to the image's root. Raises LayerError for one that leads out of it."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise LayerError(f"{name}: the name leads out of the image")
    return "/".join(parts)


class Part(io.RawIOBase):
    """`size` bytes of a file from where it stands: a file in an archive that is not compressed."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._start = file.tell()
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, min(base + offset, self._size))
        self._file.seek(self._start + self._at)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = self._size - self._at
        data = self._file.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data
