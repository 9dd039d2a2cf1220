"""A schema made ready for use: objects of built-in kinds and of users' CRDs take this one path through the server."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from homeport.kube.errors import FieldError
from homeport.kube.schema import JsonSchema, decoding, embedded, passes, typed, validation
from homeport.kube.schema.checks import Found
from homeport.kube.schema.judge import Judge
from homeport.kube.schema.node import Builder
from homeport.kube.schema.zeros import with_zeros

_JUDGED_AFTER = 20
"""Objects of a kind after which it gets a judge. Making one takes up to 20 ms and half a megabyte, for a pod's schema:
most kinds of a server never have as many."""


class Schema:
    """Defaults, prunes, validates and normalises JSON values by an OpenAPI v3 schema.

    The order on a write is prune, default, normalise, validate. No method changes its argument; results share what did
    not change with it, and are the argument itself where nothing did.

    `schema` is a reference into `components` (our own kinds) or a structural schema without references (a user's CRD);
    ``components`` gives the schema of ``metadata`` to both. `part` says that the value is a part of an object and not a
    whole one: then ``apiVersion``, ``kind`` and ``metadata`` are fields like any others.

    `typed` objects are read as Kubernetes' own Go types read them (see ``passes.set_defaults``); custom resources keep
    the stricter rules that they have on a cluster. By default a schema with a reference is typed.

    CEL rules (``x-kubernetes-validations``) are no part of this: see :mod:`homeport.kube.schema.rules`.

    Of a schema that is much used, a :class:`~homeport.kube.schema.judge.Judge` looks at each object first; it changes
    nothing about the results.
    """

    __slots__ = ("_embeds", "_judge", "_root", "_seen", "_typed", "schema")

    def __init__(
        self,
        schema: JsonSchema,
        components: Mapping[str, JsonSchema] | None = None,
        *,
        part: bool = False,
        typed: bool | None = None,
    ) -> None:
        """Raises LookupError when `schema` refers to a component that is not there."""
        builder = Builder(components or {})
        self.schema = schema
        self._root = builder.part(schema) if part else builder.root(schema)
        self._typed = "$ref" in schema if typed is None else typed
        self._embeds = any(node.has_embedded for node in self._root.children())
        self._judge: Judge | None = None
        self._seen = 0
        """Objects that were judged without a judge."""

    def default(self, obj: Any) -> Any:
        """`obj` with defaults where a field is absent."""
        return passes.set_defaults(self._root, obj, self._typed)

    def decode(self, body: bytes) -> Any | None:
        """What `read` (or `read_custom`) and then `complete` make of the object in a body of JSON; None where they have
        to be asked themselves, since there is something to say of it, or a mapping may have a key twice."""
        return None if self._judge is None else self._judge.decoded(body)

    def complete(self, obj: Any) -> Any:
        """`obj` with defaults, and in normal form."""
        if self._judge is not None:
            completed = self._judge.completed(obj)
            if completed is not None:
                return completed
        return self.normalise(self.default(obj))

    def with_zero_status(self, obj: Any) -> Any:
        """`obj` with zero values for the required fields that its ``status`` lacks, as Go's decoder would have it."""
        node = self._root.properties.get("status")
        if node is None or "status" not in obj:
            return obj
        status = with_zeros(node, obj["status"])
        return obj if status is obj["status"] else {**obj, "status": status}

    def with_zeros(self, obj: Any) -> Any:
        """`obj` with zero values for all required fields that it lacks, as Go's validation sees it; what has a ``spec``
        in its schema has one."""
        if "spec" in self._root.properties and "spec" not in obj:
            obj = {**obj, "spec": {}}
        return with_zeros(self._root, obj, whole=True)

    def prune(self, obj: Any) -> tuple[Any, list[str]]:
        """`obj` without fields that the schema does not know, and the paths of those, sorted.

        A path reads as in a strict decoding error: ``spec.tfReplicaSpecs.Worker.replica``, ``spec.containers[0].imag``.
        """
        unknown: list[str] = []
        pruned = passes.prune(self._root, obj, None, unknown)
        unknown.sort()
        return pruned, unknown

    def read(self, obj: Any, *, converted: bool = False) -> tuple[Any, list[str]]:
        """As `prune`, for the kinds that every Kubernetes has: `obj` as Go's decoder reads it (see
        :mod:`homeport.kube.schema.decoding`). `converted` is the result of a strategic merge patch. Raises
        Undecodable."""
        if self._judge is not None and self._judge.reads(obj):
            return obj, []
        return decoding.read(self._root, obj, converted=converted)

    def strict_errors(self, pairs: Any) -> list[str]:
        """What a strict decoder says of a JSON document, whose mappings are lists of pairs, in the document's order."""
        return decoding.strict_errors(self._root, pairs)

    def typed_errors(self, obj: Any) -> list[str]:
        """What server-side apply says of fields that the schema does not have and of wrong types."""
        return list(typed.errors(self._root, obj))

    def read_custom(self, obj: Any) -> tuple[Any, list[str]]:
        """As `prune`, for custom resources: `obj` with its metadata as Go's decoder reads it, since that is a Go struct
        of theirs, too. Raises Undecodable."""
        if self._judge is not None and self._judge.reads(obj):
            return obj, []
        node = self._root.properties["metadata"]
        metadata = obj["metadata"]
        read, unknown = decoding.read(node, metadata)
        obj = obj if read is metadata or unknown else {**obj, "metadata": read}
        return self.prune(embedded.read(self._root, obj) if self._embeds else obj)

    def embedded(self, obj: Any) -> list[tuple[str, Any]]:
        """The whole objects inside of `obj`, each with its path (see :mod:`homeport.kube.schema.embedded`)."""
        return list(embedded.find(self._root, obj)) if self._embeds else []

    def normalise(self, obj: Any) -> Any:
        """`obj` with quantities as canonical strings, and integers that came as floats (``2.0``) as integers."""
        return passes.normalise(self._root, obj)

    def validate(self, obj: Any, old: Any = None) -> list[FieldError]:
        """What is wrong with `obj`; empty if nothing is.

        On an update, `old` is the stored object: what is wrong in a part that the update leaves as it is, is no reason
        to refuse the update.
        """
        if self._judge is not None:
            if self._judge.accepts(obj):
                return []
        elif self._seen < _JUDGED_AFTER:
            self._seen += 1
            if self._seen == _JUDGED_AFTER:
                with contextlib.suppress(ValueError):  # there can be no judge of it: it goes on as before
                    self._judge = Judge(self._root, self._typed)
        found: Found = []
        if old is None:
            validation.validate(self._root, obj, None, found)
        else:
            validation.validate_change(self._root, obj, old, None, found)
            if found:
                found = validation.ratchet(self._root, obj, old, found)
        return validation.errors_of(found)
