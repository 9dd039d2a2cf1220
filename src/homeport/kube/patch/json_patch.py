"""JSON patch (RFC 6902), with upstream's limits and its leniency: a negative index counts from the end, and a missing
member equals null for ``test``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from homeport.kube.errors import BadRequest, Invalid, TooLarge
from homeport.kube.meta import Object

MAX_OPERATIONS: Final = 10_000
MAX_COPIED_BYTES: Final = 3 << 20
"""How much all ``copy`` operations of a patch may add."""

MAX_MOVED_ITEMS: Final = 100_000_000
"""How many items of lists all operations of a patch may move aside: an insertion at the front moves all of them."""
MAX_PATH_PARTS: Final = 200
"""How deep a pointer may reach; objects may not be nested deeper either."""
_INDEX_DIGITS: Final = 10

_INDEX: Final = re.compile(r"-?(?:0|[1-9][0-9]*)", re.ASCII)
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")
_MISSING: Final = object()
_WITH_FROM: Final = frozenset({"move", "copy"})


def json_patch(obj: Object, patch: Any) -> Object:
    """`obj` with all operations of `patch` applied, or none.

    Raises BadRequest for a malformed patch, TooLarge for one with too many operations, Invalid for one that does not
    fit the object, such as a ``test`` that fails.
    """
    operations = _parse(patch)
    document = _Document(obj)
    for index, operation in enumerate(operations):
        try:
            document.apply(operation)
        except _MisfitError as error:
            raise Invalid(
                "the server rejected our request due to an error in our request: "
                f'operation {index} ("{operation.op}" at "{_short(operation.text)}"): {error}'
            ) from None
    if not isinstance(document.root, dict):
        raise Invalid("the server rejected our request due to an error in our request: the result is not an object")
    return document.root


class _Operation(NamedTuple):
    op: str
    text: str
    path: tuple[str, ...]
    value: Any = None
    source: tuple[str, ...] = ()


class _MisfitError(Exception):
    """The operation does not apply to this document."""


def _parse(patch: Any) -> list[_Operation]:
    if not isinstance(patch, list):
        raise BadRequest("a JSON patch must be a JSON array of operations")
    if len(patch) > MAX_OPERATIONS:
        raise TooLarge(
            "Request entity too large: The allowed maximum operations in a JSON patch is "
            f"{MAX_OPERATIONS}, got {len(patch)}"
        )
    return [_parse_operation(index, operation) for index, operation in enumerate(patch)]


def _parse_operation(index: int, operation: Any) -> _Operation:
    def fail(problem: str) -> BadRequest:
        return BadRequest(f"JSON patch operation {index}: {problem}")

    if not isinstance(operation, dict):
        raise fail("must be a JSON object")
    op = operation.get("op")
    if not isinstance(op, str) or op not in _ACTIONS:
        raise fail(
            f'op: Unsupported value: "{op}": supported values: "add", "copy", "move", "remove", "replace", "test"'
        )
    text = operation.get("path")
    if not isinstance(text, str):
        raise fail("path: Required value")
    path = _pointer(text)
    if path is None:
        raise fail(f'path: Invalid value: "{_short(text)}": {_NOT_A_POINTER}')
    # A value that is left out is null, as for the library that Kubernetes uses: clients written in Go leave out nil.
    source: tuple[str, ...] = ()
    if op in _WITH_FROM:
        origin = operation.get("from")
        if not isinstance(origin, str):
            raise fail("from: Required value")
        parsed = _pointer(origin)
        if parsed is None:
            raise fail(f'from: Invalid value: "{_short(origin)}": {_NOT_A_POINTER}')
        source = parsed
    return _Operation(op, text, path, operation.get("value"), source)


_NOT_A_POINTER: Final = f"must be a JSON pointer of at most {MAX_PATH_PARTS} parts"
_SHOWN: Final = 256


def _short(text: str) -> str:
    """As much of a pointer as helps whoever reads the error."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _pointer(text: str) -> tuple[str, ...] | None:
    """The parts of a JSON pointer (RFC 6901); None if it is malformed."""
    if not text:
        return ()
    if not text.startswith("/") or text.count("/") > MAX_PATH_PARTS or _BAD_ESCAPE.search(text):
        return None
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))


class _Document:
    """A document that copies each container once, when it is first changed."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._own: dict[int, Any] = {}
        self._copied = 0
        self._moved = 0

    def apply(self, operation: _Operation) -> None:
        _ACTIONS[operation.op](self, operation)

    def get(self, path: Sequence[str]) -> Any:
        node = self.root
        for part in path:
            node = _child(node, part)
            if node is _MISSING:
                raise _MisfitError("the path does not exist")
        return node

    def _parent(self, path: Sequence[str]) -> Any:
        """The container of the path's last part, made our own together with all above it."""
        self.root = node = self._mine(self.root)
        for part in path[:-1]:
            child = _child(node, part)
            if not isinstance(child, (dict, list)):
                raise _MisfitError("the path does not exist")
            mine = self._mine(child)
            if mine is not child:
                node[_position(node, part) if isinstance(node, list) else part] = mine
            node = mine
        if not isinstance(node, (dict, list)):
            raise _MisfitError("the path does not exist")
        return node

    def _mine(self, container: Any) -> Any:
        if id(container) in self._own or not isinstance(container, (dict, list)):
            return container
        copy = container.copy()
        self._own[id(copy)] = copy
        return copy

    def _give_away(self, node: Any) -> None:
        """`node` is now in the document twice: neither place may change it in place."""
        rest = [node]  # however deep it is by now
        while rest:
            node = rest.pop()
            if isinstance(node, (dict, list)):
                self._own.pop(id(node), None)
                rest.extend(node.values() if isinstance(node, dict) else node)

    def _move(self, items: list[Any], position: int) -> None:
        """Whatever is behind `position` in `items` moves by one."""
        self._moved += len(items) - position
        if self._moved > MAX_MOVED_ITEMS:
            raise _MisfitError(f"the operations move more than {MAX_MOVED_ITEMS} items of lists")

    def add(self, path: Sequence[str], value: Any) -> None:
        if not path:
            self.root = value
            return
        parent = self._parent(path)
        if isinstance(parent, list):
            position = len(parent) if path[-1] == "-" else _position(parent, path[-1], beyond=1)
            self._move(parent, position)
            parent.insert(position, value)
        else:
            parent[path[-1]] = value

    def remove(self, path: Sequence[str]) -> Any:
        if not path:
            raise _MisfitError("the whole document cannot be removed")
        parent = self._parent(path)
        if isinstance(parent, list):
            position = _position(parent, path[-1])
            self._move(parent, position)
            return parent.pop(position)
        if path[-1] not in parent:
            raise _MisfitError("the path does not exist")
        return parent.pop(path[-1])

    def _op_add(self, operation: _Operation) -> None:
        self.add(operation.path, operation.value)

    def _op_remove(self, operation: _Operation) -> None:
        self.remove(operation.path)

    def _op_replace(self, operation: _Operation) -> None:
        if not operation.path:
            self.root = operation.value
            return
        parent = self._parent(operation.path)
        part = operation.path[-1]
        if isinstance(parent, list):
            parent[_position(parent, part)] = operation.value
        elif part in parent:
            parent[part] = operation.value
        else:
            raise _MisfitError("the path does not exist")

    def _op_move(self, operation: _Operation) -> None:
        if operation.path[: len(operation.source)] == operation.source and operation.path != operation.source:
            raise _MisfitError("a value cannot be moved into itself")
        value = self.get(operation.source)
        if operation.path != operation.source:
            self.remove(operation.source)
            self.add(operation.path, value)

    def _op_copy(self, operation: _Operation) -> None:
        value = self.get(operation.source)
        try:
            self._copied += len(msgspec.json.encode(value))
        except RecursionError:
            raise _MisfitError("the value is nested too deep") from None
        if self._copied > MAX_COPIED_BYTES:
            raise _MisfitError(
                f"the accumulated size increase of copy is {self._copied}, exceeding the limit {MAX_COPIED_BYTES}"
            )
        self._give_away(value)
        self.add(operation.path, value)

    def _op_test(self, operation: _Operation) -> None:
        parent = self.get(operation.path[:-1])
        actual = _child(parent, operation.path[-1]) if operation.path else self.root
        if not equal(None if actual is _MISSING else actual, operation.value):
            raise _MisfitError("test failed: the value differs")


_ACTIONS: Final[dict[str, Callable[[_Document, _Operation], None]]] = {
    "add": _Document._op_add,
    "remove": _Document._op_remove,
    "replace": _Document._op_replace,
    "move": _Document._op_move,
    "copy": _Document._op_copy,
    "test": _Document._op_test,
}


def _child(node: Any, part: str) -> Any:
    if isinstance(node, dict):
        return node.get(part, _MISSING)
    if isinstance(node, list) and len(part) <= _INDEX_DIGITS and _INDEX.fullmatch(part):
        index = int(part)
        return node[index] if -len(node) <= index < len(node) else _MISSING
    return _MISSING


def _position(items: list[Any], part: str, beyond: int = 0) -> int:
    """An index into `items`, or up to `beyond` after its end."""
    if len(part) > _INDEX_DIGITS or not _INDEX.fullmatch(part):
        raise _MisfitError(f'"{_short(part)}" is not an array index')
    index, length = int(part), len(items) + beyond
    if not -length <= index < length:
        raise _MisfitError(f"index {index} is out of bounds")
    return index if index >= 0 else index + length


def equal(left: Any, right: Any) -> bool:
    """Equality of JSON values: Python's, but true is not 1."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(equal(value, right[key]) for key, value in left.items())
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(equal, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)
