"""Expressions as trees, and the errors that are found before one is ever evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from homeport.kube.cel.types import DYN, Type


class CelError(ValueError):
    """An expression that can't be compiled. Its text is that of cel-go: one entry for each issue."""

    def __init__(self, source: str, issues: Sequence[tuple[int, str]]) -> None:
        self.issues = tuple(issues)
        super().__init__("\n".join(_issue(source, at, message) for at, message in issues))


def _issue(source: str, at: int, message: str) -> str:
    at = min(at, len(source))
    start = source.rfind("\n", 0, at) + 1
    line, column = source.count("\n", 0, at) + 1, at - start
    end = source.find("\n", start)
    text = source[start : end if end >= 0 else len(source)].replace("\t", " ")
    return f"ERROR: <input>:{line}:{column + 1}: {message}\n | {text}\n | {'.' * column}^"


class Node:
    """A part of an expression. `at` is the offset that messages point to; the compiler sets `type`."""

    __slots__ = ("at", "type")

    def __init__(self, at: int) -> None:
        self.at = at
        self.type: Type = DYN


class Literal(Node):
    __slots__ = ("value",)

    def __init__(self, at: int, value: Any, type_: Type) -> None:
        super().__init__(at)
        self.value = value
        self.type = type_


class Ident(Node):
    """A name; `absolute` with a dot in front of it."""

    __slots__ = ("absolute", "name")

    def __init__(self, at: int, name: str, absolute: bool = False) -> None:
        super().__init__(at)
        self.name = name
        self.absolute = absolute


class Select(Node):
    """``operand.field``; with `test` what ``has()`` asks, with `optional` ``operand.?field``."""

    __slots__ = ("field", "operand", "optional", "test")

    def __init__(self, at: int, operand: Node, field: str, *, test: bool = False, optional: bool = False) -> None:
        super().__init__(at)
        self.operand = operand
        self.field = field
        self.test = test
        self.optional = optional


class Call(Node):
    """A function or an operator, with or without a target."""

    __slots__ = ("args", "function", "target")

    def __init__(self, at: int, function: str, args: list[Node], target: Node | None = None) -> None:
        super().__init__(at)
        self.function = function
        self.args = args
        self.target = target


class ListLiteral(Node):
    __slots__ = ("items", "optional")

    def __init__(self, at: int, items: list[Node], optional: frozenset[int]) -> None:
        super().__init__(at)
        self.items = items
        self.optional = optional
        """The indices of items that are left out if they are absent: ``[?x]``."""


class MapLiteral(Node):
    __slots__ = ("entries",)

    def __init__(self, at: int, entries: list[tuple[Node, Node, bool]]) -> None:
        super().__init__(at)
        self.entries = entries
        """Key, value, and whether the value is an optional one: ``{?k: x}``."""


class Message(Node):
    """``Name{field: value}``: an object. Which names there are is the environment's business; protocol buffers are not
    supported."""

    __slots__ = ("fields", "name")

    def __init__(self, at: int, name: str, fields: list[tuple[str, Node, bool]]) -> None:
        super().__init__(at)
        self.name = name
        self.fields = fields
        """Name, value, and whether the value is an optional one: ``Name{?field: x}``."""


class Loop(Node):
    """A macro that goes over a list or a map: ``all``, ``map``, ``transformMap`` and so on."""

    __slots__ = ("body", "condition", "kind", "source", "variables")

    def __init__(
        self, at: int, kind: str, source: Node, variables: tuple[str, ...], condition: Node | None, body: Node | None
    ) -> None:
        super().__init__(at)
        self.kind = kind
        self.source = source
        self.variables = variables
        self.condition = condition
        """What an element has to hold; the predicate of ``all``, ``exists``, ``exists_one`` and ``filter``."""
        self.body = body
        """What becomes of an element in ``map`` and the ``transform`` macros."""


class Bind(Node):
    """``cel.bind(name, value, body)``; for ``optMap`` and ``optFlatMap`` `value` is an optional."""

    __slots__ = ("body", "kind", "name", "value")

    def __init__(self, at: int, kind: str, name: str, value: Node, body: Node) -> None:
        super().__init__(at)
        self.kind = kind
        self.name = name
        self.value = value
        self.body = body


def parts(node: Node) -> list[Node]:
    """The nodes right below."""
    if isinstance(node, Select):
        return [node.operand]
    if isinstance(node, Call):
        return node.args if node.target is None else [node.target, *node.args]
    if isinstance(node, ListLiteral):
        return node.items
    if isinstance(node, MapLiteral):
        return [part for key, value, _ in node.entries for part in (key, value)]
    if isinstance(node, Message):
        return [value for _, value, _ in node.fields]
    if isinstance(node, Loop):
        return [part for part in (node.source, node.condition, node.body) if part is not None]
    if isinstance(node, Bind):
        return [node.value, node.body]
    return []
