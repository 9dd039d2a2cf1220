"""What is served: resources declared by kinds and resources made by CustomResourceDefinitions, on one path.

A `Served` is one version of one resource. Its schema is compiled when it is first needed: most runs of a server touch
few of the kinds that it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from homeport.apiserver import subresources
from homeport.apiserver.offload import off_loop
from homeport.apiserver.versions import Converter
from homeport.kube import names
from homeport.kube.core import DeleteOptions, ObjectMeta, Status
from homeport.kube.errors import FieldError
from homeport.kube.kind import Column, Conversion, Kind, Resource
from homeport.kube.meta import Object
from homeport.kube.schema import REF_PREFIX, JsonSchema, has_rules
from homeport.kube.schema.compiled import Schema
from homeport.kube.schema.crd import structural
from homeport.kube.schema.struct import Components, add, components, schema_name
from homeport.kube.table import Printer

if TYPE_CHECKING:
    from homeport.kube.schema.rules import Rules

STANDARD_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_ONE_BY_ONE = tuple(verb for verb in STANDARD_VERBS if verb != "deletecollection")


class Definition:
    """What is worked out of one version's declaration, each part on first use."""

    def __init__(
        self,
        make: Callable[[], tuple[JsonSchema, Mapping[str, JsonSchema]]],
        *,
        typed: bool,
        columns: tuple[Column, ...] = (),
        digest: bytes = b"",
        ruled: Callable[[], JsonSchema] | None = None,
    ) -> None:
        """`digest` is that of a CRD's schema: two definitions with the same one have the same schema. `ruled`: makes
        the schema whose rules count, of a declared kind; None: it has none."""
        self.digest = digest
        self._make: Callable[[], tuple[JsonSchema, Mapping[str, JsonSchema]]] | None = make
        self._typed = typed
        self._ruled = ruled
        self._columns = columns
        self._parts: tuple[JsonSchema, Mapping[str, JsonSchema]] | None = None
        self._schema: Schema | None = None
        self._rules: Rules | None = None
        self._has_rules: bool | None = None
        self._preparing: asyncio.Future[Any] | None = None

    # Not cached_property: in Python 3.11 all of a class's share one lock, so that the loop would wait for the worker
    # thread's work on another definition.

    @property
    def parts(self) -> tuple[JsonSchema, Mapping[str, JsonSchema]]:
        """The root schema and the components that it refers to."""
        make = self._make
        if make is not None:
            self._parts = make()
            self._make = None  # it holds on to what the schema was read from
        assert self._parts is not None, "parts are made once"
        return self._parts

    @property
    def schema(self) -> Schema:
        if self._schema is None:
            root, shared = self.parts
            self._schema = Schema(root, shared, typed=self._typed)
        return self._schema

    @property
    def rules(self) -> Rules | None:
        """The rules of a CRD's schema, or of a declared kind that has some; None if there are none."""
        if self._has_rules is None:
            ruled = None
            if self._ruled is not None:
                ruled = self._ruled()
            elif not self._typed and has_rules(self.parts[0]):
                ruled = self.parts[0]
            if ruled is not None:
                from homeport.kube.schema.rules import Rules  # with the first rule

                self._rules = Rules.of(ruled)
            self._has_rules = self._rules is not None
        return self._rules

    @property
    def is_ready(self) -> bool:
        """Whether nothing is left to work out that takes long."""
        return self._typed or (self._schema is not None and self._has_rules is not None)

    async def prepare(self) -> None:
        """Work out the schema and the rules of a CRD, if that is still to do, without holding up others: large ones
        take half a second. What is here afterwards is never worked out again."""
        if self._preparing is None:
            self._preparing = asyncio.ensure_future(off_loop(lambda: (self.schema, self.rules)))
        await asyncio.shield(self._preparing)

    def with_columns(self, other: Definition) -> Definition:
        """This one, of the same schema as `other`, with the columns of that."""
        if self._columns != other._columns:
            other._parts = self._parts
            other._schema, other._rules, other._has_rules = self._schema, self._rules, self._has_rules
            return other
        return self

    @cached_property
    def printer(self) -> Printer:
        """The columns of ``kubectl get``."""
        return Printer(self._columns)


def _unchanged(new: Object, old: Object | None) -> Object:
    return new


def _no_errors(new: Object, old: Object | None) -> Iterable[FieldError]:
    return ()


class Served(msgspec.Struct, frozen=True, eq=False):
    """One version of one resource, as the API has it."""

    resource: Resource
    singular: str
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    subresources: frozenset[str]
    scale_paths: tuple[str, str, str] | None
    builtin: bool
    """True for kinds that every Kubernetes has: strategic merge patch, unconditional updates."""
    storage_version: str
    definition: Definition
    list_kind: str
    prepare: Callable[[Object, Object | None], Object] = _unchanged
    validate: Callable[[Object, Object | None], Iterable[FieldError]] = _no_errors
    finish: Callable[[Object, Object | None], Object] = _unchanged
    """What the server itself adds to an object that has been found valid."""
    name_rule: names.Rule = names.dns1123_subdomain
    """What an object's name has to look like."""
    has_generation: bool = True
    """Whether ``metadata.generation`` counts changes of anything but metadata and status."""
    selectable: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Field selectors that a CRD allows: the selector's path to the JSONPath."""
    conversion: Conversion | None = None
    """How objects are brought into the stored version and back, if by a function (see
    :mod:`homeport.apiserver.versions`)."""
    converter: Converter | None = None
    """The same, if by asking a webhook."""
    changed_at: int = 0
    """The revision of the CRD that defines this: objects written before are read through the present schema."""
    warning: str = ""
    """Sent with every answer: the version is deprecated."""
    key: str = ""
    """``group/plural``, the store's name of the resource: of the stored version, whose group may be another."""
    head: bytes = b""
    """How the JSON of an object stored in this version begins."""
    # What every request asks for, so that none has to work it out. All of it is the resource's.
    group: str = ""
    kind: str = ""
    namespaced: bool = True
    api_version: str = ""
    storage_api_version: str = ""
    """``apiVersion`` of what is stored."""
    has_status: bool = False
    """Whether the status is a subresource."""

    @property
    def verbs(self) -> tuple[str, ...]:
        """What may be done with objects: no request deletes all namespaces, as upstream (its namespaces' storage is no
        ``CollectionDeleter``)."""
        return _ONE_BY_ONE if self.key == "/namespaces" else STANDARD_VERBS

    @property
    def gvk(self) -> dict[str, str]:
        """``x-kubernetes-group-version-kind`` and the like."""
        return {"group": self.group, "version": self.resource.version, "kind": self.kind}

    @property
    def schema(self) -> Schema:
        return self.definition.schema


def make_served(resource: Resource, **fields: Any) -> Served:
    """A Served with the parts filled in that follow from the address."""
    head = f'{{"apiVersion":"{resource.api_version}","kind":"{resource.kind}",'.encode()
    conversion: Conversion | None = fields.get("conversion")
    stored = replace(resource, version=fields["storage_version"]) if conversion is None else conversion.stored
    return Served(
        resource=resource,
        key=f"{stored.group}/{resource.plural}",
        head=head,
        group=resource.group,
        kind=resource.kind,
        namespaced=resource.namespaced,
        api_version=resource.api_version,
        storage_api_version=stored.api_version,
        has_status="status" in fields["subresources"],
        **fields,
    )


class Registry:
    """All served resources. Changes with the CRDs; readers see the change at once."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.kinds = tuple(kinds)
        self._served: dict[tuple[str, str, str], Served] = {}
        self._declared: set[tuple[str, str]] = set()
        self.generation = 0
        """Counts changes: what is derived from the registry (discovery, OpenAPI) is made anew when it moves."""
        self.changed: Callable[[], None] = lambda: None
        """Called after each change of what CRDs define."""
        storage: dict[tuple[str, str], str] = {}
        for kind in self.kinds:
            if kind.conversion is not None:
                continue
            storage.setdefault((kind.resource.group, kind.resource.plural), kind.resource.version)
        for kind in self.kinds:
            if kind.conversion is not None:
                version = kind.conversion.stored.version
            else:
                version = storage[kind.resource.group, kind.resource.plural]
            self._add(_of_kind(kind, version, self))
            self._declared.add((kind.resource.group, kind.resource.plural))

    @cached_property
    def components(self) -> Components:
        """The schemas of what every API speaks of, and of the declared kinds that :meth:`require` was told of."""
        found = components((), (DeleteOptions, Status, ObjectMeta))
        # Objects of these kinds may be parts of others, as claims are of stateful sets.
        found.whole |= {schema_name(kind.body): kind for kind in self.kinds if not isinstance(kind.body, str)}
        return found

    def require(self, kind: Kind) -> Components:
        """The components with the schemas that `kind` needs: a run that touches few kinds pays for those only."""
        add(self.components, (kind,))
        return self.components

    def share_metadata(self) -> None:
        """Makes what the schemas of all CRDs share, before they are worked out in another thread: two threads must not
        make it at once."""
        Schema({"$ref": REF_PREFIX + schema_name(ObjectMeta)}, self.components)

    def _add(self, served: Served) -> None:
        resource = served.resource
        self._served[resource.group, resource.version, resource.plural] = served
        self.generation += 1

    def find(self, group: str, version: str, plural: str) -> Served | None:
        return self._served.get((group, version, plural))

    def is_declared(self, group: str, plural: str) -> bool:
        """Whether the resource comes from a kind in the program: no CRD can take its place."""
        return (group, plural) in self._declared

    def __iter__(self) -> Iterator[Served]:
        return iter(tuple(self._served.values()))  # as it is now, whoever reads on in another thread

    def replace(self, group: str, plural: str, versions: Iterable[Served]) -> None:
        """Serve exactly `versions` of the resource from now on."""
        for key in [key for key in self._served if key[0] == group and key[2] == plural]:
            del self._served[key]
            self.generation += 1
        for served in versions:
            self._add(served)
        self.changed()


def _of_kind(kind: Kind, storage_version: str, registry: Registry) -> Served:
    resource = kind.resource

    def make() -> tuple[JsonSchema, Mapping[str, JsonSchema]]:
        return {"$ref": REF_PREFIX + schema_name(kind.struct)}, registry.require(kind)

    def ruled() -> JsonSchema:
        return structural(kind, registry.require(kind))

    extra = subresources.by_nature(resource.group, resource.plural) if kind.builtin else frozenset()
    return make_served(
        resource,
        singular=kind.singular or resource.kind.lower(),
        short_names=kind.short_names,
        categories=kind.categories,
        subresources=kind.subresources | extra,
        scale_paths=kind.scale_paths,
        builtin=kind.builtin,
        storage_version=storage_version,
        definition=Definition(make, typed=True, columns=kind.columns, ruled=ruled if kind.has_rules else None),
        prepare=kind.prepare,
        validate=kind.validate,
        list_kind=resource.kind + "List",
        name_rule=kind.name_rule,
        has_generation=kind.has_generation,
        conversion=kind.conversion,
        warning=kind.warning,
    )
