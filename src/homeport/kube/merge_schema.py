"""What an OpenAPI schema says about merging: which lists are keyed, which are sets, which values are atomic.

Upstream: structured-merge-diff's ``schema`` and kube-openapi's ``schemaconv``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from homeport.kube.schema import REF_PREFIX

Schema: TypeAlias = Mapping[str, Any]
Components: TypeAlias = Mapping[str, Schema]

_CACHED: Final = 256
"""Whole schemas kept ready, the most recently used ones."""

_SCALARS: Final = frozenset({"string", "integer", "boolean", "number", "quantity", "int-or-string"})
"""Types and formats of values without parts."""


class Node:
    """How the values at one place of an object merge. Children are made when they are first asked for, since schemas
    may be recursive and objects use few of a big schema's places."""

    __slots__ = (
        "_children",
        "_components",
        "_element",
        "_other",
        "_properties",
        "_schema",
        "atomic_list",
        "atomic_map",
        "defaults",
        "elements",
        "keys",
        "lists",
        "plans",
        "scalar",
    )

    def __init__(self, schema: Schema, components: Components) -> None:
        outer = schema
        schema = resolved(schema, components)
        # What stands beside a reference wins over what the reference says.
        extensions = {**schema, **outer} if outer is not schema else schema
        self._schema = schema
        self._components = components
        self._properties: Schema = schema.get("properties") or {}
        self._children: dict[str, Node] = {}
        self._other: Node | None = None
        self._element: Node | None = None
        self.plans: dict[tuple[str, ...], Any] = {}
        self.elements: dict[str, str] = {}
        self.lists: dict[tuple[Any, ...], Any] = {}
        """All three belong to :mod:`homeport.kube.structured`."""
        self.scalar = schema.get("type") in _SCALARS or schema.get("format") in _SCALARS
        """Whether values have no parts."""
        self.atomic_map = extensions.get("x-kubernetes-map-type") == "atomic"
        self.atomic_list, self.keys = _list_rules(extensions)
        """``keys`` are those of a keyed list; a list that is neither atomic nor keyed is a set of scalars."""
        self.defaults: Mapping[str, Any] = {}
        """Defaults of the keys, for elements that leave one out."""
        if self.keys:
            properties = resolved(schema.get("items") or {}, components).get("properties") or {}
            self.defaults = {
                key: properties[key]["default"] for key in self.keys if "default" in (properties.get(key) or {})
            }

    def declares(self, name: str) -> bool:
        """Whether `name` is a named field here, as opposed to a key of a map."""
        return name in self._properties

    def child(self, name: str) -> Node:
        """The node of a field or of a map's value."""
        node = self._children.get(name)
        if node is not None:
            return node
        declared = self._properties.get(name)
        if declared is not None:
            node = self._children[name] = Node(declared, self._components)
            return node
        if self._other is None:
            other = self._schema.get("additionalProperties")
            self._other = Node(other, self._components) if isinstance(other, Mapping) else DEDUCED
        return self._other

    @property
    def element(self) -> Node:
        """The node of a list's elements."""
        if self._element is None:
            items = self._schema.get("items")
            self._element = Node(items, self._components) if isinstance(items, Mapping) else DEDUCED
        return self._element

    def replace_child(self, name: str, node: Node) -> None:
        """Make `node` that of a named field, whatever the schema says."""
        self._properties = {**self._properties, name: self._properties.get(name, {})}
        self._children[name] = node


def resolved(schema: Schema, components: Components) -> Schema:
    """Follow references, also behind ``allOf``, which is how a description stands beside one."""
    while True:
        all_of = schema.get("allOf")
        if "$ref" in schema:
            schema = components.get(schema["$ref"].removeprefix(REF_PREFIX)) or {}
        elif isinstance(all_of, list) and len(all_of) == 1 and "properties" not in schema:
            schema = all_of[0]
        else:
            return schema


def _list_rules(schema: Schema) -> tuple[bool, tuple[str, ...]]:
    """(atomic, keys). ``x-kubernetes-list-type`` decides; else the rules of strategic merge patch do."""
    match schema.get("x-kubernetes-list-type"):
        case "map":
            return False, tuple(sorted(schema.get("x-kubernetes-list-map-keys") or ()))
        case "set":
            return False, ()
        case "atomic":
            return True, ()
    if "merge" in str(schema.get("x-kubernetes-patch-strategy", "")).split(","):
        key = schema.get("x-kubernetes-patch-merge-key")
        return False, (str(key),) if key else ()
    return True, ()


DEDUCED: Final = Node({}, {})
"""Where the schema says nothing: objects merge field by field, lists are atomic."""

_REFERENCE_FIELDS: Final = ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")
_METADATA_FIELDS: Final = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields",
)  # fmt: skip
_METADATA: Final[Schema] = {
    "properties": {
        "annotations": {"additionalProperties": {}},
        "labels": {"additionalProperties": {}},
        "finalizers": {"x-kubernetes-list-type": "set"},
        "ownerReferences": {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
            "items": {
                "x-kubernetes-map-type": "atomic",
                "properties": {name: {} for name in _REFERENCE_FIELDS},
            },
        },
        **{name: {} for name in _METADATA_FIELDS},
    }
}

_NO_SCHEMA: Final[Schema] = {}
_NO_COMPONENTS: Final[Components] = {}
_cache: OrderedDict[tuple[int | str, int], tuple[Schema, Components, Node]] = OrderedDict()


def root(schema: Schema | None, components: Components | None) -> Node:
    """The node of a whole object. ``apiVersion``, ``kind`` and ``metadata`` are known whatever the schema says.

    Cached by the identity of both arguments, which must not change in place.
    """
    schema = _NO_SCHEMA if schema is None else schema
    components = _NO_COMPONENTS if components is None else components
    reference = schema.get("$ref")
    # A bare reference is often built anew by the caller; what it says is enough to know it.
    place = (reference if isinstance(reference, str) and len(schema) == 1 else id(schema), id(components))
    found = _cache.get(place)
    if found is not None:
        _cache.move_to_end(place)
        return found[2]
    node = Node(schema, components)
    node.replace_child("metadata", Node(_METADATA, {}))
    for name in ("apiVersion", "kind"):
        node.replace_child(name, DEDUCED)
    # The cache keeps the arguments alive, so that an identity is not used again while it is in there.
    _cache[place] = (schema, components, node)
    if len(_cache) > _CACHED:
        _cache.popitem(last=False)
    return node
