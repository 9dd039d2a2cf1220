"""The names that an expression can use: variables, types, and what its macros bind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.kube.cel.functions import Run
from homeport.kube.cel.syntax import Ident, Node, Select
from homeport.kube.cel.types import DYN, Type, list_of, map_of, optional_of, type_of
from homeport.kube.cel.values import EvaluationError, TypeValue

UNSET = object()
"""The value of a variable that an evaluation does not bind."""

_TYPES: Mapping[str, Type] = {
    name: Type(name)
    for name in (
        "bool", "int", "uint", "double", "string", "bytes", "null_type", "type",
        "google.protobuf.Timestamp", "google.protobuf.Duration", "net.IP", "net.CIDR", "kubernetes.URL",
    )
} | {
    "list": list_of(DYN),
    "map": map_of(DYN, DYN),
    "optional_type": optional_of(DYN),
}  # fmt: skip


class Scope:
    """The names at one place of an expression, each with its slot in the frame and its type. `container` is where a
    name is looked up first."""

    def __init__(self, variables: Mapping[str, Type], container: str) -> None:
        self.container = container
        self._globals = {name: (slot, type_) for slot, (name, type_) in enumerate(variables.items(), 1)}
        self._locals: list[tuple[str, int, Type]] = []
        self.slots = 1 + len(variables)
        """Of the frame; the first is the budget's."""
        self.used: set[str] = set()
        """The variables that were looked up."""

    def local(self, name: str) -> tuple[int, Type] | None:
        """What a macro binds."""
        return next(((slot, type_) for known, slot, type_ in reversed(self._locals) if known == name), None)

    def find(self, name: str, *, absolute: bool) -> tuple[Run, Type] | None:
        """A variable or a type by its name, which may be qualified."""
        container = "" if absolute else self.container
        while True:
            full = f"{container}.{name}" if container else name
            if full in self._globals:
                slot, type_ = self._globals[full]
                self.used.add(full)
                return _variable(slot, full), type_
            if full in _TYPES:
                return always(TypeValue(full)), type_of(_TYPES[full])
            if not container:
                return None
            container = container.rpartition(".")[0]

    def covers(self, node: Node) -> bool:
        """Whether a qualified name begins with one that a macro binds."""
        while isinstance(node, Select):
            node = node.operand
        return isinstance(node, Ident) and not node.absolute and self.local(node.name) is not None

    def enter(self, names: tuple[str, ...], types: tuple[Type, ...]) -> list[int]:
        """Bind names; their slots."""
        slots = []
        for name, type_ in zip(names, types, strict=True):
            slots.append(self.slots)
            self._locals.append((name, self.slots, type_))
            self.slots += 1
        return slots

    def leave(self, names: tuple[str, ...]) -> None:
        del self._locals[-len(names) :]


def always(value: Any) -> Run:
    return lambda frame: value


def is_absolute(node: Node) -> bool:
    """Whether a name is written with a dot in front of it."""
    while isinstance(node, Select):
        node = node.operand
    return isinstance(node, Ident) and node.absolute


def _variable(slot: int, name: str) -> Run:
    def run(frame: list[Any]) -> Any:
        value = frame[slot]
        if value is UNSET:
            raise EvaluationError(f"no such attribute(s): {name}")
        return value

    return run
