"""One object in several versions of its kind: whoever manages fields in another version than that of the request owns
places that this version may not have (upstream: apimachinery ``managedfields/internal/versionconverter.go``). Pure.
"""

from __future__ import annotations

from typing import Final, Protocol

from homeport.kube import fieldset, structured
from homeport.kube.fieldset import FieldSet
from homeport.kube.managed import STRIPPED
from homeport.kube.merge_schema import Node
from homeport.kube.meta import Object
from homeport.kube.structured import Difference


class Versions(Protocol):
    """The versions of a resource, by ``apiVersion``."""

    def node(self, api_version: str) -> Node | None:
        """How objects of a version merge; None for a version that there is not (any more)."""

    def convert(self, obj: Object, api_version: str) -> Object:
        """`obj`, of any version, in another one, without defaults that it lacks. May raise."""


class View:
    """Objects as a request sees them, and as managers of other versions do."""

    __slots__ = ("_versions", "api_version", "own")

    def __init__(self, api_version: str, own: Node, versions: Versions | None) -> None:
        self.api_version = api_version
        """The version of the request."""
        self.own = own
        self._versions = versions

    def node(self, api_version: str) -> Node | None:
        """How objects of a version merge; None for a version that there is not. Without knowledge of versions, all are
        taken for the request's."""
        if api_version == self.api_version or self._versions is None:
            return self.own
        return self._versions.node(api_version)

    def shown(self, obj: Object, api_version: str) -> Object:
        """`obj` in a version that has a node."""
        if self._versions is None or obj.get("apiVersion", api_version) == api_version:
            return obj
        return self._versions.convert(obj, api_version)

    def changes(self, old: Object, new: Object) -> Changes:
        """How `new` differs from `old`, both of the request's version."""
        return Changes(self, old, new)


class Changes:
    """How two states differ, in any version."""

    __slots__ = ("_known", "_new", "_old", "_touched", "_view", "own")

    def __init__(self, view: View, old: Object, new: Object) -> None:
        self._view, self._old, self._new = view, old, new
        self.own = structured.diff(unmanaged(old), unmanaged(new), view.own)
        """In the version of the request."""
        self._known: dict[str, Difference] = {view.api_version: self.own}
        self._touched: dict[str, FieldSet] = {}

    def of(self, api_version: str) -> Difference:
        """The difference in a version that has a node."""
        known = self._known.get(api_version)
        if known is None:
            known = self._known[api_version] = self._in(api_version)
        return known

    def touched(self, api_version: str) -> FieldSet:
        """What changed or went in a version: nobody but the writer owns that now."""
        known = self._touched.get(api_version)
        if known is None:
            difference = self.of(api_version)
            known = self._touched[api_version] = fieldset.union(difference.changed, difference.removed)
        return known

    def _in(self, api_version: str) -> Difference:
        view = self._view
        node = view.node(api_version)
        if node is view.own:
            return self.own
        assert node is not None, "entries of versions that are gone are left out before anything is compared"
        old, new = view.shown(self._old, api_version), view.shown(self._new, api_version)
        return structured.diff(unmanaged(old), unmanaged(new), node)


def unmanaged(obj: Object) -> Object:
    """`obj` without the fields that are never managed, so that they need no comparing."""
    rest = obj.copy()
    for key in ("apiVersion", "kind"):
        rest.pop(key, None)
    metadata = (rest.pop("metadata", None) or {}).copy()
    for key in _STRIPPED_META & metadata.keys():
        del metadata[key]
    if metadata:
        rest["metadata"] = metadata
    return rest


_STRIPPED_META: Final = frozenset(element.removeprefix("f:") for element in STRIPPED["f:metadata"])
