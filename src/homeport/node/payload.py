"""Directories of files that change as a whole: config maps, secrets and the like, as pods see them.

The layout is the kubelet's. The files lie in a directory of their own, ``..data`` points at it, and each name in the
volume points through ``..data``; renaming one symbolic link replaces all files at once, under the eyes of a running
container too.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from homeport.kube.errors import HomeportError

_DATA = "..data"
_GROUP_READS = 0o440
"""What the kubelet adds to the mode of read-only files that it gives to a group."""


class File(msgspec.Struct, frozen=True):
    content: bytes
    mode: int = 0o644
    user: int | None = None
    """Whose it is, by the number in containers; None: the platform's own user's."""


class Giving(msgspec.Struct, frozen=True):
    """Gives files to those who shall have them, by their numbers in containers, before anybody sees the files. Raises
    HomeportError."""

    to_user: Callable[[Path, int], None]
    """One file."""
    to_group: Callable[[Path], None] | None = None
    """A directory with all that is in it, to read, to the pod's ``fsGroup``; None: the pod has none."""


def check_path(path: str) -> None:
    """A file's place in a volume: relative, without ``..``. Raises HomeportError."""
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise HomeportError(
            f'invalid path "{path}": must be relative, must not contain ".." and must not start with ".."'
        )


def is_one(directory: Path) -> bool:
    """Whether :func:`write` has been here."""
    return (directory / _DATA).is_symlink()


def write(directory: Path, files: Mapping[str, File], giving: Giving | None = None) -> bool:
    """Make `directory` show exactly `files` (path -> content). Says whether anything had to be done. Without `giving`
    all files stay the platform's."""
    for path in files:
        check_path(path)
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    current = _current(directory)
    if current is not None and _shows(
        current, files, _GROUP_READS if giving is not None and giving.to_group is not None else 0
    ):
        return False
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    try:
        fresh.chmod(0o755)
        for path, file in files.items():
            target = fresh / path
            if "/" in path:
                target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as handle:
                handle.write(file.content)
                os.fchmod(descriptor, file.mode)
            if giving is not None and file.user is not None:
                giving.to_user(target.resolve(), file.user)
        if giving is not None and giving.to_group is not None:
            giving.to_group(fresh.resolve())
        link = directory / f"{_DATA}_tmp"
        link.unlink(missing_ok=True)
        link.symlink_to(fresh.name)
        link.rename(directory / _DATA)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    _link_names(directory, {path.split("/", 1)[0] for path in files})
    if current is not None:
        shutil.rmtree(current, ignore_errors=True)
    return True


def _current(directory: Path) -> Path | None:
    try:
        return directory / os.readlink(directory / _DATA)
    except FileNotFoundError:
        return None


def _shows(current: Path, files: Mapping[str, File], given: int) -> bool:
    present = {str(found.relative_to(current)): found for found in current.rglob("*") if not found.is_dir()}
    if present.keys() != files.keys():
        return False
    try:
        return all(
            present[path].read_bytes() == file.content and present[path].stat().st_mode & 0o7777 == file.mode | given
            for path, file in files.items()
        )
    except PermissionError:
        return False  # it is a pod's user's, and we are an ordinary user ourselves: who knows what is in it


def _link_names(directory: Path, names: set[str]) -> None:
    for entry in list(directory.iterdir()):
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{_DATA}/{name}")
