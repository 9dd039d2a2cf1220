"""Judging an object by its schema, in the words of the Kubernetes API server."""

from __future__ import annotations

from typing import Any

from homeport.kube import field, quantity
from homeport.kube.errors import FieldError
from homeport.kube.schema.checks import Found, Path, path_text
from homeport.kube.schema.node import Node

_TYPE_NAMES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}

_JSON_TYPES: dict[type, str] = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer"}
"""The one word that a schema has for values of a type; a float may be a number or an integer."""


def validate(node: Node, value: Any, path: Path, found: Found) -> None:
    """Appends to `found` all that is wrong with `value` at `path`."""
    kind = type(value)
    if _JSON_TYPES.get(kind) != node.type and not _has_type(node, kind, value):
        if kind is type(None) and node.nullable:
            return
        _wrong_type(node, kind, path, found)
        return
    if kind is dict:
        properties = node.properties
        additional = node.additional
        for key, item in value.items():
            part = properties.get(key, additional)
            if part is not None and type(item) is not part.plain:
                validate(part, item, (path, key), found)
        _validate_required(node, value, path, found)
    elif kind is list:
        if node.items is not None:
            item_node = node.items
            plain = item_node.plain
            for index, item in enumerate(value):
                if type(item) is not plain:
                    validate(item_node, item, (path, index), found)
        if node.list_type and not node.native:
            _validate_list(node, value, path, found)
    elif node.quantity:
        _validate_quantity(value, path, found)
        return
    for check in node.checks:
        check(value, path, found)
    if node.judged:
        _validate_junctors(node, value, path, found)


def validate_itself(node: Node, value: Any, path: Path, found: Found) -> None:
    """As `validate` of a `value` whose type is right, but of what is below it: nothing of that is looked at."""
    if node.quantity:
        _validate_quantity(value, path, found)
        return
    if type(value) is dict:
        _validate_required(node, value, path, found)
    elif type(value) is list and node.list_type and not node.native:
        _validate_list(node, value, path, found)
    for check in node.checks:
        check(value, path, found)
    if node.judged:
        _validate_junctors(node, value, path, found)


def validate_change(node: Node, value: Any, old: Any, path: Path, found: Found, levels: int = 2) -> None:
    """As `validate`, but for what :func:`ratchet` would drop anyway: errors in fields that are the same in `old`.

    Comparing is the interpreter's, and far quicker than judging; done for the fields of the upper `levels`, it leaves
    out the spec where a status changes, and most of the spec where one field of it does.
    """
    if not levels or type(value) is not dict or type(old) is not dict or not _has_type(node, dict, value):
        validate(node, value, path, found)
        return
    properties = node.properties
    additional = node.additional
    for key, item in value.items():
        part = properties.get(key, additional)
        if part is None or type(item) is part.plain:
            continue
        before = old.get(key, _ABSENT)
        if before is not item and before != item:
            validate_change(part, item, before, (path, key), found, levels - 1)
    _validate_required(node, value, path, found)
    for check in node.checks:
        check(value, path, found)
    if node.judged:
        _validate_junctors(node, value, path, found)


_ABSENT = object()


def _has_type(node: Node, kind: type, value: Any) -> bool:
    wanted = node.type
    if wanted == "string":
        return kind is str
    if wanted == "object":
        return kind is dict
    if wanted == "integer":
        return kind is int or (kind is float and value.is_integer())
    if wanted == "array":
        return kind is list
    if wanted == "boolean":
        return kind is bool
    if wanted == "number":
        return kind is int or kind is float
    if node.int_or_string:
        return kind is int or kind is str or (kind is float and value.is_integer())
    if node.quantity:
        return kind is str or kind is int or kind is float
    return True


def _wrong_type(node: Node, kind: type, path: Path, found: Found) -> None:
    wanted = node.type or ("integer,string" if node.int_or_string else "string,number")
    actual = _TYPE_NAMES.get(kind, kind.__name__)
    text = path_text(path)
    words = f"{text} in body must be of type {wanted}: {field.quote(actual)}"
    found.append((path, field.type_invalid(text, actual, words.removeprefix(" "))))


def _validate_required(node: Node, value: dict[str, Any], path: Path, found: Found) -> None:
    for key in node.required:
        if key not in value:
            found.append(((path, key), field.required(path_text((path, key)))))


def _validate_quantity(value: Any, path: Path, found: Found) -> None:
    try:
        quantity.parse(value)
    except ValueError as error:
        found.append((path, field.invalid(path_text(path), value, str(error))))


def _validate_list(node: Node, value: list[Any], path: Path, found: Found) -> None:
    if len(value) < 2 or node.list_type == "atomic":
        return
    if node.list_type == "set":
        _report_repeated(value, value, path, found)
    elif node.list_type == "map" and all(isinstance(item, dict) for item in value):
        keys = [{name: item[name] for name in node.list_keys if name in item} for item in value]
        _report_repeated(keys, keys, path, found)


def _report_repeated(values: list[Any], shown: list[Any], path: Path, found: Found) -> None:
    """Reports the second appearance of each value, once: as the API server does."""
    seen: dict[str, int] = {}
    for index, item in enumerate(values):
        text = field.quote(item)
        times = seen[text] = seen.get(text, 0) + 1
        if times == 2:
            found.append(((path, index), field.duplicate(path_text((path, index)), shown[index])))


def _validate_junctors(node: Node, value: Any, path: Path, found: Found) -> None:
    name = field.quote(path_text(path))
    if node.any_of:
        results = [_judge(part, value, path) for part in node.any_of]
        if all(results):
            _say(path, f"{name} must validate at least one schema (anyOf)", found)
            found += _fewest(results)
    if node.one_of:
        results = [_judge(part, value, path) for part in node.one_of]
        valid = sum(not result for result in results)
        if valid != 1:
            how_many = f"Found {valid} valid alternatives" if valid else "Found none valid"
            _say(path, f"{name} must validate one and only one schema (oneOf). {how_many}", found)
            if not valid:
                found += _fewest(results)
    if node.all_of:
        results = [_judge(part, value, path) for part in node.all_of]
        if any(results):
            for result in results:
                found += result
            _say(path, f"{name} must validate all the schemas (allOf)" + (". None validated" * all(results)), found)
    if node.not_ is not None and not _judge(node.not_, value, path):
        _say(path, f"{name} must not validate the schema (not)", found)


def _fewest(results: list[Found]) -> Found:
    return min(results, key=len)


def _judge(node: Node, value: Any, path: Path) -> Found:
    found: Found = []
    validate(node, value, path, found)
    return found


def _say(path: Path, words: str, found: Found) -> None:
    found.append((path, field.invalid(path_text(path) or "<nil>", "", words)))


def ratchet(node: Node, new: Any, old: Any, found: Found) -> Found:
    """The errors that an update brings in: one inside of a part that is the same in `old` was there before.

    Parts of a list correspond by its map keys, where it has them; other lists are one part (KEP-4008, CRD ratcheting).
    """
    return [(path, error) for path, error in found if not _is_unchanged(node, new, old, _keys(path))]


def _keys(path: Path) -> list[Any]:
    keys: list[Any] = []
    while path is not None:
        path, key = path
        keys.append(key)
    keys.reverse()
    return keys


def _is_unchanged(node: Node | None, new: Any, old: Any, keys: list[Any]) -> bool:
    for key in keys:
        if new == old:
            return True
        if isinstance(new, dict) and isinstance(old, dict):
            if key not in new or key not in old:
                return False
            node = node.properties.get(key, node.additional) if node is not None else None
            new, old = new[key], old[key]
        elif isinstance(new, list) and isinstance(old, list):
            if node is None or node.list_type != "map" or not isinstance(new[key], dict):
                return False
            names = node.list_keys
            wanted = [new[key].get(name) for name in names]
            match = [o for o in old if isinstance(o, dict) and [o.get(name) for name in names] == wanted]
            if not match:
                return False
            node, new, old = node.items, new[key], match[0]
        else:
            return False
    return bool(new == old)


def errors_of(found: Found) -> list[FieldError]:
    return [error for _, error in found]
