"""Copies of the files that image files name: containers that run keep what they started with."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from homeport.node.host import ImageError
from homeport.node.imagefile import ImageFile, ImageFiles
from homeport.node.runtime import Mount


class ImageCopies:
    """Keeps them in a directory, by their content."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._contents: dict[Path, tuple[tuple[object, ...], str]] = {}

    def mounts(self, image: ImageFile) -> Iterable[Mount]:
        """Copies of the files as they are now. Raises ImageError."""
        for files in image.files:
            yield Mount(str(self._copy(image, files)), files.target, read_only=True)

    def places(self, image: ImageFile) -> Iterable[str]:
        """Where the copies are, or would be. Raises ImageError."""
        for files in image.files:
            try:
                yield str(self._place(image, files) / files.source.name)
            except OSError as error:
                raise _unreadable(image, files, error) from error

    def _place(self, image: ImageFile, files: ImageFiles) -> Path:
        return self._cache / f"{image.name}-files-{self._digest(files.source)[:16]}"

    def _copy(self, image: ImageFile, files: ImageFiles) -> Path:
        try:
            place = self._place(image, files)
            target = place / files.source.name
            if not place.exists():
                temporary = self._cache / f".{place.name}.{os.getpid()}"
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(mode=0o755, parents=True)
                if files.source.is_dir():
                    shutil.copytree(files.source, temporary / files.source.name, ignore=_ignored)
                else:
                    shutil.copy2(files.source, temporary / files.source.name)
                try:
                    temporary.rename(place)
                except OSError:
                    shutil.rmtree(temporary, ignore_errors=True)
                    if not place.exists():
                        raise
        except OSError as error:
            raise _unreadable(image, files, error) from error
        return target

    def _digest(self, source: Path) -> str:
        """Of the names and contents; read again only when a name, a size or a time has changed."""
        found = [source] if source.is_file() else sorted(p for p in source.rglob("*") if not _is_ignored(p, source))
        stamp = tuple((str(p), s.st_mtime_ns, s.st_size, s.st_mode) for p in found for s in (p.stat(),))
        known = self._contents.get(source)
        if known is not None and known[0] == stamp:
            return known[1]
        digest = hashlib.sha256()
        for path in found:
            digest.update(f"{path.relative_to(source.parent)}\0{path.stat().st_mode}\0".encode())
            if path.is_file():
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        self._contents[source] = (stamp, digest.hexdigest())
        return digest.hexdigest()


_ignored = shutil.ignore_patterns("__pycache__", ".git")


def _is_ignored(path: Path, base: Path) -> bool:
    return not {"__pycache__", ".git"}.isdisjoint(path.relative_to(base).parts)


def _unreadable(image: ImageFile, files: ImageFiles, error: OSError) -> ImageError:
    return ImageError(f"{image.path}: {error.filename or files.source}: {error.strerror or error}")
