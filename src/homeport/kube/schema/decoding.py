"""Reading objects of Kubernetes' own kinds, as its Go types are read.

Upstream a body becomes a Go struct before anything judges it. What does not fit the struct (a string where a number
belongs, a quantity that is none) is no object at all: it is refused on the way in, with the decoder's words, and nobody
ever validates it. Custom resources have no struct; their types are for validation to refuse.

There are two decoders, and each has its own words: one reads JSON (``sigs.k8s.io/json``), the other the result of a
strategic merge patch, which was never written as JSON (``runtime.DefaultUnstructuredConverter``).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

from homeport.kube import quantity, rfc3339
from homeport.kube.field import quote
from homeport.kube.rfc3339 import MICRO_LAYOUT, SECONDS_LAYOUT, quoted
from homeport.kube.schema.checks import Path, path_text
from homeport.kube.schema.node import Node

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_LAYOUTS: Final = {_META + "Time": SECONDS_LAYOUT, _META + "MicroTime": MICRO_LAYOUT}
_DURATION: Final = _META + "Duration"
_DURATION_TEXT: Final = re.compile(r"[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)")
_JSON_NAMES: Final[dict[type, str]] = {str: "string", bool: "bool", list: "array", dict: "object"}
_GO_KINDS: Final[dict[type, str]] = {str: "string", bool: "bool", list: "slice", dict: "map", int: "int64"}
_GO_TYPES: Final = {"string": "string", "boolean": "bool", "number": "float64"}
_ZEROS: Final[dict[str, Any]] = {"string": "", "integer": 0, "number": 0, "boolean": False}
_RANGES: Final = {"int32": 2**31, "int64": 2**63}


class Undecodable(ValueError):
    """The object does not fit the kind's type; the text is the decoder's."""


def read(root: Node, obj: Any, *, converted: bool = False) -> tuple[Any, list[str]]:
    """`obj` without the fields that its type does not have, and the paths of those in their order. Moments are in the
    form in which they are stored, null in a list or a map is the zero value, as Go's decoder leaves it.

    With `converted`, errors have the words for what was never JSON. Raises Undecodable.
    """
    reader = _Reader(root, converted)
    result = reader.value(root, obj, None)
    if reader.mismatch:
        raise Undecodable(reader.mismatch)
    return result, reader.unknown


def strict_errors(root: Node, pairs: Any) -> list[str]:
    """What the strict decoder of JSON says of a document, whose mappings are lists of pairs, in the document's order.
    Of a field that there is not it says so once, and looks no further into it."""
    found: dict[str, None] = {}
    _find_strict_errors(root, pairs, "", found)
    return list(found)


def _find_strict_errors(node: Node | None, value: Any, path: str, found: dict[str, None]) -> None:
    if not isinstance(value, list):
        return
    if not value or not isinstance(value[0], tuple):
        for index, item in enumerate(value):
            _find_strict_errors(node.items if node is not None else None, item, f"{path}[{index}]", found)
        return
    open_ended = node is None or node.preserve or not (node.properties or node.additional is not None)
    seen: set[str] = set()
    for key, item in value:
        part = node.properties.get(key, node.additional) if node is not None else None
        place = f"{path}.{key}" if path else key
        if part is None and not open_ended:
            found[f'unknown field "{place}"'] = None
            continue
        if key in seen:
            found[f'duplicate field "{place}"'] = None
        seen.add(key)
        _find_strict_errors(part, item, place, found)


class _Reader:
    __slots__ = ("_converted", "_root", "mismatch", "unknown")

    def __init__(self, root: Node, converted: bool) -> None:
        self._root = root
        self._converted = converted
        self.unknown: list[str] = []
        self.mismatch = ""
        """The first value of a wrong type: the decoder goes on behind it, and might still find worse."""

    def value(self, node: Node, value: Any, path: Path) -> Any:
        kind = type(value)
        if value is None:
            return None
        if kind is dict:
            if node.type == "object" and (node.properties or node.additional is not None):
                return self._object(node, value, path)
            if node.type != "object" and not _takes_anything(node):
                self._refuse(node, value, path)
            return value
        if kind is list:
            if node.type == "array":
                return self._list(node, value, path)
            if not _takes_anything(node):
                self._refuse(node, value, path)
            return value
        return self._scalar(node, value, path)

    def _object(self, node: Node, value: dict[str, Any], path: Path) -> dict[str, Any]:
        changed: dict[str, Any] | None = None
        properties, additional = node.properties, node.additional
        for key, item in value.items():
            part = properties.get(key, additional)
            if part is None:
                if node.preserve:
                    continue
                self.unknown.append(path_text((path, key)))
                if changed is None:
                    changed = value.copy()
                del changed[key]
                continue
            if type(item) is part.plain:
                continue  # most fields are a string or a number with nothing to look at
            if item is None:
                new = _zero(part) if key not in properties else None
            else:
                new = self.value(part, item, (path, key))
            if new is not item:
                if changed is None:
                    changed = value.copy()
                changed[key] = new
        return value if changed is None else changed

    def _list(self, node: Node, value: list[Any], path: Path) -> list[Any]:
        item_node = node.items
        if item_node is None:
            return value
        changed: list[Any] | None = None
        plain = item_node.plain
        for index, item in enumerate(value):
            if type(item) is plain:
                continue
            new = _zero(item_node) if item is None else self.value(item_node, item, (path, index))
            if new is not item:
                if changed is None:
                    changed = value.copy()
                changed[index] = new
        return value if changed is None else changed

    def _scalar(self, node: Node, value: Any, path: Path) -> Any:
        kind = type(value)
        if node.quantity:
            self._quantity(value)
        elif node.type == "string":
            if kind is str:
                return self._text(node, value) if node.format or node.name else value
            self._refuse(node, value, path)
        elif node.int_or_string:
            if kind is not str:
                return self._integer(node, value, path)
        elif node.type == "integer":
            return self._integer(node, value, path)
        elif node.type == "boolean":
            if kind is not bool:
                self._refuse(node, value, path)
        elif node.type == "number":
            if kind is not int and kind is not float:
                self._refuse(node, value, path)
        elif not _takes_anything(node):
            self._refuse(node, value, path)
        return value

    def _integer(self, node: Node, value: Any, path: Path) -> Any:
        if type(value) is float and self._converted and value.is_integer():
            value = int(value)
        limit = _RANGES.get(_integer_type(node), 2**63)
        if type(value) is not int or not -limit <= value < limit:
            self._refuse(node, value, path)
        return value

    def _quantity(self, value: Any) -> None:
        try:
            quantity.parse(value.strip() if isinstance(value, str) else value)
        except ValueError as error:
            raise Undecodable(str(error)) from error

    def _text(self, node: Node, value: str) -> str:
        """A string that its type reads further."""
        layout = _LAYOUTS.get(node.name)
        if layout is not None:
            try:
                return rfc3339.canonical(value, layout)
            except ValueError as error:
                raise Undecodable(str(error)) from error
        if node.name == _DURATION:
            if not _DURATION_TEXT.fullmatch(value):
                raise Undecodable(f"time: invalid duration {quoted(value)}")
        elif node.format == "byte":
            try:
                base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
            except (binascii.Error, ValueError):
                words = f"illegal base64 data at input byte {_first_illegal(value)}"
                raise Undecodable(f"error decoding from json: {words}" if self._converted else words) from None
        return value

    def _refuse(self, node: Node, value: Any, path: Path) -> None:
        """Notes a value of a wrong type. Raises Undecodable where the decoder ends there."""
        if self._converted:
            raise Undecodable(_conversion(node, value))
        if node.quantity:
            raise Undecodable(quantity.MESSAGE)
        into = f"Go {self._place(path)}of type {_decoded_as(node)}"
        words = f"json: cannot unmarshal {_described(node, value)} into {into}"
        if _decodes_itself(node):
            raise Undecodable(words)
        self.mismatch = self.mismatch or words

    def _place(self, path: Path) -> str:
        """Which field of which struct: ``struct field PodSpec.spec.containers``. Map keys and indices are none."""
        keys: list[Any] = []
        while path is not None:
            path, key = path
            keys.append(key)
        node: Node | None = self._root
        struct, fields = "", []
        for key in reversed(keys):
            if node is None:
                break
            if isinstance(key, int):
                node = node.items
            elif key in node.properties:
                struct = node.name.rpartition(".")[2]
                fields.append(key)
                node = node.properties[key]
            else:
                node = node.additional
        return f"struct field {struct}.{'.'.join(fields)} " if fields else "value "


def _takes_anything(node: Node) -> bool:
    return node.preserve or not (node.type or node.quantity or node.int_or_string)


def _decodes_itself(node: Node) -> bool:
    """Whether the type has a decoder of its own, at whose errors the whole decoder stops."""
    return node.int_or_string or node.name in _LAYOUTS or node.name == _DURATION


def _integer_type(node: Node) -> str:
    return "int32" if node.int_or_string else (node.format or "int64")


def _decoded_as(node: Node) -> str:
    """What a type with a decoder of its own is read as; for others :func:`go_type`."""
    if node.int_or_string:
        return "int32"
    return "string" if _decodes_itself(node) else go_type(node)


def go_type(node: Node) -> str:
    """The node's type in Go, as errors name it: ``[]v1.Container``."""
    if node.name:
        return ".".join(node.name.split(".")[-2:])
    if node.type == "array":
        return f"[]{go_type(node.items)}" if node.items is not None else "[]interface {}"
    if node.type == "object":
        return f"map[string]{'interface {}' if node.additional is None else go_type(node.additional)}"
    if node.type == "integer":
        return _integer_type(node)
    if node.format == "byte":
        return "[]uint8"
    return _GO_TYPES.get(node.type, "interface {}")


def json_name(value: Any) -> str:
    """What the decoder calls a value that it cannot take."""
    return _JSON_NAMES.get(type(value), "number")


def _described(node: Node, value: Any) -> str:
    """As :func:`json_name`, with the number where an integer was wanted."""
    is_integer = node.type == "integer" or node.int_or_string
    name = json_name(value)
    return f"number {quote(value)}" if name == "number" and is_integer else name


def _conversion(node: Node, value: Any) -> str:
    if node.quantity:
        return quantity.MESSAGE
    actual = _GO_KINDS.get(type(value), "float64")
    if _decodes_itself(node):
        return f"json: cannot unmarshal {_described(node, value)} into Go value of type {_decoded_as(node)}"
    if node.type == "object":
        return f"cannot restore struct from: {actual}" if node.name else f"cannot restore map from {actual}"
    if node.type == "array" or node.format == "byte":
        return f"cannot restore slice from {actual}"
    wanted = _integer_type(node) if node.type == "integer" else _GO_TYPES.get(node.type, "interface")
    both_numbers = isinstance(value, (int, float)) and not isinstance(value, bool) and wanted not in ("string", "bool")
    if both_numbers or (actual == "int64" and wanted == "string"):
        return f"cannot convert {actual} to {wanted}"
    return f"unrecognized type: {wanted}"


def _zero(node: Node) -> Any:
    """What Go has in a list or a map where JSON has null."""
    if node.quantity:
        return "0"
    if node.int_or_string:
        return 0
    if node.type == "array":
        return []
    if node.name in _LAYOUTS or node.type not in _ZEROS:
        return {} if node.type == "object" and node.name else None
    return _ZEROS[node.type]


_ALPHABET: Final = re.compile(r"[A-Za-z0-9+/]*", re.ASCII)


def _first_illegal(text: str) -> int:
    """Where Go's decoder stops: at the first byte that base64 does not have there, or before an incomplete group."""
    seen = 0
    for position, letter in enumerate(text):
        if letter in "\r\n":
            continue
        if not _ALPHABET.fullmatch(letter):
            padding = 4 - seen % 4 if letter == "=" and seen % 4 >= 2 else 0
            return len(text[: position + padding].encode())
        seen += 1
    return len(text.encode()) - seen % 4
