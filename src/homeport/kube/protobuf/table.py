"""The messages of Kubernetes' built-in API groups: fields by number, with their types and their names in JSON.

One file in ``messages`` holds one group and version, as made by ``tools/protobuf_messages.py``. Its grammar::

    Name [kind]                a message; "kind" if it is a whole object, with apiVersion and kind in JSON
      NUMBER JSON TYPE         a field; JSON is "." where the inner message's fields stand among those around it
    Name = [TYPE]              a message of one list, which is just that list in JSON

    TYPE   string int32 int64 bool bytes double, a message's name (of another file: FILE:Name), [TYPE] for a list,
           {TYPE} for a map from strings; ``?`` behind it for a pointer (absent or set, however empty); ``!`` for a
           field that Go writes in JSON even where it is its type's zero value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any, Literal

_META = "meta.k8s.io.v1"
_EVERYWHERE = frozenset(
    {
        "APIGroup",
        "APIGroupList",
        "APIResourceList",
        "APIVersions",
        "ApplyOptions",
        "CreateOptions",
        "DeleteOptions",
        "GetOptions",
        "ListOptions",
        "PatchOptions",
        "Status",
        "UpdateOptions",
        "WatchEvent",
    }
)
"""Kinds that belong to every group and version."""
_SCALARS = frozenset({"string", "int32", "int64", "bool", "bytes", "double", "raw"})
_SPECIAL = "special"
"""The table of messages whose JSON is not an object of their fields: code knows them (``special.txt``, by hand)."""
_LISTS = "Strings"
"""What a message counts as that is just a list in JSON."""
_ZEROS: dict[str, Any] = {
    "string": "",
    "int32": 0,
    "int64": 0,
    "bool": False,
    "double": 0,
    "Quantity": "0",
    "IntOrString": 0,
    "Duration": "0s",
}
"""Go's zero values as JSON has them; of everything else it is null."""


@dataclass(slots=True, eq=False)
class Field:
    """One field of a message."""

    number: int
    json: str
    """Empty where the inner message's fields stand among those around it."""
    type: str
    """A scalar, or ``message``."""
    message: Message | None
    shape: Literal["one", "list", "map"]
    pointer: bool
    keeps_zero: bool


@dataclass(eq=False)
class Message:
    """One message. Its fields are read when it is first used: messages refer to each other in circles."""

    table: str
    name: str
    is_kind: bool
    special: str
    """What its JSON is instead of an object: ``Time``, ``Quantity``, ...; ``Strings`` for a list."""
    lines: list[str]

    @cached_property
    def fields(self) -> dict[int, Field]:
        """By number."""
        return {one.number: one for one in map(self._parse, self.lines)}

    @cached_property
    def zeros(self) -> tuple[tuple[str, Any], ...]:
        """What JSON has of an empty message: names and zero values; a Message stands for its own zero."""
        return tuple(self._find_zeros())

    @cached_property
    def cost(self) -> int:
        """How many values an empty message has in JSON, those of messages within it included."""
        return 1 + sum(value.cost if isinstance(value, Message) else 1 for _, value in self.zeros)

    def _find_zeros(self) -> Iterator[tuple[str, Any]]:
        for one in self.fields.values():
            if not one.json:
                assert one.message is not None
                yield from one.message.zeros
            elif one.keeps_zero:
                yield one.json, _zero_of(one)

    def _parse(self, line: str) -> Field:
        number, json, written = line.split()
        keeps_zero = written.endswith("!")
        written = written.removesuffix("!")
        pointer = written.endswith("?")
        written = written.removesuffix("?")
        shape: Literal["one", "list", "map"] = "one"
        if written[0] in "[{":
            shape = "list" if written[0] == "[" else "map"
            written = written[1:-1]
        message = None
        if written not in _SCALARS:
            table, _, name = written.rpartition(":")
            home = _load(table or self.table)
            message = home[name] if name in home else _load(_SPECIAL)[name]
            written = "message"
        return Field(int(number), "" if json == "." else json, written, message, shape, pointer, keeps_zero)


def _zero_of(one: Field) -> Any:
    if one.shape != "one" or one.pointer:
        return None
    if one.message is None:
        return _ZEROS.get(one.type)
    return _ZEROS.get(one.message.special) if one.message.special else one.message


def zero(message: Message) -> dict[str, Any]:
    """What JSON has of an empty `message`."""
    return {name: zero(value) if isinstance(value, Message) else value for name, value in message.zeros}


@cache
def tables() -> frozenset[str]:
    """The names of all tables: group and version with a dot between them."""
    files = (resources.files(__package__) / "messages").iterdir()
    return frozenset(file.name.removesuffix(".txt") for file in files if file.name.endswith(".txt"))


def messages(table: str) -> dict[str, Message]:
    """All messages of one table, by name."""
    return _load(table)


@cache
def _load(table: str) -> dict[str, Message]:
    found: dict[str, Message] = {}
    lines: list[str] = []
    home = resources.files(__package__)
    file = home / "special.txt" if table == _SPECIAL else home / "messages" / f"{table}.txt"
    for line in file.read_text(encoding="ascii").splitlines():
        if line.startswith(" "):
            lines.append(line)
            continue
        name, *rest = line.split()
        special = name if table == _SPECIAL else ""
        lines = []
        if rest[:1] == ["="]:
            special, lines = _LISTS, [f"  1 items {rest[1]}"]
        found[name] = Message(table, name, rest == ["kind"], special, lines)
    return found


def named(table: str, name: str) -> Message:
    return _load(table)[name]


def find(api_version: str, kind: str) -> Message | None:
    """The message of a whole object; None for kinds that have none (those of CustomResourceDefinitions)."""
    if kind in _EVERYWHERE:
        return _load(_META)[kind]
    table = api_version.replace("/", ".")
    if table not in tables():
        return None
    message = _load(table).get(kind)
    return message if message is not None and message.is_kind else None
