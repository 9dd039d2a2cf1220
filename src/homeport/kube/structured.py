"""Walks over objects by their merge rules: which fields an object sets, and how two objects differ (upstream:
structured-merge-diff ``typed``). Pure. What makes another object of one is in :mod:`homeport.kube.merging`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple

from homeport.kube import fieldset
from homeport.kube.fieldset import LEAF, SELF, FieldSet, with_self
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
        values = []
        for name in names:
            value = item[name] if name in item else node.defaults.get(name)
            if type(value) not in fieldset.PLAIN:
                break
            values.append(value)
        else:
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
_MOST_LISTS: Final = 16
_LONGEST_LIST: Final = 192
"""What a node remembers: so many maps of so many keys, path elements of a list, and lists of so many texts."""


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
    if len(node.keys) != 1 or not 1 < len(items) <= _LONGEST_LIST // 3:
        return _of_elements(items, node)[0]
    try:
        # What elements without parts come to follows from their keys and the names of their fields, which are the same
        # for the variables of all replicas of a job. The lengths say where each element ends.
        known = (*map(len, items), *map(itemgetter(node.keys[0]), items), *chain.from_iterable(items))
        found = node.lists.get(known)
    except (TypeError, KeyError):  # no maps, or without that key
        return _of_elements(items, node)[0]
    if found is None:
        found, flat = _of_elements(items, node)
        if flat and len(known) <= _LONGEST_LIST:
            if len(node.lists) >= _MOST_LISTS:
                node.lists.clear()
            node.lists[known] = found
    return found


def _of_elements(items: list[Any], node: Node) -> tuple[FieldSet, bool]:
    """The set of a list that is not empty; and whether nothing but the elements' keys, short texts, and the names of
    their fields makes it what it is."""
    found: FieldSet = {SELF: LEAF}
    flat = True
    below = node.element
    name = node.keys[0] if len(node.keys) == 1 else None
    plans = None if below.atomic_map else below.plans
    for item in items:
        plan = None
        if type(item) is dict:
            key = item.get(name) if name is not None else None
            if type(key) is str:
                element = node.elements.get(key) or _element(node, key)
                flat = flat and len(key) <= fieldset.LONGEST_REMEMBERED
            else:
                flat = False
                try:
                    element = element_of(item, node)
                except ElementError:
                    return LEAF, False
            if plans is not None:
                plan = plans.get(tuple(item))
        else:
            flat = False
            try:
                element = element_of(item, node)
            except ElementError:
                return LEAF, False
        if plan is None or plan.deeper:
            flat = False
        if element in found:
            found[element] = LEAF  # duplicates share an entry, of which nothing more is said
        elif plan is not None and not plan.deeper:
            found[element] = plan.fields
        else:
            found[element] = everything(item, below)
    # Its own entry comes before any other.
    return found if len(found) == 2 else {element: found[element] for element in sorted(found)}, flat


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
