"""YAML as Kubernetes reads and writes it. Imported only where somebody speaks YAML: PyYAML takes a tenth of a second to
load."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from homeport.kube.errors import BadRequest

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

MAX_DEPTH = 200
"""Collections within collections. PyYAML's own parser in C goes as deep as a document says, beyond the end of the
stack."""
MAX_MERGED = 50_000
"""Keys that ``<<`` copies in one document."""
_WHOLE = 1e21
"""Below this Go writes a float without a fraction as an integer, when it makes JSON of YAML."""
MAX_NODES = 500_000
"""Values in a document with all its aliases written out: few make manifests shorter, many are a bomb."""


class _Loader(_Base):  # type: ignore[misc]
    """JSON's types only (a date stays text), string keys only, duplicate keys noted."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.duplicates: list[str] = []
        self._merging = self._merged = 0

    def flatten_mapping(self, node: Any) -> None:
        """Put what ``<<`` names into the mapping: a few levels of such merges multiply as aliases do."""
        self._merging += 1
        super().flatten_mapping(node)
        self._merging -= 1
        if self._merging:
            self._merged += len(node.value)
        if self._merged > MAX_MERGED:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: merges make more than {MAX_MERGED} values")


def _mapping(loader: Any, node: Any) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: a mapping was expected")
    loader.flatten_mapping(node)
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, bool):
            key = "true" if key else "false"
        elif isinstance(key, (int, float)):
            key = str(key)
        if not isinstance(key, str):
            raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: a key has to be a string")
        if key in result:
            loader.duplicates.append(f'line {key_node.start_mark.line + 1}: key "{key}" already set in map')
        result[key] = loader.construct_object(value_node, deep=True)
    return result


def _tagged(construct: str) -> Callable[[Any, Any], Any]:
    """PyYAML's own way to read a scalar, which a tag may have put before something that is none (``!!bool maybe``).

    ``12:30`` is text, as in Kubernetes' YAML: numbers to the base of 60 it does not have.
    """

    def read(loader: Any, node: Any) -> Any:
        text = loader.construct_scalar(node)
        if ":" in text:
            return text
        try:
            return getattr(loader, construct)(node)
        except (KeyError, IndexError, ValueError) as error:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {text[:64]!r} is not a {node.tag}") from error

    return read


_read_float = _tagged("construct_yaml_float")


def _float(loader: Any, node: Any) -> float | str:
    value: float | str = _read_float(loader, node)
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {node.value} is not a JSON number")
    return int(value) if value.is_integer() and abs(value) < _WHOLE else value


_read_int = _tagged("construct_yaml_int")


def _int(loader: Any, node: Any) -> int | float | str:
    """An integer of 64 bits, or as Go reads larger ones a float."""
    value: int | str = _read_int(loader, node)
    if isinstance(value, str) or value.bit_length() <= 64:
        return value
    try:
        return float(value)
    except OverflowError as error:
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: the number is too large for JSON") from error


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_yaml_str(node))
_Loader.add_constructor("tag:yaml.org,2002:binary", lambda loader, node: loader.construct_yaml_str(node))
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:bool", _tagged("construct_yaml_bool"))


class YamlError(ValueError):
    """A text is no YAML, or has what JSON does not have, or more of it than is read; says what, and in which line."""


def load(body: bytes) -> tuple[Any, list[str]]:
    """The document in `body`, and what there is to say of keys that a mapping of it has twice. Raises BadRequest."""
    try:
        with _reading(body) as loader:
            value = loader.get_single_data()
            _check_size(value, body)
            return value, loader.duplicates
    except YamlError as error:
        raise BadRequest(f"error converting YAML to JSON: yaml: {error}") from error.__cause__


def documents(body: bytes) -> list[Any]:
    """All documents in `body`, of which a user's file may have several. Raises YamlError."""
    found = []
    with _reading(body) as loader:
        while loader.check_data():
            found.append(loader.get_data())
        _check_size(found, body)
    return found


@contextmanager
def _reading(body: bytes) -> Iterator[_Loader]:
    try:
        _check_depth(body)
        loader = _Loader(body)
        try:
            yield loader
        finally:
            loader.dispose()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise YamlError(str(error)) from error


def _check_depth(body: bytes) -> None:
    """Raises YAMLError for a document that is nested too deep: its events come one by one, however deep it is."""
    depth = 0
    for event in yaml.parse(body, Loader=_Base):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def dump(value: Any) -> bytes:
    """`value` as YAML in UTF-8."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    return text.encode()


def _check_size(value: Any, body: bytes) -> None:
    """Raises YAMLError for a document that aliases make too large."""
    if b"*" in body:
        _size(value, {})


def _size(value: Any, known: dict[int, int]) -> int:
    """How many values a document has with its aliases written out; each alias is looked at once."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) in known:
        size = known[id(value)]
        if not size:
            raise yaml.YAMLError("a value contains itself")
        return size
    known[id(value)] = 0
    children = value.values() if isinstance(value, dict) else value
    size = 1 + sum(_size(child, known) for child in children)
    if size > MAX_NODES:
        raise yaml.YAMLError(f"more than {MAX_NODES} values")
    known[id(value)] = size
    return size
