"""``COPY`` and ``ADD``: files of a build's context or of another stage into a layer.

What counts for the digest is what counts for BuildKit: names, kinds, permissions and contents, not times.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from homeport.node.layers import unpack
from homeport.node.layers.attributes import LayerError, kept, set_kept, settle
from homeport.node.layers.ignore import Ignore
from homeport.node.layers.stack import Found, Stack
from homeport.node.layers.writing import Layer, write_file


class Source(NamedTuple):
    """One file or directory that a pattern means, in its stack."""

    path: str
    found: Found


class Options(NamedTuple):
    owner: tuple[int, int] = (0, 0)
    mode: int | None = None
    """Permissions of all files that are copied; None: as they are."""
    unpacks: bool = False
    """``ADD``: archives are unpacked."""


def context(directory: str, ignore: Sequence[str]) -> tuple[Stack, Ignore]:
    return Stack([os.path.realpath(directory)]), Ignore(ignore)


def sources(stack: Stack, ignore: Ignore, patterns: Sequence[str]) -> list[Source]:
    """What the patterns mean, in order; those without wildcards have to be there. Raises LayerError."""
    result = []
    for pattern in patterns:
        clean = posixpath.normpath("/" + pattern)
        matched = list(_matching(stack, ignore, clean)) if re.search(r"[*?\[]", clean) else _exact(stack, ignore, clean)
        if not matched:
            raise LayerError(f'"{pattern}": not found{_why(ignore, clean)}')
        result += matched
    return result


def _why(ignore: Ignore, path: str) -> str:
    return " (.dockerignore leaves it out)" if ignore.leaves_out(path.lstrip("/")) else ""


def _exact(stack: Stack, ignore: Ignore, path: str) -> list[Source]:
    resolved = stack.resolve(path)
    found = stack.find(resolved)
    inside = path.lstrip("/")
    if found is None or (inside and ignore.leaves_out(inside) and not (found.is_directory and ignore.brings_back)):
        return []
    return [Source(resolved, found)]


def _matching(stack: Stack, ignore: Ignore, pattern: str) -> Iterator[Source]:
    """A ``*`` stands for anything but a slash, as in Go's ``filepath.Match``."""
    candidates = ["/"]
    for part in pattern.strip("/").split("/"):
        following = []
        for candidate in candidates:
            resolved = stack.resolve(candidate)
            parent = stack.find(resolved)
            if parent is None or not parent.is_directory:
                continue
            names = fnmatch.filter(stack.children(resolved), part.replace("[^", "[!"))
            following += [posixpath.join(resolved, name) for name in names]
        candidates = following
    for path in candidates:
        if not ignore.leaves_out(path.lstrip("/")):
            yield from _exact(stack, Ignore(()), path)


def below(stack: Stack, ignore: Ignore, source: Source) -> Iterator[tuple[str, Found]]:
    """What a directory has that is copied; directories that only hold what is left out are left out."""
    base = source.path.strip("/")
    return _walk(stack, ignore, source.path, base, "")


def _walk(stack: Stack, ignore: Ignore, top: str, base: str, inside: str) -> Iterator[tuple[str, Found]]:
    for name in stack.children(posixpath.join(top, inside).rstrip("/") or "/"):
        relative = posixpath.join(inside, name)
        found = stack.find(posixpath.join(top, relative))
        if found is None:
            continue
        out = ignore.leaves_out(posixpath.join(base, relative))
        if found.is_directory:
            contents = _walk(stack, ignore, top, base, relative)
            if not out:
                yield relative, found
                yield from contents
            elif ignore.brings_back:
                first = next(contents, None)
                if first is not None:
                    yield relative, found
                    yield first
                    yield from contents
        elif not out:
            yield relative, found


def digest(stack: Stack, ignore: Ignore, chosen: Sequence[Source]) -> str:
    """Of all that is copied."""
    total = hashlib.sha256()
    for source in chosen:
        _note(total, posixpath.basename(source.path), source.found)
        if source.found.is_directory:
            for relative, found in below(stack, ignore, source):
                _note(total, relative, found)
    return total.hexdigest()


def _note(total: hashlib._Hash, name: str, found: Found) -> None:
    mode = found.status.st_mode
    content = ""
    if stat.S_ISREG(mode):
        with open(found.real, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    elif found.is_link:
        content = os.readlink(found.real)
    total.update(f"{name}\0{stat.S_IFMT(mode)}\0{stat.S_IMODE(mode)}\0{content}\0".encode(errors="surrogateescape"))


def copy(stack: Stack, ignore: Ignore, chosen: Sequence[Source], layer: Layer, target: str, options: Options) -> int:
    """Copy into a layer; the number of bytes. `target` is absolute, with a slash at its end for a directory."""
    wants_directory = target.endswith("/") or len(chosen) > 1
    place = layer.whole.resolve(target)
    there = layer.whole.find(place)
    into_directory = wants_directory or (there is not None and there.is_directory)
    if len(chosen) > 1 and not target.endswith("/") and not (there is not None and there.is_directory):
        raise LayerError(f'with more than one source the target must be a directory and end with "/": {target}')
    count = 0
    for source in chosen:
        if source.found.is_directory:
            layer.make_directories(place, uid=options.owner[0], gid=options.owner[1])
            for relative, found in below(stack, ignore, source):
                count += one(layer, f"{place.rstrip('/')}/{relative}", found, options)
            continue
        if options.unpacks and stat.S_ISREG(source.found.status.st_mode) and unpack.is_archive(source.found.real):
            layer.make_directories(place, uid=options.owner[0], gid=options.owner[1])
            count += _extract(source.found.real, layer, place)
            continue
        path = place
        if into_directory:
            layer.make_directories(place, uid=options.owner[0], gid=options.owner[1])
            path = posixpath.join(place, posixpath.basename(source.path))
        else:
            layer.make_directories(posixpath.dirname(place), uid=options.owner[0], gid=options.owner[1])
        count += one(layer, path, source.found, options)
    return count


def one(layer: Layer, path: str, found: Found, options: Options) -> int:
    """Copy one file, link or directory itself; the number of bytes."""
    status = found.status
    existing = layer.whole.find(layer.whole.resolve(path, last=found.is_directory))
    if found.is_directory:
        if existing is not None and not existing.is_directory:
            raise LayerError(f"a directory can't be copied over the file {path}")
        real = layer.place(path)
        if not os.path.isdir(real):
            os.mkdir(real, 0o755)
        settle(real, *options.owner, status.st_mode if options.mode is None else options.mode, status.st_mtime)
        return 0
    if existing is not None and existing.is_directory:
        raise LayerError(f"a file can't be copied over the directory {path}")
    real = layer.place(path)
    layer.clear(real)
    count = 0
    if found.is_link:
        os.symlink(os.readlink(found.real), real)
        layer.forget_places()
        settle(real, *options.owner, None, status.st_mtime)
        return 0
    if stat.S_ISREG(status.st_mode):
        source = os.open(found.real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            count = write_file(source, real)
        finally:
            os.close(source)
    elif stat.S_ISFIFO(status.st_mode):
        os.mkfifo(real, 0o600)
    else:
        return 0  # sockets and devices are of a machine, not of an image
    settle(real, *options.owner, None, None)
    set_kept(real, kept(found.real))
    settle(real, -1, -1, status.st_mode if options.mode is None else options.mode, status.st_mtime)
    return count


def _extract(path: str, layer: Layer, place: str) -> int:
    with open(path, "rb") as file:
        kind = unpack.compression(file.read(8))
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        file.seek(0)
        with unpack.open_compressed(file, kind) as plain:
            return unpack.unpack(plain, layer, prefix=place, whiteouts=False).bytes
