"""What is special about files of layers: whiteouts, opaque directories, extended attributes, owners."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from homeport.node.sandbox import trees


class LayerError(Exception):
    """The layer can't be made; the text says why, for people."""


def _namespace() -> str:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        whole = file.read().split() == ["0", "0", "4294967295"]
    return "trusted." if whole and os.geteuid() == 0 else "user."


class _Namespace:
    """Which attributes overlayfs reads here: ``trusted.``, or ``user.`` in a user namespace (mount option
    ``userxattr``). Asked for once this process is who it stays."""

    prefix = ""

    @classmethod
    def opaque(cls) -> str:
        cls.prefix = cls.prefix or _namespace()
        return f"{cls.prefix}overlay.opaque"


_KEPT = ("user.", "security.capability")
_OVERLAY = ("user.overlay.", "trusted.overlay.")
"""What tells overlayfs where to look: never taken from an archive, never given to one."""


def is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def make_whiteout(path: str) -> None:
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _Namespace.opaque(), follow_symlinks=False) == b"y"
    except OSError:
        return False


def make_opaque(path: str) -> None:
    os.setxattr(path, _Namespace.opaque(), b"y", follow_symlinks=False)


def kept(path: str) -> dict[str, bytes]:
    """The extended attributes that are the file's own."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    found = {}
    for name in sorted(names):
        if is_kept(name):
            with contextlib.suppress(OSError):
                found[name] = os.getxattr(path, name, follow_symlinks=False)
    return found


def is_kept(name: str) -> bool:
    return name.startswith(_KEPT) and not name.startswith(_OVERLAY)


def set_kept(path: str, values: dict[str, bytes]) -> None:
    """A file system or a user namespace may not take some of them: a container works without."""
    for name, value in values.items():
        if is_kept(name):
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL, errno.ENOSPC):
                    raise


def settle(path: str, uid: int, gid: int, mode: int | None, mtime: float | None) -> None:
    """Owner, then permissions (a change of owner clears set-user-id), then the time. No permissions for a link."""
    trees.own(path, uid, gid)
    if mode is not None:
        os.chmod(path, mode & 0o7777)
    if mtime is not None:
        os.utime(path, (mtime, mtime), follow_symlinks=False)


def settle_like(path: str, status: os.stat_result) -> None:
    """As the original, which may have an owner that does not exist here."""
    mode = None if stat.S_ISLNK(status.st_mode) else status.st_mode
    settle(path, status.st_uid, status.st_gid, mode, status.st_mtime)
