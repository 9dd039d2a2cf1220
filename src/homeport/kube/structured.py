"""Walks over objects by their merge rules: which fields an object sets, how two objects differ, merging one into
another, removing fields (upstream: structured-merge-diff ``typed``). Pure; results share parts with the arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from homeport.kube import fieldset
from homeport.kube.fieldset import LEAF, SELF, FieldSet, is_member, with_self
from homeport.kube.merge_schema import Node


class _Absent:
    __slots__ = ()

    def __bool__(self) -> bool:
        return False


_ABSENT: Final = _Absent()


class ElementError(ValueError):
    """A list element cannot be told apart from others: it has no key, or another one has the same."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.path = ""
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class Difference(NamedTuple):
    """How one object differs from another."""

    changed: FieldSet
    """Fields that were added or have another value."""
    removed: FieldSet


def fields_of(obj: Any, node: Node) -> FieldSet:
    """The fields that an applied object has an opinion on. Raises ElementError."""
    return _fields(obj, node, True) or {}


def fields_of_stored(obj: Any, node: Node) -> FieldSet:
    """The same of a stored object, which may have lists whose elements cannot be told apart."""
    return _fields(obj, node, False) or {}


def _fields(value: Any, node: Node, strict: bool) -> FieldSet | None:
    """None for a container without anything in it."""
    if isinstance(value, dict):
        if node.atomic_map:
            return LEAF
        result: FieldSet = {}
        for name, item in value.items():
            below = _fields_at(name, item, node, strict)
            if item is None or item == {} or not node.declares(name):
                below = with_self(below)
            if below is not None:
                result[f"f:{name}"] = below
        return result or None
    if isinstance(value, list):
        if node.atomic_list:
            return LEAF
        elements = _unique_elements(value, node) if strict else _elements(value, node)
        if elements is None:
            return LEAF
        result = {}
        for element, items in elements.items():
            try:
                result[element] = with_self(_fields(items[0], node.element, strict)) if len(items) == 1 else LEAF
            except ElementError as error:
                raise _under(error, element) from None
        return result or None
    return LEAF


def _fields_at(name: str, item: Any, node: Node, strict: bool) -> FieldSet | None:
    try:
        return _fields(item, node.child(name), strict)
    except ElementError as error:
        raise _under(error, f"f:{name}") from None


def _under(error: ElementError, element: str) -> ElementError:
    error.path = next(fieldset.paths({element: LEAF})) + error.path
    return error


def _unique_elements(items: Sequence[Any], node: Node) -> dict[str, list[Any]]:
    """A list that a client applies, by path element; raises ElementError."""
    result: dict[str, list[Any]] = {}
    for item in items:
        element = element_of(item, node)
        if element in result:
            raise ElementError(f"duplicate entries for key {next(fieldset.paths({element: LEAF}))}")
        result[element] = [item]
    return result


def element_of(item: Any, node: Node) -> str:
    """The path element of a list's element; raises ElementError if it has none."""
    names = node.keys
    if names:
        if not isinstance(item, dict):
            raise ElementError("an element of a list with keys must be an object")
        if len(names) == 1:
            name = names[0]
            value = item[name] if name in item else node.defaults.get(name)
            if isinstance(value, (str, int, float)):
                return fieldset.key(name, value)
        values = [item[name] if name in item else node.defaults.get(name) for name in names]
        if all(type(value) in fieldset.PLAIN for value in values):
            return fieldset.plain_keys(names, values)
        found = {name: item[name] for name in names if name in item}
        for name, default in node.defaults.items():
            found.setdefault(name, default)
        if not found:
            raise ElementError(f"an element leaves out all of the list's keys ({', '.join(names)})")
        return fieldset.keys(found)
    if isinstance(item, (str, int, float)):
        return fieldset.value(item)
    raise ElementError("an element of a set must be a string, a number or a boolean")


class _Plan(NamedTuple):
    """What the fields of a map with certain keys are."""

    fields: FieldSet
    """In order, as if none had parts."""
    deeper: tuple[tuple[str, str, Node], ...]
    """Path elements, names and nodes of those whose values may have parts."""


_MOST_PLANS: Final = 64
_LONGEST_PLAN: Final = 64
_MOST_ELEMENTS: Final = 256
"""What a node remembers: so many maps of so many keys, and path elements of a list."""


def _plan(node: Node, names: tuple[str, ...]) -> _Plan:
    elements = sorted(names)
    fields: FieldSet = {SELF: LEAF}
    deeper = []
    for name in elements:
        child = node.child(name)
        fields[f"f:{name}"] = LEAF
        if not child.scalar:
            deeper.append((f"f:{name}", name, child))
    plan = _Plan(fields, tuple(deeper))
    if len(names) <= _LONGEST_PLAN and max(map(len, names)) <= fieldset.LONGEST_REMEMBERED:
        if len(node.plans) >= _MOST_PLANS:
            node.plans.clear()
        node.plans[names] = plan
    return plan


def everything(value: Any, node: Node) -> FieldSet:
    """All paths of a value that came or went as a whole, containers included; in the order in which sets are stored."""
    kind = type(value)
    if kind is dict:
        if node.atomic_map or not value:
            return LEAF
        names = tuple(value)
        fields, deeper = node.plans.get(names) or _plan(node, names)
        result: FieldSet | None = None
        for element, name, child in deeper:
            item = value[name]
            if item and (type(item) is dict or type(item) is list):
                below = everything(item, child)
                if below is not LEAF:
                    if result is None:
                        result = fields.copy()
                    result[element] = below
        return fields if result is None else result
    if kind is list:
        if node.atomic_list or not value:
            return LEAF
        return _everything_in_list(value, node)
    return LEAF


def _everything_in_list(items: list[Any], node: Node) -> FieldSet:
    found: FieldSet = {SELF: LEAF}
    below = node.element
    name = node.keys[0] if len(node.keys) == 1 else None
    plans = None if below.atomic_map else below.plans
    for item in items:
        plan = None
        if type(item) is dict:
            key = item.get(name) if name is not None else None
            if type(key) is str:
                element = node.elements.get(key) or _element(node, key)
            else:
                try:
                    element = element_of(item, node)
                except ElementError:
                    return LEAF
            if plans is not None:
                plan = plans.get(tuple(item))
        else:
            try:
                element = element_of(item, node)
            except ElementError:
                return LEAF
        if element in found:
            found[element] = LEAF  # duplicates share an entry, of which nothing more is said
        elif plan is not None and not plan.deeper:
            found[element] = plan.fields
        else:
            found[element] = everything(item, below)
    # Its own entry comes before any other.
    return found if len(found) == 2 else {element: found[element] for element in sorted(found)}


def _element(node: Node, key: str) -> str:
    """The path element of an element whose one key has a text."""
    element = fieldset.key(node.keys[0], key)
    if len(key) <= fieldset.LONGEST_REMEMBERED:
        if len(node.elements) >= _MOST_ELEMENTS:
            node.elements.clear()
        node.elements[key] = element
    return element


def _elements(items: Sequence[Any], node: Node) -> dict[str, list[Any]] | None:
    """A stored list by path element. Stored lists may hold duplicates (those share an entry) or elements without keys
    (None: then the list is taken as a whole)."""
    result: dict[str, list[Any]] = {}
    try:
        for item in items:
            result.setdefault(element_of(item, node), []).append(item)
    except ElementError:
        return None
    return result


def diff(old: dict[str, Any], new: dict[str, Any], node: Node) -> Difference:
    """How `new` differs from `old`, both whole objects."""
    changed, removed = _diff_maps(old, new, node)
    return Difference(_as_root(changed), _as_root(removed))


def _as_root(tree: FieldSet | None) -> FieldSet:
    if not tree:
        return {}
    return {element: child for element, child in tree.items() if element != SELF} if SELF in tree else tree


_Pair = tuple[FieldSet | None, FieldSet | None]


def _diff(old: Any, new: Any, node: Node) -> _Pair:
    """Of values that are not equal. Comparing is the interpreter's, and happens once on each level."""
    if old is _ABSENT:
        return everything(new, node), None
    if new is _ABSENT:
        return None, everything(old, node)
    if isinstance(old, dict) and isinstance(new, dict):
        if not node.atomic_map:
            return _diff_maps(old, new, node)
    elif isinstance(old, list) and isinstance(new, list):
        if not node.atomic_list:
            return _diff_lists(old, new, node)
    elif isinstance(old, (dict, list)) or isinstance(new, (dict, list)):
        # Another type: what was below the path went, what is below it now came. Null is an empty container, so that
        # it changes nothing at the path itself.
        came = everything(new, node) if new is not None else LEAF
        gone = everything(old, node) if old is not None else LEAF
        if (old is None or new is None) and (came or gone):
            return _as_root(came) or None, _as_root(gone) or None
        return with_self(came), _as_root(gone) or None
    return LEAF, None


def _diff_maps(old: dict[str, Any], new: dict[str, Any], node: Node) -> _Pair:
    changed: FieldSet = {}
    removed: FieldSet = {}
    for name, item in new.items():
        before = old.get(name, _ABSENT)
        if before is item or before == item:
            continue
        came, gone = _diff(before, item, node.child(name))
        if came is not None:
            changed[f"f:{name}"] = came
        if gone is not None:
            removed[f"f:{name}"] = gone
    for name, item in old.items():
        if name not in new:
            removed[f"f:{name}"] = everything(item, node.child(name))
    return changed or None, removed or None


def _diff_lists(old: list[Any], new: list[Any], node: Node) -> _Pair:
    before, after = _elements(old, node), _elements(new, node)
    if before is None or after is None:
        return LEAF, None
    changed: FieldSet = {}
    removed: FieldSet = {}
    below = node.element
    for element in dict.fromkeys((*before, *after)):
        left, right = before.get(element, []), after.get(element, [])
        came: FieldSet | None = None
        gone: FieldSet | None = None
        if left == right:
            continue
        if len(left) <= 1 and len(right) <= 1:
            came, gone = _diff(left[0] if left else _ABSENT, right[0] if right else _ABSENT, below)
        elif len(left) > 1 and len(right) > 1:
            # Duplicates count as one thing, on their path.
            came = LEAF
        elif len(left) > 1:
            came = everything(right[0], below) if right else None
            gone = LEAF
        else:
            came = LEAF
            gone = everything(left[0], below) if left else None
        if came is not None:
            changed[element] = came
        if gone is not None:
            removed[element] = gone
    return changed or None, removed or None


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


def with_named(root: FieldSet, node: Node) -> FieldSet:
    """`root` and the named fields that lead to its members: whoever owns ``a.b.c`` has a say on ``a``, unless that is
    a key of a map or an element of a list."""
    result: FieldSet = {}
    for element, child in root.items():
        if element == SELF or not child:
            result[element] = child
        elif element.startswith("f:"):
            name = element[2:]
            below = with_named(child, node.child(name))
            result[element] = with_self(below) if node.declares(name) else below
        else:
            result[element] = with_named(child, node.element)
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


def reconciled(root: FieldSet, node: Node) -> FieldSet:
    """`root` brought up to date with a schema that has since made a place atomic: its owner owns the place as one."""
    result: FieldSet | None = None
    for element, child in root.items():
        if element == SELF or not child:
            continue
        below = node.child(element[2:]) if element.startswith("f:") else node.element
        inside = next((e for e in child if e != SELF), "")
        if (inside.startswith("f:") and below.atomic_map) or (inside[:2] in ("k:", "v:") and below.atomic_list):
            updated: FieldSet = LEAF
        else:
            updated = reconciled(child, below)
        if updated is not child:
            if result is None:
                result = dict(root)
            result[element] = updated
    return root if result is None else result
