"""What an expression can cost at most, found out before it is ever evaluated.

Rules that could be too expensive are refused with the definition that has them. Which ones that are, clients can see:
the estimate follows upstream's, step by step (cel-go ``checker/cost.go``, ``apiserver/pkg/cel/library/cost.go``). Only
upper bounds count here, so of its ranges the upper ends are kept, and sizes' lower ends where ``replace`` needs them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from homeport.kube.cel.parser import qualified
from homeport.kube.cel.sizes import Sized
from homeport.kube.cel.syntax import (
    Bind,
    Call,
    Ident,
    ListLiteral,
    Literal,
    Loop,
    MapLiteral,
    Message,
    Node,
    Select,
)
from homeport.kube.cel.types import Type

LIMIT = 2**64 - 1
"""Stands for whatever can't be bounded; sums and products stay below."""
_TRAVERSAL = 0.1
"""Of a string, for each character."""
_PATTERN = 0.25
"""Of a regular expression, for each character."""
_NAME_PATTERN = 128
"""Characters of the longest pattern of a named format."""
_SCALARS = frozenset({"bool", "double", "int", "uint", "google.protobuf.Timestamp", "google.protobuf.Duration"})


class Estimate(NamedTuple):
    """What is known of a part of an expression."""

    cost: int = 0
    size: int | None = None
    """Of its value at most; None where nothing is known."""
    least: int = 0
    """Of its value at least."""
    sized: Sized | None = None
    """The schema of its value, where it is a part of the object."""
    key: int | None = None
    """The size of keys of a map that the expression makes."""
    item: int | None = None
    """The size of items of a list, or of values of a map, that the expression makes."""

    @property
    def bound(self) -> int:
        return LIMIT if self.size is None else self.size


def estimate(tree: Node, variables: Mapping[str, Sized]) -> int:
    """The most that an evaluation of a compiled expression can cost. `variables` are those that have a schema."""
    return _Estimator(variables).node(tree).cost


def _add(*costs: int) -> int:
    return min(LIMIT, sum(costs))


def _times(a: int, b: int) -> int:
    return min(LIMIT, a * b)


def _by(size: int, factor: float) -> int:
    return LIMIT if size >= LIMIT else min(LIMIT, math.ceil(size * factor))


class _Estimator:
    def __init__(self, variables: Mapping[str, Sized]) -> None:
        self._variables = variables
        self._locals: list[tuple[str, Estimate]] = []

    def node(self, node: Node) -> Estimate:
        match node:
            case Literal():
                size = len(node.value) if isinstance(node.value, (str, bytes)) else 1
                return Estimate(0, size, size)
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListLiteral():
                parts = [self.node(part) for part in node.items]
                item = max((part.bound for part in parts), default=0)
                cost = _add(10, *(part.cost for part in parts))
                return Estimate(cost, len(parts), len(parts), None, 1, item)
            case MapLiteral():
                return self._map(node)
            case Message():
                parts = [self.node(value) for _, value, _ in node.fields]
                return Estimate(_add(40, *(part.cost for part in parts)))
            case Loop():
                return self._loop(node)
            case Bind():
                return self._bind(node)
        raise TypeError(node)

    def _ident(self, node: Ident) -> Estimate:
        for name, known in reversed(self._locals):
            if name == node.name and not node.absolute:
                return known._replace(cost=1)
        # Upstream takes any other name, as that of a type, for the whole.
        return self._of_schema(node, 1, self._variables.get(node.name, self._variables.get("self")))

    def _of_schema(self, node: Node, cost: int, sized: Sized | None) -> Estimate:
        """A part of the object, or a value of which only the type is known."""
        if sized is not None:
            return Estimate(cost, sized.most, 0, sized)
        return Estimate(cost, 1, 1) if _is_scalar(node.type) else Estimate(cost)

    def _select(self, node: Select) -> Estimate:
        operand = self.node(node.operand)
        if node.test:
            return Estimate(operand.cost, 1, 1)
        sized = None if operand.sized is None else operand.sized.field(node.field)
        selects = node.optional or node.operand.type.name in ("map", "object")
        return self._of_schema(node, _add(operand.cost, int(selects)), sized)

    def _map(self, node: MapLiteral) -> Estimate:
        keys = [self.node(key) for key, _, _ in node.entries]
        values = [self.node(value) for _, value, _ in node.entries]
        cost = _add(30, *(part.cost for part in (*keys, *values)))
        key, item = (max((part.bound for part in parts), default=0) for parts in (keys, values))
        return Estimate(cost, len(keys), len(keys), None, key, item)

    # -- macros

    def _loop(self, node: Loop) -> Estimate:
        source = self.node(node.source)
        is_list = node.source.type.name == "list"
        item = self._element(source, source.item)
        key = Estimate(1, 1, 1) if is_list else Estimate(1, 0) if source.sized else self._element(source, source.key)
        if len(node.variables) == 2:
            values = [key, item]
        else:
            values = [item if is_list else key]
        self._locals += zip(node.variables, values, strict=True)
        condition = self.node(node.condition) if node.condition is not None else Estimate()
        body = self.node(node.body) if node.body is not None else Estimate()
        del self._locals[-len(node.variables) :]
        turn, start, end = _LOOPS[node.kind]
        cost = _add(source.cost, start, end, _times(source.bound, _add(turn, condition.cost, body.cost)))
        if node.kind in ("all", "exists", "exists_one"):
            return Estimate(cost, 1, 1)
        made = item.size if node.kind == "filter" else body.size
        return Estimate(cost, source.bound, 0, None, 1, made)

    def _element(self, source: Estimate, size: int | None) -> Estimate:
        """What a loop goes over. If that is no part of the object (``has(self.x) ? self.x : []``), upstream looks for
        the size of its elements in the schema of the whole: that is what clients' rules have been measured by."""
        root = self._variables.get("self")
        sized = source.sized.items if source.sized is not None else root
        return Estimate(1, sized.most, 0, sized) if sized is not None else Estimate(1, size)

    def _bind(self, node: Bind) -> Estimate:
        value = self.node(node.value)
        self._locals.append((node.name, value))
        body = self.node(node.body)
        self._locals.pop()
        if node.kind == "bind":
            return body._replace(cost=_add(10, value.cost, body.cost))
        # Whether there is a value, the value, and an optional around the result.
        return body._replace(cost=_add(13, value.cost, value.cost, body.cost), sized=None)

    # -- calls

    def _call(self, node: Call) -> Estimate:
        args = [self.node(arg) for arg in node.args]
        target = None
        if node.target is not None and not self._is_namespace(node.target):
            target = self.node(node.target)
        spent = _add(target.cost if target else 0, *(arg.cost for arg in args))
        if node.function == "_?_:_":
            condition, yes, no = args
            size = max(yes.bound, no.bound)
            cost = _add(condition.cost, max(yes.cost, no.cost))
            key, item = _either(yes.key, no.key), _either(yes.item, no.item)
            return Estimate(cost, size, min(yes.least, no.least), None, key, item)
        if node.function in ("_&&_", "_||_"):
            return Estimate(spent, 1, 1)
        if node.function == "dyn":
            return args[0]._replace(cost=_add(1, spent))
        if node.function in ("_[_]", "_[?_]", "_?._") and args:
            return self._indexed(node, args, _add(1, spent))
        every = args if target is None else [target, *args]
        types = [part.type for part in ([node.target] if target is not None and node.target else [])] + [
            arg.type for arg in node.args
        ]
        own = _FUNCTIONS.get(node.function)
        found = None if own is None else own(every, types)
        if found is None:
            return Estimate(_add(1, spent), 1 if _is_scalar(node.type) else None)
        known = found.size if found.size is not None or not _is_scalar(node.type) else 1
        return found._replace(cost=_add(found.cost, spent), size=known)

    def _indexed(self, node: Call, args: Sequence[Estimate], cost: int) -> Estimate:
        source = args[0]
        if source.sized is not None:
            return self._of_schema(node, cost, source.sized.items)
        return Estimate(cost, 1 if source.item is None and _is_scalar(node.type) else source.item)

    def _is_namespace(self, node: Node) -> bool:
        """Whether `node` is the first part of a function's name: ``math`` in ``math.greatest(1, 2)``."""
        name = qualified(node)
        if name is None:
            return False
        first = name.partition(".")[0]
        return first not in self._variables and all(known != first for known, _ in self._locals)


_LOOPS: Mapping[str, tuple[int, int, int]] = {
    "all": (3, 0, 1),
    "exists": (4, 0, 1),
    "exists_one": (2, 0, 2),
    "filter": (13, 10, 1),
    "map": (12, 10, 1),
    "transformList": (12, 10, 1),
    "transformMap": (3, 30, 1),
    "transformMapEntry": (3, 30, 1),
}
"""What a macro costs beside its expressions: for each turn, to begin with, at the end."""


def _is_scalar(type_: Type) -> bool:
    if type_.name == "optional_type":
        return bool(type_.args) and _is_scalar(type_.args[0])
    return type_.name in _SCALARS


def _either(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else max(a, b)


Function = Callable[[Sequence[Estimate], Sequence[Type]], Estimate | None]
"""The cost of a call beside that of its arguments (of a member's target, first), and the size of the result."""


def _same_size(args: Sequence[Estimate], types: Sequence[Type]) -> Estimate:
    return Estimate(_by(args[0].bound, _TRAVERSAL), args[0].size, args[0].least)


def _first(factor: float, at: int = 0) -> Function:
    return lambda args, types: Estimate(_by(args[at].bound, factor)) if len(args) > at else None


def _nominal(cost: int = 1) -> Function:
    return lambda args, types: Estimate(cost)


def _over_list(args: Sequence[Estimate], types: Sequence[Type]) -> Estimate | None:
    target, type_ = args[0], types[0]
    if type_.name == "list":
        turn = 1
        if type_.args and type_.args[0].name in ("string", "bytes"):
            turn += _by(_items(target), _TRAVERSAL)
        return Estimate(_times(target.bound, turn))
    return Estimate(_by(target.bound, _TRAVERSAL))


def _items(source: Estimate) -> int:
    """The size of the items of a list."""
    if source.sized is not None:
        return source.sized.items.most if source.sized.items else LIMIT
    return LIMIT if source.item is None else source.item


def _in(args: Sequence[Estimate], types: Sequence[Type]) -> Estimate | None:
    return Estimate(args[1].bound) if types[1].name == "list" else None


def _equal(args: Sequence[Estimate], types: Sequence[Type]) -> Estimate | None:
    return Estimate(_by(min(args[0].bound, args[1].bound), _TRAVERSAL))


def _order(args: Sequence[Estimate], types: Sequence[Type]) -> Estimate | None:
    return _equal(args, types) if types[0].name in ("string", "bytes") else None


def _plus(args: Sequence[Estimate], types: Sequence[Type]) -> Estimate | None:
    a, b = args
    size, least = _add(a.bound, b.bound), a.least + b.least
    if types[0].name == "list":
        return Estimate(1, size, least, None, 1, _either(_either_item(a), _either_item(b)))
    if types[0].name in ("string", "bytes"):
        return Estimate(_by(size, _TRAVERSAL), size, least)
    return None


def _either_item(part: Estimate) -> int | None:
    return part.item if part.sized is None or part.sized.items is None else part.sized.items.most


def _pattern(args: Sequence[Estimate], types: Sequence[Type]) -> Estimate:
    text, pattern = args[0], args[1]
    cost = _times(_by(_add(text.bound, 1), _TRAVERSAL), _by(pattern.bound, _PATTERN))
    return Estimate(cost, text.bound)


def _contains(args: Sequence[Estimate], types: Sequence[Type]) -> Estimate:
    return Estimate(_times(_by(args[0].bound, _TRAVERSAL), _by(args[1].bound, _TRAVERSAL)))


def _replace(args: Sequence[Estimate], types: Sequence[Type]) -> Estimate | None:
    if len(args) < 3:
        return None
    text, old, new = args[:3]
    if old.least == 0:
        count, kept = _add(text.bound, 1), text.bound
    elif new.bound <= old.least:
        count, kept = 0, text.bound
    else:
        count, kept = -(-text.bound // old.least), 0
    return Estimate(_by(text.bound, 2 * _TRAVERSAL), _add(_times(count, new.bound), kept))


def _split(args: Sequence[Estimate], types: Sequence[Type]) -> Estimate:
    return Estimate(_by(args[0].bound, 2 * _TRAVERSAL), args[0].bound)


def _join(args: Sequence[Estimate], types: Sequence[Type]) -> Estimate:
    count = args[0].bound
    size = _times(count, _items(args[0]))
    if len(args) > 1:
        size = _add(size, _times(args[1].bound, max(0, count - 1)))
    return Estimate(_by(size, _TRAVERSAL), size)


def _network(args: Sequence[Estimate], types: Sequence[Type]) -> Estimate:
    cost = 4 if types[0].name != "string" else 0
    text = _by(args[1].bound, _TRAVERSAL) if len(args) > 1 and types[1].name == "string" else 0
    return Estimate(_add(cost, 3, text))


_FUNCTIONS: Mapping[str, Function] = {
    "check": _nominal(350_000),
    "_==_": _equal,
    "_!=_": _equal,
    "_<_": _order,
    "_<=_": _order,
    "_>_": _order,
    "_>=_": _order,
    "_+_": _plus,
    "@in": _in,
    "matches": _pattern,
    "find": _pattern,
    "findAll": _pattern,
    "contains": _contains,
    "startsWith": _first(_TRAVERSAL, 1),
    "endsWith": _first(_TRAVERSAL, 1),
    "format": _first(_TRAVERSAL),
    "bytes": _first(_TRAVERSAL),
    "lowerAscii": _same_size,
    "upperAscii": _same_size,
    "substring": _same_size,
    "trim": _same_size,
    "replace": _replace,
    "split": _split,
    "join": _join,
    "isSorted": _over_list,
    "sum": _over_list,
    "max": _over_list,
    "min": _over_list,
    "indexOf": _over_list,
    "lastIndexOf": _over_list,
    "includes": _over_list,
    "url": _same_size,
    "escapeKey": _same_size,
    "fieldSelector": _first(_TRAVERSAL, 1),
    "labelSelector": _first(_TRAVERSAL, 1),
    "cidr": _first(_TRAVERSAL),
    "isIP": _first(_TRAVERSAL),
    "isCIDR": _first(_TRAVERSAL),
    "isCanonical": _first(2 * _TRAVERSAL),
    "ip": lambda args, types: Estimate(_by(args[0].bound, _TRAVERSAL)) if types[0].name == "string" else Estimate(1),
    "containsIP": _network,
    "containsCIDR": _network,
    "quantity": _first(_TRAVERSAL),
    "isQuantity": _first(_TRAVERSAL),
    "semver": _first(_TRAVERSAL),
    "isSemver": _first(_TRAVERSAL),
    "validate": lambda args, types: Estimate(_by(_by(args[-1].bound, _TRAVERSAL), _NAME_PATTERN * _PATTERN)),
}
