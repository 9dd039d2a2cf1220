"""Objects made of others by their merge rules: merging one into another, removing fields (upstream:
structured-merge-diff ``typed``). Pure; results share parts with the arguments."""

from __future__ import annotations

from typing import Any, Final

from homeport.kube import fieldset
from homeport.kube.fieldset import FieldSet, is_member
from homeport.kube.merge_schema import Node
from homeport.kube.structured import ElementError, element_of


class _Absent:
    __slots__ = ()

    def __bool__(self) -> bool:
        return False


_ABSENT: Final = _Absent()


def merge(live: Any, applied: Any, node: Node) -> Any:
    """`live` with everything that `applied` sets; removes nothing. The order of a keyed list or a set is that of
    `applied` where it says one, and that of `live` for the rest. `applied` must have passed `fields_of`."""
    if isinstance(live, dict) and isinstance(applied, dict):
        if node.atomic_map or not live:
            return applied
        result = dict(live)
        for name, item in applied.items():
            result[name] = merge(live[name], item, node.child(name)) if name in live else item
        return result
    if isinstance(live, list) and isinstance(applied, list):
        if node.atomic_list or not live:
            return applied
        if not applied:
            return live
        return _merge_lists(live, applied, node)
    if applied is None and (
        (isinstance(live, dict) and live and not node.atomic_map)
        or (isinstance(live, list) and live and not node.atomic_list)
    ):
        return live  # Null is an empty container, which says nothing of what is in it.
    return applied


def _merge_lists(live: list[Any], applied: list[Any], node: Node) -> list[Any]:
    right = [element_of(item, node) for item in applied]
    observed_right = dict(zip(right, applied, strict=True))
    try:
        left = [element_of(item, node) for item in live]
    except ElementError:
        return applied
    observed_left: dict[str, Any] = {}
    for element, item in zip(left, live, strict=True):
        # Of duplicates, none is merged into.
        observed_left[element] = _ABSENT if element in observed_left else item
    below = node.element

    def merged(element: str) -> Any:
        ours, theirs = observed_left.get(element, _ABSENT), observed_right[element]
        return theirs if ours is _ABSENT else merge(ours, theirs, below)

    shared = iter([element for element in right if element in observed_left])
    next_shared = next(shared, None)
    taken: set[str] = set()
    result: list[Any] = []
    i = j = 0
    while i < len(left) or j < len(right):
        if i < len(left) and j < len(right):
            element = left[i]
            if element == right[j]:
                taken.add(element)
                result.append(merged(element))
                i, j = i + 1, j + 1
                next_shared = next(shared, None)
                continue
            if element in observed_right and next_shared is not None and next_shared != element:
                i += 1  # In both lists, but `applied` has another one before it.
                continue
        if i < len(left):
            element = left[i]
            if element not in observed_right:
                result.append(live[i])
                i += 1
                continue
            if element in taken:
                i += 1
        if j < len(right):
            element = right[j]
            taken.add(element)
            result.append(merged(element))
            j += 1
            if element == next_shared:
                next_shared = next(shared, None)
    return result


def remove(obj: Any, unwanted: FieldSet, node: Node, keep: FieldSet = fieldset.EMPTY) -> Any:
    """A whole object without the members of `unwanted`. Containers that this empties go too, unless they are members
    of `keep` themselves."""
    rest = _remove(obj, unwanted, node, keep)
    return {} if rest is _ABSENT else rest


def _remove(value: Any, unwanted: FieldSet, node: Node, keep: FieldSet | None) -> Any:
    if isinstance(value, dict) and value:
        if node.atomic_map:
            return _ABSENT
        result = {}
        for name, item in value.items():
            element = f"f:{name}"
            below = unwanted.get(element)
            if below is None:
                result[name] = item
            elif not is_member(below):
                rest = _remove(item, below, node.child(name), keep.get(element) if keep else None)
                if rest is not _ABSENT:
                    result[name] = rest
        return result if result or _keeps(keep) else _ABSENT
    if isinstance(value, list) and value:
        if node.atomic_list:
            return _ABSENT
        kept = []
        for item in value:
            try:
                element = element_of(item, node)
            except ElementError:
                element = ""
            below = unwanted.get(element)
            if below is None:
                kept.append(item)
            elif not is_member(below):
                rest = _remove(item, below, node.element, keep.get(element) if keep else None)
                if rest is not _ABSENT:
                    kept.append(rest)
        return kept if kept or _keeps(keep) else _ABSENT
    return value


def _keeps(keep: FieldSet | None) -> bool:
    return keep is not None and is_member(keep)
