"""User namespaces: how an ordinary user gets a root of their own, and which ids exist there.

As root nothing is needed. An ordinary user with ranges in ``/etc/subuid`` and ``/etc/subgid`` and the setuid helpers
``newuidmap`` and ``newgidmap`` gets root and the ids from 1 on; without them root alone exists, which is the user.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Callable

from homeport.node.sandbox import linux

_PATHS = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin")


class Range:
    """`count` ids from `first` on, given to a user."""

    __slots__ = ("count", "first")

    def __init__(self, first: int, count: int) -> None:
        self.first = first
        self.count = count


def parse_ranges(text: str, names: frozenset[str]) -> list[Range]:
    """The ranges of subuid(5) or subgid(5) text that belong to a user of any of these names. Bad lines are skipped."""
    found = []
    for line in text.splitlines():
        owner, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if owner in names and first.strip().isdecimal() and count.strip().isdecimal() and int(count) > 0:
            found.append(Range(int(first), int(count)))
    return found


def read_ranges(path: str) -> list[Range]:
    """This user's ranges in the file; none if there is no such file."""
    uid = os.getuid()
    names = {str(uid)}
    with contextlib.suppress(KeyError):
        names.add(pwd.getpwuid(uid).pw_name)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return parse_ranges(file.read(), frozenset(names))
    except (FileNotFoundError, PermissionError):
        return []


def helper(name: str) -> str | None:
    """The path of ``newuidmap`` or ``newgidmap``, None if it is not installed."""
    for directory in _PATHS:
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    return None


def _arguments(own: int, ranges: list[Range]) -> list[str]:
    arguments, inside = ["0", str(own), "1"], 1
    for part in ranges:
        arguments += [str(inside), str(part.first), str(part.count)]
        inside += part.count
    return arguments


def _run(program: str, arguments: list[str]) -> bool:
    null = os.open(os.devnull, os.O_RDWR)
    try:
        pid = os.posix_spawn(program, [program, *arguments], {}, file_actions=[(os.POSIX_SPAWN_DUP2, null, 0)])
    finally:
        os.close(null)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def map_ranges(pid: int) -> bool:
    """Map the user's ranges into the process's new user namespace. False if there are none, or the helpers refuse."""
    users, groups = read_ranges("/etc/subuid"), read_ranges("/etc/subgid")
    newuidmap, newgidmap = helper("newuidmap"), helper("newgidmap")
    if not (users and groups and newuidmap and newgidmap):
        return False
    return _run(newuidmap, [str(pid), *_arguments(os.getuid(), users)]) and _run(
        newgidmap, [str(pid), *_arguments(os.getgid(), groups)]
    )


def keep_self() -> int:
    """Be able to map ids where /proc shows others' processes, too: a descriptor that has to stay open until then."""
    global _self
    _self = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return _self


def map_single(uid: int, gid: int, outer_uid: int, outer_gid: int) -> None:
    """In a new user namespace: `uid` and `gid` are the ids that the caller had outside, and no others exist."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        path = f"/proc/self/{name}" if _self is None else name
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=_self)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)


def enter(map_from_outside: Callable[[], bool]) -> None:
    """Become root of a new user namespace.

    `map_from_outside` is called once the namespace exists, and answers whether somebody outside has mapped ranges
    into it.
    """
    uid, gid = os.getuid(), os.getgid()
    linux.unshare(linux.CLONE_NEWUSER)
    if not map_from_outside():
        map_single(0, 0, uid, gid)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    linux.set_dumpable()


_self: int | None = None
"""This process as the machine's /proc shows it, if it is to see another one."""
_maps: dict[str, list[tuple[int, int]]] = {}
"""First id and count, of ``uid`` and ``gid``; empty if not known."""
_groups_allowed: bool | None = None


def remember() -> None:
    """Know this process's user namespace from now on, also after forks: where /proc is a container's, it can't be
    asked. To be called again after a change of namespaces."""
    global _groups_allowed
    for kind in ("uid", "gid"):
        _maps[kind] = _read_map(kind)
    _groups_allowed = _read_groups_allowed()


def is_mapped(kind: str, value: int) -> bool:
    """Whether the id exists in this process's user namespace; `kind` is ``uid`` or ``gid``."""
    return any(first <= value < first + count for first, count in _maps.get(kind) or _read_map(kind))


def _read_map(kind: str) -> list[tuple[int, int]]:
    found = []
    with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
        for line in file:
            first, _outer, count = line.split()
            found.append((int(first), int(count)))
    return found


def may_set_groups() -> bool:
    """False in a user namespace whose only group is the user's own."""
    return _read_groups_allowed() if _groups_allowed is None else _groups_allowed


def _read_groups_allowed() -> bool:
    try:
        with open("/proc/self/setgroups", encoding="ascii") as file:
            return file.read().strip() == "allow"
    except FileNotFoundError:
        return True
