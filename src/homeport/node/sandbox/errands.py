"""What the fork server does with files for the platform: as root of the user namespace that containers run in, it may
do what they may.

Each errand is made ready from the platform's message, and is then done where it may take as long as it takes; what goes
wrong is in its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeport.node.sandbox import groups, trees, wire

Errand = Callable[[], wire.Message]


def remove(message: dict[str, Any]) -> Errand:
    """Delete a tree."""
    path = message["path"]

    def do() -> wire.Message:
        try:
            trees.remove(path)
        except OSError as error:
            return {"error": f"{error.filename or path} can't be deleted: {error.strerror or error}"}
        return {}

    return do


def copy(message: dict[str, Any]) -> Errand:
    """Copy a tree to where there is none."""
    source, target = message["source"], message["target"]

    def do() -> wire.Message:
        try:
            trees.copy(source, target)
        except OSError as error:
            return {"error": f"{error.filename or source} can't be copied: {error.strerror or error}"}
        return {}

    return do


def give(message: dict[str, Any]) -> Errand:
    """Give a tree to a group."""
    path, group = message["path"], int(message["group"])
    read_only, only_if_root_differs = message["read_only"], message["only_if_root_differs"]

    def do() -> wire.Message:
        try:
            groups.give(path, group, read_only=read_only, only_if_root_differs=only_if_root_differs)
        except OSError as error:
            return {"error": f"{path} can't be given to group {group}: {error.strerror or error}"}
        return {}

    return do


def give_file(message: dict[str, Any]) -> Errand:
    """Give a file to a user."""
    path, user = message["path"], int(message["user"])

    def do() -> wire.Message:
        try:
            groups.give_file(path, user)
        except OSError as error:
            return {"error": f"{path} can't be given to user {user}: {error.strerror or error}"}
        return {}

    return do


def measure(message: dict[str, Any]) -> Errand:
    """How much room trees take."""
    paths = message["paths"]

    def do() -> wire.Message:
        try:
            return {"sizes": [trees.measure(path) for path in paths]}
        except OSError as error:
            return {"error": f"{error.filename} can't be measured: {error.strerror or error}"}

    return do


LONG: dict[str, Callable[[dict[str, Any]], Errand]] = {
    "remove": remove,
    "copy": copy,
    "give": give,
    "measure": measure,
}
"""By the names of their operations; those that go through a whole tree."""
SHORT: dict[str, Callable[[dict[str, Any]], Errand]] = {"give-file": give_file}
