"""Strategic merge patch: a merge patch that knows which lists are keyed (upstream: apimachinery
``util/strategicpatch``). The schema says so with ``x-kubernetes-patch-merge-key`` and ``x-kubernetes-patch-strategy``;
where it says nothing, lists are replaced and objects merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from homeport.kube.errors import BadRequest
from homeport.kube.merge_schema import Components, Schema, resolved
from homeport.kube.meta import Object

_DIRECTIVE: Final = "$patch"
_RETAIN: Final = "$retainKeys"
_DELETE_FROM: Final = "$deleteFromPrimitiveList/"
_SET_ORDER: Final = "$setElementOrder/"
_NO_SCHEMA: Final[Schema] = {}


def strategic_merge_patch(obj: Object, patch: Any, schema: Schema | None, components: Components) -> Object:
    """`obj` with `patch` merged in by the rules of `schema`, which may be a reference into `components`.

    Raises BadRequest for a patch that breaks the rules.
    """
    if not isinstance(patch, dict):
        raise BadRequest("a strategic merge patch must be a JSON object")
    return _Merger(components).merge_map(obj, patch, resolved(schema or _NO_SCHEMA, components))


class _Rules(NamedTuple):
    """How one field merges."""

    schema: Schema
    """Of the field's value; of the elements for a list."""
    strategies: frozenset[str]
    merge_key: str


class _Merger:
    def __init__(self, components: Components) -> None:
        self._components = components

    def merge_map(self, original: Mapping[str, Any], patch: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
        if _DIRECTIVE in patch:
            directive = patch[_DIRECTIVE]
            if directive == "replace":
                return {key: value for key, value in patch.items() if key != _DIRECTIVE}
            if directive == "delete":
                return {}
            raise BadRequest(f"unknown patch type: {directive}")
        result = _retained(original, patch)
        ordered = set()
        for key, order in patch.items():
            if key.startswith(_SET_ORDER):
                name = key.removeprefix(_SET_ORDER)
                ordered.add(name)
                self._merge_ordered(result, name, patch.get(name), order, self._rules(schema, name))
        deletions = []
        for key, value in patch.items():
            if key.startswith(_DELETE_FROM):
                deletions.append((key.removeprefix(_DELETE_FROM), value))
            elif key != _RETAIN and not key.startswith(_SET_ORDER) and key not in ordered:
                self._merge_field(result, key, value, schema)
        for key, value in deletions:
            if not isinstance(value, list):
                raise BadRequest("invalid patch format of primitive list")
            if isinstance(result.get(key), list):
                result[key] = [item for item in result[key] if not _contains(value, item)]
        return result

    def _merge_field(self, result: dict[str, Any], key: str, value: Any, schema: Schema) -> None:
        if value is None:
            result.pop(key, None)
            return
        current = result.get(key)
        if isinstance(current, dict) and isinstance(value, dict):
            rules = self._rules(schema, key)
            merges = "replace" not in rules.strategies
            result[key] = self.merge_map(current, value, rules.schema) if merges else _plain(value)
        elif isinstance(current, list) and isinstance(value, list):
            result[key] = self._merge_list(current, value, self._rules(schema, key))
        elif isinstance(value, dict) and _DIRECTIVE in value:
            result.pop(key, None)
        else:
            result[key] = _plain(value)

    def _merge_list(self, original: list[Any], patch: list[Any], rules: _Rules) -> list[Any]:
        if "merge" not in rules.strategies:
            return _plain_list(patch)
        if not original and not patch:
            return original
        if not all(isinstance(item, dict) for item in (*original, *patch)):
            if any(isinstance(item, (dict, list)) for item in (*original, *patch)):
                raise BadRequest("list elements of a strategic merge patch must all be objects or all be scalars")
            return _in_order(_unique([*original, *patch]), patch, original, "")
        if not rules.merge_key:
            return _plain_list(patch)
        merged, additions, base = self._merge_elements(original, patch, rules)
        return _in_order(merged, additions, base, rules.merge_key)

    def _merge_elements(
        self, original: list[Any], patch: list[Any], rules: _Rules
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """The merged list in no special order, the patch's elements without directives, and what it merged into."""
        key = rules.merge_key
        additions = []
        replace = False
        merged = list(original)
        for element in patch:
            directive = element.get(_DIRECTIVE)
            if directive is None:
                additions.append(element)
            elif directive == "replace":
                replace = True
            elif directive == "delete":
                value = _key_of(element, key)
                merged = [item for item in merged if not _same(item.get(key), value)]
            elif directive == "merge":
                raise BadRequest("merging lists cannot yet be specified in the patch")
            else:
                raise BadRequest(f"unknown patch type: {directive}")
        if replace:
            return [_plain(element) for element in additions], additions, []
        base = list(merged)
        for element in additions:
            value = _key_of(element, key)
            for at, item in enumerate(merged):
                if _same(item.get(key), value):
                    merged[at] = self.merge_map(item, element, rules.schema)
                    break
            else:
                merged.append(_plain(element))
        return merged, additions, base

    def _merge_ordered(self, result: dict[str, Any], name: str, patch: Any, order: Any, rules: _Rules) -> None:
        """Merge a list and bring it into the order of ``$setElementOrder``."""
        original = result.get(name)
        if not isinstance(order, list) or not isinstance(original, list | None) or not isinstance(patch, list | None):
            raise BadRequest("invalid patch format of setElementOrder list")
        key = rules.merge_key if order and all(isinstance(item, dict) for item in order) else ""
        _check_order(patch or [], order, key)
        if original is None and patch is None:
            return
        if patch is None:
            merged = original or []
        elif original is None:
            merged = _plain_list([item for item in patch if not (isinstance(item, dict) and _DIRECTIVE in item)])
        else:
            merged = self._merge_list(original, patch, rules)
        result[name] = _in_order(merged, order, original or [], key)

    def _rules(self, schema: Schema, name: str) -> _Rules:
        properties = schema.get("properties") or {}
        field = properties.get(name)
        if field is None:
            field = schema.get("additionalProperties")
        if not isinstance(field, Mapping):
            return _Rules(_NO_SCHEMA, frozenset(), "")
        value = resolved(field, self._components)
        merged = {**value, **field}
        strategies = frozenset(str(merged.get("x-kubernetes-patch-strategy", "")).split(","))
        below = value.get("items")
        return _Rules(
            resolved(below, self._components) if isinstance(below, Mapping) else value,
            strategies,
            str(merged.get("x-kubernetes-patch-merge-key", "")),
        )


def _retained(original: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `original`, without what ``$retainKeys`` does not name."""
    if _RETAIN not in patch:
        return dict(original)
    retain = patch[_RETAIN]
    if not isinstance(retain, list):
        raise BadRequest("invalid patch format of retainKeys")
    for key, value in patch.items():
        if value is not None and not key.startswith("$") and key not in retain:
            raise BadRequest("invalid patch format of retainKeys")
    return {key: value for key, value in original.items() if key in retain}


def _plain(value: Any) -> Any:
    """A patch's value where there is nothing to merge with: without nulls and directives."""
    if isinstance(value, dict):
        return {
            key: _plain(item)
            for key, item in value.items()
            if item is not None and not key.startswith((_DELETE_FROM, _SET_ORDER)) and key != _RETAIN
            if not (isinstance(item, dict) and _DIRECTIVE in item)
        }
    if isinstance(value, list):
        return _plain_list(value)
    return value


def _plain_list(items: Sequence[Any]) -> list[Any]:
    return [_plain(item) for item in items if not (isinstance(item, dict) and _DIRECTIVE in item)]


def _in_order(merged: list[Any], order: Sequence[Any], live: Sequence[Any], key: str) -> list[Any]:
    """`merged` sorted: elements of `order` as they are there, the others as they are in `live`, and the two
    interleaved so that both orders hold, with the live order deciding between them as far as it can."""
    positions = _Positions(order, key)
    live_positions = _Positions(live, key)
    ordered = sorted((item for item in merged if positions.of(item) >= 0), key=positions.of)
    others = [item for item in merged if positions.of(item) < 0]
    others.sort(key=lambda item: (live_positions.of(item) < 0, live_positions.of(item)))
    result: list[Any] = []
    at = 0
    for item in ordered:
        place = live_positions.of(item)
        while at < len(others) and 0 <= live_positions.of(others[at]) < place:
            result.append(others[at])
            at += 1
        result.append(item)
    return result + others[at:]


class _Positions:
    """Where elements stand in a list, by merge key or (without one) by value."""

    def __init__(self, items: Sequence[Any], key: str) -> None:
        self._key = key
        self._places: dict[Any, int] = {}
        for at, item in enumerate(items):
            self._places.setdefault(self._identity(item), at)

    def _identity(self, item: Any) -> Any:
        value = item.get(self._key) if self._key and isinstance(item, dict) else item
        return (type(value), repr(value)) if isinstance(value, (dict, list)) else (type(value), value)

    def of(self, item: Any) -> int:
        """Its first place, -1 if it is not there."""
        return self._places.get(self._identity(item), -1)


def _check_order(patch: Sequence[Any], order: Sequence[Any], key: str) -> None:
    """The elements of the patch must be among those of the order, in the same relative order."""
    positions = _Positions(order, key)
    last = -1
    for item in patch:
        if isinstance(item, dict) and _DIRECTIVE in item:
            continue
        place = positions.of(item)
        if order and place <= last:
            raise BadRequest(f"The order in patch list doesn't match {_SET_ORDER.rstrip('/')} list")
        last = max(last, place)


def _key_of(element: Mapping[str, Any], key: str) -> Any:
    if key not in element:
        raise BadRequest(f"map: {sorted(element)} does not contain declared merge key: {key}")
    return element[key]


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


def _contains(items: Sequence[Any], item: Any) -> bool:
    return any(_same(item, other) for other in items)


def _unique(items: Sequence[Any]) -> list[Any]:
    return list({(type(item), item): item for item in items}.values())
