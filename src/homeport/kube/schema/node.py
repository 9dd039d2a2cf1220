"""A schema as a graph of nodes with the references resolved: what defaulting, pruning and validation walk.

Reading a schema's dict again for each object costs more than the work itself; a node holds the answers. Nodes also know
which passes have anything to do below them, so that a pass skips the rest of the object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from homeport.kube.schema import REF_PREFIX, JsonSchema
from homeport.kube.schema.checks import checks_of
from homeport.kube.schema.fields import QUANTITY_FORMAT
from homeport.kube.schema.struct import NO_DEFAULTS, Components

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_NATIVE = "io.k8s."
_STRING: JsonSchema = {"type": "string"}
_NESTING = ("properties", "additionalProperties", "items", "x-kubernetes-embedded-resource")
_NOT_OWN = frozenset(
    {
        "$ref", "allOf", "description", "default", "title", "example", "externalDocs", NO_DEFAULTS,
        "x-kubernetes-patch-merge-key", "x-kubernetes-patch-strategy",
    }
)  # fmt: skip
"""Keys beside a reference that say nothing about the values of the schema that it names."""
_PLAIN: dict[str, type] = {"string": str, "boolean": bool, "integer": int}
_EITHER = [{"type": "integer"}, {"type": "string"}]
"""What a schema of integers or strings says of their types."""
_OPEN: JsonSchema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


class Node:
    """One schema. Two properties with the same ``$ref`` share a node, so recursive schemas make a cyclic graph."""

    __slots__ = (
        "additional",
        "all_of",
        "any_of",
        "checks",
        "defaults",
        "embedded",
        "enum",
        "format",
        "has_defaults",
        "has_embedded",
        "has_numbers",
        "int_or_string",
        "items",
        "judged",
        "leaf",
        "list_keys",
        "list_type",
        "mould",
        "name",
        "native",
        "not_",
        "nullable",
        "number_children",
        "one_of",
        "plain",
        "preserve",
        "properties",
        "quantity",
        "required",
        "schema",
        "takes_integers",
        "type",
    )

    def __init__(self, schema: JsonSchema) -> None:
        self.schema = schema
        self.name = ""
        """Of the shared schema: ``io.k8s.api.core.v1.PodSpec``."""
        self.type: str = schema.get("type", "")
        self.format: str = schema.get("format", "")
        self.int_or_string = bool(schema.get("x-kubernetes-int-or-string")) or self.format == "int-or-string"
        self.nullable = bool(schema.get("nullable"))
        self.preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        self.embedded = bool(schema.get("x-kubernetes-embedded-resource"))
        self.enum: list[Any] | None = schema.get("enum")
        self.required: tuple[str, ...] = tuple(schema.get("required") or ())
        self.list_type: str = schema.get("x-kubernetes-list-type", "")
        self.list_keys: tuple[str, ...] = tuple(schema.get("x-kubernetes-list-map-keys") or ())
        self.properties: dict[str, Node] = {}
        self.additional: Node | None = None
        self.items: Node | None = None
        self.native = False
        """Part of a kind that every Kubernetes has: its lists may repeat a key, as upstream's Go types allow."""
        self.mould: Any = None
        """Belongs to :mod:`homeport.kube.schema.judge`."""
        self.all_of: tuple[Node, ...] = ()
        self.any_of: tuple[Node, ...] = ()
        self.one_of: tuple[Node, ...] = ()
        self.not_: Node | None = None
        self.judged = False
        """Whether other schemas have a say on the same value (``anyOf`` and the like)."""
        self.defaults: dict[str, Any] = {}
        """The properties' own defaults."""
        self.has_defaults = False
        self.has_embedded = False
        """Whether the value is a whole object, or has one in it."""
        self.has_numbers = False
        self.number_children: dict[str, Node] = {}
        self.leaf = not any(key in schema for key in _NESTING) and self.type not in ("object", "array")
        """A scalar: there is nothing below."""
        self.takes_integers = self.type == "integer" or self.int_or_string
        self.checks = checks_of(schema)
        self.quantity = self.format == QUANTITY_FORMAT
        self.plain: type | None = None
        """The Python type of a scalar that is valid whatever its value; None where there is more to look at. Most
        values of an object are of such a type, and a pass that walks the object need not call anything for them."""

    def children(self) -> Iterator[Node]:
        """The nodes that describe parts of the value (not those of ``anyOf`` and the like, which only judge it)."""
        yield from self.properties.values()
        if self.additional is not None:
            yield self.additional
        if self.items is not None:
            yield self.items


Keep = tuple[str, ...] | None
"""Which defaults of an object's own properties to set: None for all, else those of the named ones."""
_Place = tuple[str, Keep, str]
"""A shared schema by its name, and what else decides what becomes of it."""


class Builder:
    """Makes nodes of schemas. Those of shared schemas are made once, if `components` can remember them.

    Builders may work in several threads at once: nodes are shared when they are complete, never before. Two that need
    the same at the same time each make their own.
    """

    def __init__(self, components: Mapping[str, JsonSchema]) -> None:
        self._components = components
        self._shared: dict[_Place, Node] = components.nodes if isinstance(components, Components) else {}
        self._made: dict[_Place, Node] = {}
        self._all: list[Node] = []
        """The nodes that this builder made; those that it found made know all about themselves."""

    def root(self, schema: JsonSchema) -> Node:
        """The graph for a whole object: ``apiVersion``, ``kind`` and ``metadata`` are known, said or not."""
        node = self._node({**schema, "x-kubernetes-embedded-resource": True}, None)
        self._finish()
        return node

    def part(self, schema: JsonSchema) -> Node:
        """The graph for a part of an object, such as a pod template."""
        node = self._node(schema, None)
        self._finish()
        return node

    def _node(self, schema: JsonSchema, keep: Keep) -> Node:
        reference = schema.get("$ref")
        if reference is None:
            every = schema.get("allOf")
            if every is not None and len(every) == 1 and "$ref" in every[0] and "type" not in schema:
                reference = every[0]["$ref"]
        if reference is None:
            return self._fill(Node(schema), schema, keep)
        name = reference.removeprefix(REF_PREFIX)
        if name not in self._components:
            raise LookupError(f"the schema refers to {reference}, which there is not")
        if schema.get(NO_DEFAULTS) and keep is None:
            keep = ()
        own = {key: schema[key] for key in schema if key not in _NOT_OWN}
        place = (name, keep, repr(own) if own else "")
        made = self._shared.get(place) or self._made.get(place)
        if made is None:
            target = {**self._components[name], **own}
            made = self._made[place] = Node(target)
            made.name = name
            self._fill(made, target, keep)
            if name.startswith(_NATIVE):
                for part in made.properties.values():
                    part.native = True
        return made

    def _fill(self, node: Node, schema: JsonSchema, keep: Keep) -> Node:
        self._all.append(node)
        below: Keep = None if keep is None else ()
        for name, part in (schema.get("properties") or {}).items():
            node.properties[name] = self._node(part, below)
            default = part.get("default")
            if default is not None and (keep is None or name in keep):
                node.defaults[name] = default
        additional = schema.get("additionalProperties")
        if isinstance(additional, dict):
            node.additional = self._node(additional, below)
        elif additional is True:
            node.additional = self._fill(Node(_OPEN), _OPEN, below)
        items = schema.get("items")
        if isinstance(items, dict):
            node.items = self._node(items, None if keep is None else node.list_keys)
        if not node.quantity:  # those have their own check, and so have integers or strings
            either = _EITHER if node.int_or_string else None
            every = [part for part in schema.get("allOf") or () if either is None or part != {"anyOf": either}]
            node.all_of = tuple(self._node(part, ()) for part in every)
            alternatives = schema.get("anyOf") or ()
            node.any_of = () if alternatives == either else tuple(self._node(part, ()) for part in alternatives)
            one = schema.get("oneOf") or ()
            node.one_of = () if one == either else tuple(self._node(part, ()) for part in one)
        if isinstance(schema.get("not"), dict):
            node.not_ = self._node(schema["not"], ())
        node.judged = bool(node.all_of or node.any_of or node.one_of) or node.not_ is not None
        if node.embedded:
            self._add_type_meta(node)
        return node

    def _add_type_meta(self, node: Node) -> None:
        for name in ("apiVersion", "kind"):
            if name not in node.properties:
                node.properties[name] = self._fill(Node(_STRING), _STRING, None)
        said = node.properties.get("metadata")
        if OBJECT_META in self._components and (said is None or not said.properties):
            node.properties["metadata"] = self._node({"$ref": REF_PREFIX + OBJECT_META}, None)
        elif said is None or not said.properties:
            node.properties["metadata"] = self._fill(Node(_OPEN), _OPEN, None)

    def _finish(self) -> None:
        """Says of each node which passes have work below it: spreads what is known from children to parents."""
        parents: dict[int, list[Node]] = {}
        with_defaults = [node for node in self._all if node.defaults]
        with_numbers = [node for node in self._all if node.quantity or node.takes_integers]
        with_embedded = [node for node in self._all if node.embedded]
        for node in self._all:
            for part in node.children():
                parents.setdefault(id(part), []).append(node)
                if part.has_defaults:
                    with_defaults.append(node)
                if part.has_numbers:
                    with_numbers.append(node)
                if part.has_embedded:
                    with_embedded.append(node)
        spread = (("has_defaults", with_defaults), ("has_numbers", with_numbers), ("has_embedded", with_embedded))
        for flag, pending in spread:
            while pending:
                node = pending.pop()
                if not getattr(node, flag):
                    setattr(node, flag, True)
                    pending += parents.get(id(node), ())
        for node in self._all:
            if not (node.checks or node.quantity or node.int_or_string or node.judged):
                node.plain = _PLAIN.get(node.type)
            node.number_children = {name: part for name, part in node.properties.items() if part.has_numbers}
        for place, node in self._made.items():
            self._shared.setdefault(place, node)
