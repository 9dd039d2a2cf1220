"""Giving a volume to a pod's group (``fsGroup``), or a file to its user: as the kubelet does it (upstream:
``pkg/volume/volume_linux.go``).

By root of the user namespace that containers run in, since only there the group exists. Containers may be at work in
the volume: each file is opened by its name in a directory that is open already, and never through a link.
"""

from __future__ import annotations

import errno
import os
import stat

_READ, _WRITE, _PASS = 0o440, 0o660, 0o110


def give(path: str, group: int, *, read_only: bool, only_if_root_differs: bool) -> None:
    """Let the group have everything in a tree, and what will be made in it. `only_if_root_differs`: leave a tree alone
    whose top is as it should be (``OnRootMismatch``). Raises OSError; EINVAL for a group that does not exist here."""
    path = os.path.realpath(path)
    status = os.stat(path)
    if only_if_root_differs and status.st_gid == group and stat.S_IMODE(status.st_mode) == _mode(status, read_only):
        return
    for _directory, _names, files, descriptor in os.fwalk(path, follow_symlinks=False, onerror=_raise):
        _give(descriptor, group, read_only=read_only)
        for name in files:
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                    file = os.open(name, flags, dir_fd=descriptor)
                    try:
                        _give(file, group, read_only=read_only)
                    finally:
                        os.close(file)
                else:
                    os.chown(name, -1, group, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted meanwhile


def give_file(path: str, user: int) -> None:
    """Let a user own a file, which must not be a link. Raises OSError; EINVAL for a user that does not exist here."""
    try:
        os.chown(path, user, -1, follow_symlinks=False)
    except OSError as error:
        # Where there is one id only, whoever a container runs as is that one: the file's owner already.
        if error.errno != errno.EINVAL or not _is_alone():
            raise


def _is_alone() -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return sum(int(line.split()[2]) for line in file) == 1


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _give(descriptor: int, group: int, *, read_only: bool) -> None:
    status = os.fstat(descriptor)
    if status.st_gid != group:
        os.fchown(descriptor, -1, group)
    # After the change of owner, which takes the set-group-id bit away.
    os.fchmod(descriptor, _mode(status, read_only))


def _mode(status: os.stat_result, read_only: bool) -> int:
    mode = stat.S_IMODE(status.st_mode) | (_READ if read_only else _WRITE)
    return mode | stat.S_ISGID | _PASS if stat.S_ISDIR(status.st_mode) else mode
