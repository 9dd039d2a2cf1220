"""Which user a container's processes run as: the numbers that the pod gives, else what its image says, looked up in the
container's own /etc/passwd and /etc/group as container runtimes do."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from homeport.node.sandbox import spec

_MOST_BYTES = 1 << 20
"""Of /etc/passwd and /etc/group that are read; a container may have made them."""


class User(NamedTuple):
    uid: int
    gid: int
    groups: list[int]
    """Further ones, the primary not among them."""
    home: str
    """Empty if /etc/passwd does not know the user."""


class UnknownUser(Exception):
    """The text says which name is not in the container's files."""


def of(container: spec.Container) -> User:
    """In the container's root. Raises UnknownUser."""
    wanted_user, _, wanted_group = container.user.partition(":")
    if container.uid is not None:
        wanted_user, wanted_group = str(container.uid), ""
    wanted_user = wanted_user or "0"  # also where the image has no such file (FROM scratch)
    users, groups = _table("/etc/passwd", 7), _table("/etc/group", 4)
    entry = _find(users, wanted_user)
    if entry is None and not wanted_user.isdecimal():
        raise UnknownUser(f"unable to find user {wanted_user}: no matching entries in passwd file")
    uid = int(entry[2]) if entry is not None else int(wanted_user)
    gid = container.gid
    if gid is None and wanted_group:
        group = _find(groups, wanted_group)
        if group is None and not wanted_group.isdecimal():
            raise UnknownUser(f"unable to find group {wanted_group}: no matching entries in group file")
        gid = int(group[2]) if group is not None else int(wanted_group)
    if gid is None:
        gid = int(entry[3]) if entry is not None and entry[3].isdecimal() else 0
    further = dict.fromkeys(container.groups)
    # Docker leaves the lookup out for an explicit group; the kubelet asks for it (supplementalGroupsPolicy: Merge).
    if entry is not None and not container.only_these_groups:
        further |= dict.fromkeys(int(group[2]) for group in groups if entry[0] in group[3].split(","))
    further.pop(gid, None)
    return User(uid, gid, list(further), entry[5] if entry is not None else "")


def _find(table: list[list[str]], wanted: str) -> list[str] | None:
    """The entry of that name, else of that number."""
    for column in (0, 2):
        for entry in table:
            if entry[column] == wanted:
                return entry
    return None


def _table(path: str, columns: int) -> list[list[str]]:
    """The good lines of a file like /etc/passwd; none if there is no such file. A container can have put anything in
    its place: what is no file is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return []
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return []
        text = file.read(_MOST_BYTES).decode(errors="replace")
    entries = (line.split(":") for line in text.split("\n"))
    return [entry for entry in entries if len(entry) == columns and entry[2].isdecimal() and len(entry[2]) < 11]
