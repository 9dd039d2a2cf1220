"""One operation on one object, as admission sees it (upstream: ``admission.Attributes``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from homeport.apiserver.context import Call
from homeport.apiserver.resources import Served
from homeport.apiserver.writing import wants_dry_run
from homeport.kube.meta import Object
from homeport.kube.wire import User

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]

CREATE: Final = "CREATE"
UPDATE: Final = "UPDATE"
DELETE: Final = "DELETE"
CONNECT: Final = "CONNECT"

_OPTIONS: Mapping[str, str] = {CREATE: "CreateOptions", UPDATE: "UpdateOptions", DELETE: "DeleteOptions"}


class Attributes(msgspec.Struct):
    """What admission decides on. `object` may be replaced by mutating plug-ins, never changed in place."""

    operation: Operation
    served: Served
    """The resource of the path; of a subresource, the one that it belongs to."""
    subresource: str
    namespace: str
    """Of a namespace, its own name. Empty for other objects of cluster scope."""
    name: str
    """Empty while the server has not chosen a name for ``generateName``, and for each object of a deletecollection."""
    user: User
    object: Object | None
    """The new state; None for DELETE."""
    old: Object | None
    """The present state; None for CREATE and CONNECT."""
    dry_run: bool = False
    query: Mapping[str, str] = msgspec.field(default_factory=dict)
    warnings: list[str] = msgspec.field(default_factory=list)
    """Texts for ``Warning`` headers of the answer; plug-ins append."""
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    """Audit annotations of the request; plug-ins add."""
    delete_options: Object | None = None
    memo: dict[str, Any] = msgspec.field(default_factory=dict)
    """What a stage remembers about the request."""
    rough: bool = False
    """Whether `object` was changed in a way that calls for defaults."""
    waited: bool = False
    """Whether anybody else may have had a turn since admission began, so that what was looked up may be another now."""
    deadline: float = 0.0
    """When webhooks have to be done, by the event loop's clock; 0 before the first was asked."""

    @property
    def has_own_kind(self) -> bool:
        """Whether the subresource has a kind of its own, so that `object` is none of the resource's kind."""
        obj = self.object if self.object is not None else self.old
        resource = self.served.resource
        return obj is not None and (obj.get("kind"), obj.get("apiVersion")) != (resource.kind, resource.api_version)

    @property
    def kind(self) -> tuple[str, str, str]:
        """Group, version and kind of `object`: a subresource may have a kind of its own (``autoscaling/v1`` Scale)."""
        obj = self.object if self.object is not None else self.old
        api_version = str((obj or {}).get("apiVersion") or self.served.api_version)
        group, _, version = api_version.rpartition("/")
        return group, version, str((obj or {}).get("kind") or self.served.kind)

    @property
    def options(self) -> Object | None:
        """The request's options as ``meta.k8s.io/v1`` object: a patch counts as what it does (upstream:
        ``patchToUpdateOptions``). None for CONNECT."""
        kind = _OPTIONS.get(self.operation)
        if kind is None:
            return None
        options: dict[str, Any] = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
        if self.delete_options is not None:
            return {**self.delete_options, **options}
        if self.dry_run:
            options["dryRun"] = ["All"]
        for key in ("fieldManager", "fieldValidation"):
            if self.query.get(key):
                options[key] = self.query[key]
        return options


def attributes_of(
    call: Call,
    operation: Operation,
    object: Object | None,
    old: Object | None = None,
    *,
    subresource: str | None = None,
    name: str | None = None,
) -> Attributes:
    """The attributes of what `call` does. Raises BadRequest for a wrong ``dryRun``.

    `subresource` and `name` are those of the path unless given.
    """
    info = call.info
    given = info.name if name is None else name
    namespace = call.namespace
    if call.served.key == "/namespaces":
        namespace = given
    return Attributes(
        operation,
        call.served,
        info.subresource if subresource is None else subresource,
        namespace,
        given,
        call.user,
        object,
        old,
        wants_dry_run(call),
        call.query,
        call.warnings,
        call.annotations,
    )
