"""A kind of API object, declared once.

From one declaration come the typed view, the OpenAPI schema (``kubectl explain``), defaults, validation, printer
columns and the CustomResourceDefinition for a real cluster. See ``homeport.kube.schema`` for how a struct becomes a
schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from importlib import import_module
from typing import Any

import msgspec

from homeport.kube import names
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object


class Resource(msgspec.Struct, frozen=True):
    """Where a kind's objects live in the API: what a client needs to address them."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """``group/version``, or just the version for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """``plural.group``, as messages name a resource; just the plural for the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, or of one object or subresource. Empty namespace: all namespaces."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


class Column(msgspec.Struct, frozen=True):
    """A column of ``kubectl get`` (``additionalPrinterColumns``). ``priority`` > 0 shows with ``-o wide`` only.

    ``path`` is a Kubernetes JSONPath (``.status.phase``). For built-in kinds whose columns are computed, ``compute``
    takes the object and gives the cell's value, and ``compute_at`` does from the object and the present time; such
    columns have no CRD form.
    """

    name: str
    type: str
    path: str = ""
    description: str = ""
    format: str = ""
    priority: int = 0
    compute: Callable[[Object], Any] | None = None
    compute_at: Callable[[Object, datetime], Any] | None = None


class Conversion(msgspec.Struct, frozen=True):
    """How the objects of one version are kept as objects of another version, perhaps of another group.

    Both functions are pure, never change their argument and take complete, valid objects; ``apiVersion`` and ``kind``
    are set by the caller. What only one of the versions can say has to survive the way there and back (upstream keeps
    it in annotations). The resource's plural is the same in both versions.
    """

    stored: Resource
    """What the objects are stored as. A kind of this address is declared, too."""
    show: Callable[[Object], Object]
    """From the stored version to this one."""
    store: Callable[[Object], Object]
    """From this version to the stored one."""


@cache
def imported(path: str) -> Any:
    """What ``package.module:name`` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _no_errors(new: Object, old: Object | None) -> Iterable[FieldError]:
    return ()


def _unchanged(new: Object, old: Object | None) -> Object:
    return new


class Kind(msgspec.Struct, frozen=True, eq=False):
    """One kind: its address, its struct and its rules.

    ``struct`` is that of the whole object (fields ``metadata``, ``spec``, ``status``, ... as the kind has them).
    ``prepare(new, old)`` gives the object with defaults that depend on other fields (plain defaults belong to the
    struct); `old` is None on create. It sees the object after schema defaulting but before validation, so it leaves
    alone what has not the right form; what it adds is in normal form (amounts as canonical strings).
    ``validate(new, old)`` gives the errors that a schema can't express, of an object that the schema finds valid. Both
    are pure; neither may change its arguments.
    """

    resource: Resource
    body: type[msgspec.Struct] | str
    """The struct, or for a kind that most processes never touch where it is (``package.module:Struct``)."""
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    subresources: frozenset[str] = frozenset({"status"})
    """Of ``status`` and ``scale``: those that any kind may have. Others (``log``, ``binding``) belong to the
    API server."""
    scale_paths: tuple[str, str, str] | None = None
    """specReplicasPath, statusReplicasPath, labelSelectorPath of the ``scale`` subresource."""
    prepare: Callable[[Object, Object | None], Object] = _unchanged
    validate: Callable[[Object, Object | None], Iterable[FieldError]] = _no_errors
    name_rule: names.Rule = names.dns1123_subdomain
    """What an object's name has to look like."""
    has_rules: bool = False
    """Whether our own server, too, goes by the CEL rules of the structs (``doc(rules=...)``). They are part of the
    definition for a cluster in any case; most kinds say the same in `validate`, which is faster."""
    approval: str = ""
    """Where the kind was approved as one of Kubernetes' own groups (``*.k8s.io``), which take no others."""
    has_generation: bool = True
    """Whether ``metadata.generation`` counts changes of anything but metadata and status."""
    conversion: Conversion | None = None
    """For a version that is not the stored one and differs from it in more than its name."""
    warning: str = ""
    """Sent with every answer: the kind is deprecated."""
    builtin: bool = False
    """True for kinds that every Kubernetes has (no CRD; strategic merge patch allowed)."""

    @property
    def struct(self) -> type[msgspec.Struct]:
        """The struct of the whole object, which is imported now if it was not needed before."""
        body = self.body
        return imported(body) if isinstance(body, str) else body

    @property
    def has_own_rules(self) -> bool:
        """Whether `prepare` or `validate` say more than the schema."""
        return self.prepare is not _unchanged or self.validate is not _no_errors

    @property
    def kind(self) -> str:
        return self.resource.kind

    @property
    def api_version(self) -> str:
        return self.resource.api_version

    def new(self, name: str, namespace: str = "", **fields: Any) -> Object:
        """A fresh object of this kind with the given top-level fields."""
        meta: dict[str, Any] = {"name": name}
        if namespace:
            meta["namespace"] = namespace
        meta |= fields.pop("metadata", {})
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": meta, **fields}
