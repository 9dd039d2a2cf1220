"""The common case, at the speed of C: an object with nothing wrong.

The walks of :mod:`~homeport.kube.schema.passes` and :mod:`~homeport.kube.schema.validation` say exactly what is wrong
with an object, and where; nearly every object has nothing wrong. A `Judge` makes types for msgspec of a schema's nodes,
so that msgspec compares types, fields, words and bounds, and fills in defaults. For what such a type cannot say
(patterns, quantities, schemas that judge one another) it calls back.

A judge that is not content has found nothing out: it may be stricter than the schema (a whole number written ``2.0``,
null for a field that is not set). Then the walks have their say, as if nobody had been asked before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from homeport.kube.schema import JsonSchema, checks, decoding, passes, validation
from homeport.kube.schema.checks import Found
from homeport.kube.schema.node import Node

_INT32: Final = 2**31
_INT64: Final = 2**63
_FIRST: Final = ("apiVersion", "kind", "metadata")
_BOUNDS: Final = ("minimum", "maximum")
_LENGTHS: Final = {"minLength": "min_length", "maxLength": "max_length"}
_SCALARS: Final = frozenset({str, int, float, bool})
_MOST_NODES: Final = 1_500
"""A schema with more of them has no judge: making the types would hold up others, and they would take more memory than
they are worth. A pod has less than half as many."""

_ESCAPED: Final = b"\\u003"
"""How a colon may be written in another way."""

_encode: Final = msgspec.json.Encoder().encode

_REFUSED: Final = (msgspec.ValidationError, RecursionError)


class Closer:
    """Where a type does not say everything about a node's values: msgspec shows them to a hook, with a class derived
    from this one, and takes an instance of it in their place."""

    __slots__ = ("value",)

    node: ClassVar[Node]
    inner: ClassVar[Any]
    """What a type can say of a map or a list; None where the hook has to look at all of the value."""
    decoded: ClassVar[dict[str, Closer]]
    """What became of texts lately: the same few amounts and moments come with nearly every object."""
    accepted: ClassVar[dict[str, Closer]]
    """Texts that nothing was wrong with lately."""

    def __init__(self, value: Any) -> None:
        self.value = value


_Hook = Callable[[type[Closer], Any], Closer]


class Judge:
    """See the module's text. `typed` is as for :class:`~homeport.kube.schema.compiled.Schema`."""

    __slots__ = ("_decode", "_fills", "_hooks", "_type")

    def __init__(self, root: Node, typed: bool) -> None:
        """Takes some milliseconds for a large schema. Raises ValueError for one that there can be no judge of."""
        nodes = _reachable(root)
        self._hooks = _TYPED if typed else _UNTYPED
        moulds = _Moulds(_endless(nodes), typed)
        try:
            self._type = moulds.of(root)
        except msgspec.ValidationError as error:
            raise ValueError(f"a default is not as its schema says: {error}") from error
        if _is_closer(self._type) and self._type.inner is None:
            raise ValueError("the schema says nothing that a type could say")
        self._decode: Callable[[bytes], Any] | None = None
        if not any(_is_closer(node.mould) and node.mould.inner is None and node.has_defaults for node in nodes):
            self._decode = msgspec.json.Decoder(self._type, dec_hook=self._hooks.decodes).decode
        self._fills = root.has_defaults or any(map(_may_change, nodes))

    def reads(self, obj: Any) -> bool:
        """Whether reading leaves `obj` as it is: there is nothing to prune, nothing of a wrong type and no moment in
        another form. False says nothing."""
        try:
            msgspec.convert(obj, self._type, dec_hook=self._hooks.reads)
        except _REFUSED:
            return False
        return True

    def decoded(self, body: bytes) -> Any | None:
        """The object that a body of JSON has, if it `reads` and no mapping has a key twice, as :meth:`completed` gives
        it; None if that takes a closer look. All of it in one go."""
        if self._decode is None or _ESCAPED in body:
            return None
        before = _filled.colons
        try:
            result = msgspec.to_builtins(self._decode(body), enc_hook=_value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        # Decoders keep the last of several keys; each that is dropped takes a colon with it.
        colons = _encode(result).count(b":") - (_filled.colons - before)
        return result if colons == body.count(b":") else None

    def completed(self, obj: Any) -> Any | None:
        """`obj` with defaults and in normal form, itself if it is so already; None if that takes a closer look."""
        try:
            known = msgspec.convert(obj, self._type, dec_hook=self._hooks.completes)
        except _REFUSED:
            return None
        if not self._fills:
            return obj
        result = msgspec.to_builtins(known, enc_hook=_value)
        return obj if result == obj else result

    def accepts(self, obj: Any) -> bool:
        """Whether nothing is wrong with `obj`. False says nothing."""
        try:
            msgspec.convert(obj, self._type, dec_hook=_accepts)
        except _REFUSED:
            return False
        return True


# -- hooks


def _reads_typed(kind: type[Closer], value: Any) -> Closer:
    """As Go reads the types of Kubernetes' own kinds."""
    if value is None:
        raise ValueError("null in a list or a map becomes another value: whoever has it knows")
    if kind.inner is not None:
        msgspec.convert(value, kind.inner, dec_hook=_reads_typed)
        return kind(None)
    result, unknown = decoding.read(kind.node, value)
    if result is not value or unknown:
        raise ValueError("there is something to read in another way")
    return kind(None)


def _reads_untyped(kind: type[Closer], value: Any) -> Closer:
    """As custom resources are read: their types are for validation to refuse. But all of them have the same metadata,
    which is of Kubernetes' own types."""
    if kind.node.name:
        return _reads_typed(kind, value)
    if kind.inner is not None:
        if value is not None:
            msgspec.convert(value, kind.inner, dec_hook=_reads_untyped)
    elif type(value) is dict or type(value) is list:
        unknown: list[str] = []
        passes.prune(kind.node, value, None, unknown)
        if unknown:
            raise ValueError("there is something to prune")
    return kind(None)


def _completes(kind: type[Closer], value: Any, typed: bool, hook: _Hook) -> Closer:
    if value is None or value == "":
        raise ValueError("this may say that the field is not set: whoever has the field knows")
    node = kind.node
    if kind.inner is not None:
        return kind(msgspec.convert(value, kind.inner, dec_hook=hook))
    result = value if type(value) in _SCALARS else passes.set_defaults(node, value, typed)
    result = passes.normalise(node, result)
    if result is not value and result == value:
        raise ValueError("2.0 as an integer is another value, and equal to this one")
    return kind(result)


def _completes_typed(kind: type[Closer], value: Any) -> Closer:
    return _completes(kind, value, True, _completes_typed)


def _completes_untyped(kind: type[Closer], value: Any) -> Closer:
    return _completes(kind, value, False, _completes_untyped)


def _decodes_typed(kind: type[Closer], value: Any) -> Closer:
    if type(value) is str and value in kind.decoded:
        return kind.decoded[value]
    if kind.inner is not None:
        return kind(msgspec.convert(value, kind.inner, dec_hook=_decodes_typed))
    _reads_typed(kind, value)
    return _remembered(kind.decoded, value, _completes(kind, value, True, _decodes_typed))


def _decodes_untyped(kind: type[Closer], value: Any) -> Closer:
    if type(value) is str and value in kind.decoded:
        return kind.decoded[value]
    if kind.inner is not None and value is not None:
        return kind(msgspec.convert(value, kind.inner, dec_hook=_decodes_untyped))
    _reads_untyped(kind, value)
    return _remembered(kind.decoded, value, _completes(kind, value, False, _decodes_untyped))


_MOST_REMEMBERED: Final = 256
_LONGEST_REMEMBERED: Final = 64


def _remembered(memory: dict[str, Closer], value: Any, found: Closer) -> Closer:
    if type(value) is str and len(value) <= _LONGEST_REMEMBERED:
        if len(memory) >= _MOST_REMEMBERED:
            memory.clear()
        memory[value] = found
    return found


class _Hooks(NamedTuple):
    reads: _Hook
    completes: _Hook
    decodes: _Hook


_TYPED: Final = _Hooks(_reads_typed, _completes_typed, _decodes_typed)
_UNTYPED: Final = _Hooks(_reads_untyped, _completes_untyped, _decodes_untyped)


def _accepts(kind: type[Closer], value: Any) -> Closer:
    if type(value) is str and value in kind.accepted:
        return kind.accepted[value]
    found: Found = []
    if kind.inner is None or value is None:
        validation.validate(kind.node, value, None, found)
    else:
        msgspec.convert(value, kind.inner, dec_hook=_accepts)
        validation.validate_itself(kind.node, value, None, found)
    if found:
        raise ValueError("there is something wrong")
    return _remembered(kind.accepted, value, kind(None))


def _value(closer: Closer) -> Any:
    return closer.value


# -- types


class _Moulds:
    """Makes the types. A node's type is made once, whichever schemas the node is part of."""

    def __init__(self, endless: frozenset[int], typed: bool) -> None:
        self._endless = endless
        self._typed = typed
        self._completes = (_TYPED if typed else _UNTYPED).completes

    def of(self, node: Node) -> Any:
        if node.mould is None:
            node.mould = self._made(node)
        return node.mould

    def _made(self, node: Node) -> Any:
        if self._is_opaque(node):
            return _closer(node, None)
        inner = self._inner(node)
        if _leaves_open(node):
            return _closer(node, inner if node.type in ("object", "array") else None)
        # Go reads null in a list or a map as another value, and has nothing that says it is one.
        return inner | None if node.nullable and not self._typed else inner

    def _is_opaque(self, node: Node) -> bool:
        """Whether a type can say nothing of a node's values."""
        if id(node) in self._endless:
            return True
        if node.type == "object":
            both = bool(node.properties) and node.additional is not None
            return both or (node.preserve and bool(node.properties or node.additional is not None))
        return not node.type and not node.int_or_string

    def _inner(self, node: Node) -> Any:
        said = _said(node)
        match node.type:
            case "object":
                if node.additional is not None:
                    return dict[str, self.of(node.additional)]  # type: ignore[misc]
                return dict if node.preserve else self._struct(node)
            case "array":
                return list if node.items is None else list[self.of(node.items)]  # type: ignore[misc]
            case "string":
                if "enum" in said:
                    return Literal[tuple(node.schema["enum"])]
                lengths: dict[str, Any] = {_LENGTHS[key]: node.schema[key] for key in said if key in _LENGTHS}
                return Annotated[str, Meta(**lengths)] if lengths else str
            case "integer":
                return Annotated[int, Meta(**_limits(node.schema, said))]
            case "boolean":
                return bool
            case "number":
                return int | float
        return Annotated[int, Meta(ge=-_INT32, le=_INT32 - 1)] | str

    def _struct(self, node: Node) -> Any:
        fields = []
        for index, name in enumerate(sorted(node.properties, key=lambda name: name not in _FIRST)):
            kind = self.of(node.properties[name])
            if name in node.defaults:
                default = msgspec.convert(
                    node.defaults[name], kind, dec_hook=(_TYPED if self._typed else _UNTYPED).completes
                )
                field = msgspec.field(name=name, default_factory=_same(default))
            elif name in node.required:
                field = msgspec.field(name=name)
            else:
                field, kind = msgspec.field(name=name, default=UNSET), kind | UnsetType
            fields.append((f"f{index}", kind, field))
        return msgspec.defstruct("Mould", fields, kw_only=True, forbid_unknown_fields=True, gc=False, eq=False)


class _Filled:
    """Counts what defaults have added to objects, in colons of their JSON.

    For all threads together, since to count for each by itself takes three times as long: the count only grows, so what
    another thread adds while a body is decoded can do no more than send that body the long way.
    """

    __slots__ = ("colons",)

    def __init__(self) -> None:
        self.colons = 0


_filled: Final = _Filled()


def _same(default: Any) -> Callable[[], Any]:
    """Gives a default that is never changed: objects without a value share it until they are plain objects again."""
    colons = 1 + _encode(msgspec.to_builtins(default, enc_hook=_value)).count(b":")

    def fill() -> Any:
        _filled.colons += colons
        return default

    return fill


def _closer(node: Node, inner: Any) -> type[Closer]:
    own = {"__slots__": (), "node": node, "inner": inner, "decoded": {}, "accepted": {}}
    return type("Closer", (Closer,), own)


def _is_closer(mould: Any) -> bool:
    return isinstance(mould, type) and issubclass(mould, Closer)


def _may_change(node: Node) -> bool:
    """Whether a value may become another one where its schema takes a closer look."""
    return _is_closer(node.mould) and node.mould.inner is None and (node.quantity or node.type != "string")


def _leaves_open(node: Node) -> bool:
    """Whether a value of a node's type may still be wrong, or not in normal form."""
    if node.judged or node.quantity or (node.type == "array" and node.list_type and not node.native):
        return True
    if any(key in node.defaults or key not in node.properties for key in node.required):
        return True  # a type fills in its defaults, required or not, and knows of no other fields
    return set(_keywords(node)) != set(_said(node))


def _keywords(node: Node) -> Iterator[str]:
    """The keywords of a node's schema that bound its values."""
    return (keyword for keyword in checks.KEYWORDS if node.schema.get(keyword) is not None)


def _said(node: Node) -> tuple[str, ...]:
    """Those keywords that a type can say."""
    schema = node.schema
    if node.type == "string":
        words = schema.get("enum") or ()
        bounds = ("enum",) if words and all(type(word) is str for word in words) else tuple(_LENGTHS)
    elif node.type == "integer":
        whole = all(type(schema.get(key, 0)) is int and abs(schema.get(key, 0)) < _INT64 for key in _BOUNDS)
        bounds = _BOUNDS if whole else ()
    else:
        bounds = ()
    name = schema.get("format")
    ranged = node.type == "integer" and name in ("int32", "int64")
    ignored = node.type != "integer" and name not in checks.FORMATS
    return tuple(key for key in _keywords(node) if key in bounds or (key == "format" and (ranged or ignored)))


def _limits(schema: JsonSchema, said: tuple[str, ...]) -> dict[str, Any]:
    """The bounds of an integer; no type of Go is wider than 64 bits."""
    size = _INT32 if schema.get("format") == "int32" else _INT64
    low, high = -size, size - 1
    if "minimum" in said:
        low = max(low, schema["minimum"] + bool(schema.get("exclusiveMinimum")))
    if "maximum" in said:
        high = min(high, schema["maximum"] - bool(schema.get("exclusiveMaximum")))
    return {"ge": low, "le": high}


def _reachable(root: Node) -> list[Node]:
    """Every node of a schema. Raises ValueError for too many."""
    found = {id(root): root}
    pending = [root]
    while pending:
        for part in pending.pop().children():
            if id(part) not in found:
                found[id(part)] = part
                pending.append(part)
        if len(found) > _MOST_NODES:
            raise ValueError("the schema is too large")
    return list(found.values())


def _endless(nodes: list[Node]) -> frozenset[int]:
    """The nodes, by identity, that lead to themselves or to such nodes: their types would have to name themselves."""
    parents: dict[int, list[Node]] = {}
    waiting: dict[int, int] = {}
    for node in nodes:
        parts = {id(part) for part in node.children()}
        waiting[id(node)] = len(parts)
        for part in parts:
            parents.setdefault(part, []).append(node)
    ended = [node for node in nodes if not waiting[id(node)]]
    while ended:
        node = ended.pop()
        del waiting[id(node)]
        for parent in parents.get(id(node), ()):
            waiting[id(parent)] -= 1
            if not waiting[id(parent)]:
                ended.append(parent)
    return frozenset(waiting)
