"""Directory trees that containers wrote to: made, owned, copied, deleted."""

from __future__ import annotations

import contextlib
import os
import stat

_DEEPEST = 8
"""Levels that one path can surely name: 8 names of 255 bytes and the tree's own place."""


def own(path: str, uid: int, gid: int) -> None:
    """Give the path to the ids if they exist in this user namespace; else leave it with the caller."""
    try:
        os.chown(path, uid, gid, follow_symlinks=False)
    except OSError:
        # EINVAL: not mapped here. EPERM: not the caller's to give. Both mean that the caller keeps it.
        return


def measure(path: str) -> int:
    """Bytes that a tree takes on the disk, what has several names counted once; 0 if it is not there. Does not follow
    links, nor go into what is mounted in it."""
    try:
        first = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    seen: set[int] = set()
    total = first.st_blocks * 512
    todo = [path] if stat.S_ISDIR(first.st_mode) else []
    while todo:
        for entry in _list(todo.pop()):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # it has been deleted meanwhile
            if status.st_dev != first.st_dev or status.st_ino in seen:
                continue
            if status.st_nlink > 1:
                seen.add(status.st_ino)
            total += status.st_blocks * 512
            if stat.S_ISDIR(status.st_mode):
                todo.append(entry.path)
    return total


def copy(source: str, target: str) -> None:
    """Make `target`, which is not there, a copy of a tree, with owners, modes and times. Sockets and devices are left
    out. Raises OSError."""
    status = os.lstat(source)
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(target, 0o700)
        for entry in _list(source):
            copy(entry.path, f"{target}/{entry.name}")
    elif stat.S_ISREG(status.st_mode):
        _copy_file(source, target)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISFIFO(status.st_mode):
        os.mkfifo(target)
    else:
        return
    own(target, status.st_uid, status.st_gid)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _copy_file(source: str, target: str) -> None:
    old = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        new = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # In the kernel, and without a copy where the file system can share blocks.
            while _copy_some(old, new):
                pass
        finally:
            os.close(new)
    finally:
        os.close(old)


def _copy_some(old: int, new: int) -> int:
    if hasattr(os, "copy_file_range"):
        return os.copy_file_range(old, new, 1 << 30)
    left = memoryview(os.read(old, 1 << 20))
    count = len(left)
    while left:
        left = left[os.write(new, left) :]
    return count


def remove(path: str) -> None:
    """Delete a tree. No error if it is not there or if somebody else deletes it too; never follows a link, and depth is
    no limit."""
    todo = [path]
    parent = os.path.dirname(path) or "."
    count = 0
    while todo:
        current = todo.pop()
        try:
            mode = os.lstat(current).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISDIR(mode):
            _unlink(current)
            continue
        deep = _empty(current, 0)
        for directory in deep:
            # A tree deeper than a path may be long is cut into pieces beside the original.
            count += 1
            piece = os.path.join(parent, f".removing-{os.getpid()}-{count}")
            os.rename(directory, piece)
            todo.append(piece)
        if deep:
            todo.insert(0, current)
        else:
            _rmdir(current)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _rmdir(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(path)


def _list(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _empty(directory: str, depth: int) -> list[str]:
    """Delete what is in the directory; answers the directories that are too deep for that."""
    try:
        entries = _list(directory)
    except PermissionError:
        os.chmod(directory, 0o700)
        entries = _list(directory)
    deep: list[str] = []
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            _unlink(entry.path)
        elif depth >= _DEEPEST:
            deep.append(entry.path)
        else:
            below = _empty(entry.path, depth + 1)
            if below:
                deep += below
            else:
                _rmdir(entry.path)
    return deep
