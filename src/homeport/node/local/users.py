"""Whom an image's containers run as: ``USER`` looked up in the image's own /etc/passwd and /etc/group. Pure.

The rules are those of the OCI image specification's ``config.User``, as container runtimes follow them.
"""

from __future__ import annotations

import msgspec


class User(msgspec.Struct, frozen=True):
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/root"


class UnknownUser(ValueError):
    """The image has no such user or group."""


_LARGEST = (1 << 32) - 2


def look_up(text: str, passwd: str, group: str) -> User:
    """`text` is ``user``, ``uid``, ``user:group`` or the like; empty is root. Raises UnknownUser."""
    name, colon, group_name = text.partition(":")
    name = name or "0"
    entries = [line.split(":") for line in passwd.splitlines() if line.count(":") >= 6]
    groups = [line.split(":") for line in group.splitlines() if line.count(":") >= 3]
    found = next((e for e in entries if e[0] == name), None)
    if found is None and name.isdecimal():
        found = next((e for e in entries if e[2] == name), None)
    if found is None and not name.isdecimal():
        raise UnknownUser(f"unable to find user {name}: no matching entries in passwd file")
    uid = _number(found[2] if found else name)
    gid = _number(found[3]) if found else 0
    home = (found[5] if found else "") or "/"
    if colon and group_name:
        chosen = next((g for g in groups if g[0] == group_name), None)
        if chosen is None and not group_name.isdecimal():
            raise UnknownUser(f"unable to find group {group_name}: no matching entries in group file")
        return User(uid, _number(chosen[2] if chosen else group_name), (), home)
    further = () if found is None else tuple(_number(g[2]) for g in groups if found[0] in g[3].split(","))
    return User(uid, gid, further, home if found or uid else "/root")


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) > _LARGEST:
        raise UnknownUser(f"{text!r} is no user or group id")
    return int(text)
