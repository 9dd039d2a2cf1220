"""Sets of field paths, as ``managedFields`` holds them (``FieldsV1``), and their algebra.

A set is kept in its wire form, a tree of dicts: ``f:name`` is a field, ``k:{"name":"a"}`` the list element with these
keys, ``v:"a"`` the list element with this value. A node stands for a member of the set if it is empty or has the entry
``.``; other nodes only lead to members. So nothing is decoded or encoded on a write. The root is no member: ``{}`` at
the root is the empty set.

Sets are read-only. Every operation gives an argument itself back where the result equals it, which makes the usual
case, where little changes, cheap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

FieldSet: TypeAlias = dict[str, Any]
"""A tree of dicts in the ``FieldsV1`` form."""

SELF: Final = "."
LEAF: Final[FieldSet] = {}
"""The node of a member without members below it."""
EMPTY: Final[FieldSet] = {}
"""The empty set, as a root."""

_ORDER: Final = {".": 0, "f": 1, "k": 2, "v": 3, "i": 4}
_encode: Final = msgspec.json.Encoder(order="sorted").encode


def is_member(node: FieldSet) -> bool:
    """Whether the path to `node` is itself in the set."""
    return not node or SELF in node


def with_self(node: FieldSet | None) -> FieldSet:
    """`node` with its own path in the set; None is a path not yet there."""
    if not node:
        return LEAF
    return node if SELF in node else {SELF: {}, **node}


def field(name: str) -> str:
    """The path element of a field."""
    return f"f:{name}"


LONGEST_REMEMBERED: Final = 253
"""Characters of a text whose path element is remembered: names are no longer."""


def key(name: str, value: Any) -> str:
    """The path element of the list element whose one key `name` has this scalar value."""
    if type(value) is str and len(value) > LONGEST_REMEMBERED:
        return _key.__wrapped__(name, value)
    return _key(name, value)


@lru_cache(maxsize=8192, typed=True)
def _key(name: str, value: Any) -> str:
    return f"k:{_encode({name: _number(value)}).decode()}"


def keys(values: Mapping[str, Any]) -> str:
    """The path element of the list element with these keys."""
    return f"k:{_encode({name: _number(value) for name, value in values.items()}).decode()}"


PLAIN: Final = frozenset({str, int})
"""Types of values that are written in the same way if they are equal."""


def plain_keys(names: tuple[str, ...], values: Sequence[Any]) -> str:
    """As :func:`keys`, of values of such types."""
    for value in values:
        if type(value) is str and len(value) > LONGEST_REMEMBERED:
            return keys(dict(zip(names, values, strict=True)))
    return _plain_keys(names, tuple(values))


@lru_cache(maxsize=8192)
def _plain_keys(names: tuple[str, ...], values: tuple[Any, ...]) -> str:
    return keys(dict(zip(names, values, strict=True)))


def value(scalar: Any) -> str:
    """The path element of the list element that is this scalar."""
    if type(scalar) is str and len(scalar) > LONGEST_REMEMBERED:
        return _value.__wrapped__(scalar)
    return _value(scalar)


@lru_cache(maxsize=8192, typed=True)
def _value(scalar: Any) -> str:
    return f"v:{_encode(_number(scalar)).decode()}"


def _number(scalar: Any) -> Any:
    """Whole numbers are spelled without a fraction, however they came."""
    return int(scalar) if isinstance(scalar, float) and scalar.is_integer() else scalar


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Both sets' members (of two roots)."""
    if not right:
        return left
    return _union_children(left, right) if left else right


def _union(left: FieldSet, right: FieldSet) -> FieldSet:
    if not right:
        return left if is_member(left) else with_self(left)
    return _union_children(left, right) if left else with_self(right)


def _union_children(left: FieldSet, right: FieldSet) -> FieldSet:
    result: FieldSet | None = None
    for element, node in right.items():
        ours = left.get(element)
        merged = node if ours is None else ours if element == SELF else _union(ours, node)
        if merged is not ours:
            if result is None:
                result = dict(left)
            result[element] = merged
    return left if result is None else result


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Members of `left` that are not in `right` (of two roots). What is below a common member stays."""
    return _difference_children(left, right)


def _difference_children(left: FieldSet, right: FieldSet) -> FieldSet:
    result: FieldSet | None = None
    for element, node in right.items():
        ours = left.get(element)
        if ours is None or element == SELF:
            continue
        rest = _difference(ours, node)
        if rest is not ours:
            if result is None:
                result = dict(left)
            if rest is None:
                del result[element]
            else:
                result[element] = rest
    return left if result is None else result


def _difference(left: FieldSet, right: FieldSet) -> FieldSet | None:
    """None where nothing is left."""
    rest = _difference_children(left, right) if left and right else left
    if is_member(left) and is_member(right):
        if not left:
            return None
        rest = {element: node for element, node in rest.items() if element != SELF}
        return rest or None
    if left and not rest:
        return None  # Only its children were members, and all of them went.
    if rest is not left and len(rest) == 1 and SELF in rest:
        return LEAF  # All that was below it went: a member alone is written as nothing in it.
    return rest


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """Common members (of two roots)."""
    result: FieldSet = {}
    for element, node in left.items():
        theirs = right.get(element)
        if theirs is None or element == SELF:
            continue
        common = intersection(node, theirs)
        if is_member(node) and is_member(theirs):
            result[element] = with_self(common)
        elif common:
            result[element] = common
    return result


def paths(root: FieldSet) -> Iterator[str]:
    """The members as texts such as ``.spec.containers[name="a"].image``, in order."""

    def below(node: FieldSet, prefix: str) -> Iterator[str]:
        for element in sorted(node, key=_order):
            if element == SELF:
                continue
            path = prefix + _text(element)
            if is_member(node[element]):
                yield path
            yield from below(node[element], path)

    return below(root, "")


def contains(root: FieldSet, other: FieldSet) -> bool:
    """Whether every member of `other` is in `root`."""
    return not difference(other, root)


def ordered(node: FieldSet) -> FieldSet:
    """The same set with its entries in upstream's order, to store."""
    elements = sorted(node)
    # The order of the texts is upstream's order of the kinds, but for indexes, which stand between fields and keys.
    if elements and elements[-1] >= "i:" and any(element.startswith("i:") for element in elements):
        elements.sort(key=_order)
    return {element: ordered(child) if (child := node[element]) else LEAF for element in elements}


def decode(fields: Any) -> FieldSet:
    """A set from ``fieldsV1`` as a client sent it: elements of unknown kinds are dropped, keys get our spelling.

    Raises ValueError if it is not of that form.
    """
    if not isinstance(fields, dict):
        raise ValueError("fieldsV1 must be an object")
    root = _decoded(fields)
    root.pop(SELF, None)
    return root


def _decoded(node: dict[str, Any]) -> FieldSet:
    result: FieldSet = {}
    for element, child in node.items():
        if not isinstance(child, dict):
            raise ValueError(f"fieldsV1: the value of {element!r} must be an object")
        kind = element[:2]
        if element == SELF:
            result[element] = {}
        elif kind == "f:":
            result[element] = _decoded(child)
        elif kind in ("k:", "v:"):
            try:
                parsed = msgspec.json.decode(element[2:])
                canonical = _encode(parsed).decode()
            except (msgspec.DecodeError, RecursionError) as error:
                raise ValueError(f"fieldsV1: {element[:256]!r} is no path element: {error}") from None
            if kind == "k:" and not isinstance(parsed, dict):
                raise ValueError(f"fieldsV1: {element[:256]!r} is no path element: its keys must be an object")
            result[f"{kind}{canonical}"] = _decoded(child)
        elif kind == "i:":
            result[element] = _decoded(child)
    return result


def _order(element: str) -> tuple[int, str]:
    return _ORDER.get(element[0], 5), element


def _text(element: str) -> str:
    content = element[2:]
    match element[0]:
        case "f":
            return f".{content}"
        case "k":
            pairs = msgspec.json.decode(content, type=dict[str, Any])
            return f"[{','.join(f'{name}={_encode(v).decode()}' for name, v in pairs.items())}]"
        case "v":
            return f"[={content}]"
    return f"[{content}]"
