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


def _errand(work: Callable[[], wire.Message | None], words: str, subject: str, *, names_file: bool = False) -> Errand:
    """`words` tell of a failure, with the `subject` of the errand (or, if `names_file`, the file that it was about) and
    the reason."""

    def do() -> wire.Message:
        try:
            return work() or {}
        except OSError as error:
            what = error.filename if names_file and error.filename else subject
            return {"error": words.format(what, error.strerror or error)}

    return do


def remove(message: dict[str, Any]) -> Errand:
    """Delete a tree."""
    path = message["path"]
    return _errand(lambda: trees.remove(path), "{} can't be deleted: {}", path, names_file=True)


def copy(message: dict[str, Any]) -> Errand:
    """Copy a tree to where there is none."""
    source, target = message["source"], message["target"]
    return _errand(lambda: trees.copy(source, target), "{} can't be copied: {}", source, names_file=True)


def give(message: dict[str, Any]) -> Errand:
    """Give a tree to a group."""
    path, group = message["path"], int(message["group"])
    how = {name: bool(message[name]) for name in ("read_only", "only_if_root_differs")}
    return _errand(lambda: groups.give(path, group, **how), f"{{}} can't be given to group {group}: {{}}", path)


def give_file(message: dict[str, Any]) -> Errand:
    """Give a file to a user."""
    path, user = message["path"], int(message["user"])
    return _errand(lambda: groups.give_file(path, user), f"{{}} can't be given to user {user}: {{}}", path)


def measure(message: dict[str, Any]) -> Errand:
    """How much room trees take."""
    paths = list(message["paths"])

    def sizes() -> wire.Message:
        return {"sizes": [trees.measure(path) for path in paths]}

    return _errand(sizes, "{} can't be measured: {}", ", ".join(paths), names_file=True)


LONG: dict[str, Callable[[dict[str, Any]], Errand]] = {
    "remove": remove,
    "copy": copy,
    "give": give,
    "measure": measure,
}
"""By the names of their operations; those that go through a whole tree."""
SHORT: dict[str, Callable[[dict[str, Any]], Errand]] = {"give-file": give_file}
