"""Field managers of several versions of a resource: the objects that they own fields of, in each of those versions.

Who manages what is worked out by pure functions (:mod:`homeport.kube.apply`), which cannot wait; a conversion webhook
has to be waited for. So a request carries what was converted for it (``Call.converted``). For an update it is known
beforehand what that is; an apply finds out on its way, says so by raising `Unconverted`, and is done again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

from homeport.apiserver.encoding import encode
from homeport.apiserver.versions import to_storage
from homeport.kube import merge_schema
from homeport.kube.errors import ApiError
from homeport.kube.merge_schema import Node
from homeport.kube.meta import Object

if TYPE_CHECKING:
    from homeport.apiserver.context import Api, Call
    from homeport.apiserver.resources import Registry, Served

log = logging.getLogger(__name__)

Converted: TypeAlias = dict[tuple[str, bytes], Object]
"""Objects by the version that they are in and what they were made of."""


class Unconverted(Exception):
    """An object is needed in another version, and it takes waiting to convert it."""

    def __init__(self, obj: Object, api_version: str) -> None:
        super().__init__(api_version)
        self.object, self.api_version = obj, api_version


class VersionsOf:
    """The versions of one resource (:class:`homeport.kube.managed_versions.Versions`)."""

    def __init__(self, registry: Registry, served: Served, converted: Converted) -> None:
        self._registry, self._served, self._converted = registry, served, converted

    def node(self, api_version: str) -> Node | None:
        served = self.find(api_version)
        if served is None:
            return None
        return merge_schema.root(*served.definition.parts)

    def convert(self, obj: Object, api_version: str) -> Object:
        """`obj` in another version. Raises Unconverted."""
        if obj.get("apiVersion") == api_version:
            return obj
        wanted = self.find(api_version)
        assert wanted is not None, "only versions that have a node are asked for"
        if not wanted.definition.is_ready:
            raise Unconverted(obj, api_version)
        if self._served.converter is not None:
            found = self._converted.get((api_version, encode(obj)))
            if found is None:
                raise Unconverted(obj, api_version)
            return found
        kept = to_storage(self.find(str(obj.get("apiVersion"))) or self._served, obj)
        shown = kept if wanted.conversion is None else wanted.conversion.show(kept)
        pruned: Object
        pruned, _ = wanted.schema.prune({**shown, "apiVersion": api_version, "kind": wanted.kind})
        return pruned

    def find(self, api_version: str) -> Served | None:
        """A version of the resource, of whatever group: None for what is stored elsewhere, or not served."""
        group, _, version = api_version.rpartition("/")
        found = self._registry.find(group, version, self._served.resource.plural)
        return found if found is not None and found.key == self._served.key else None


def versions_of(api: Api, call: Call) -> VersionsOf:
    """The versions of the resource that `call` is about."""
    return VersionsOf(api.registry, call.served, call.converted)


async def convert(api: Api, call: Call, needed: Unconverted) -> None:
    """Make what an apply lacked. Raises ApiError."""
    await _convert(api, call, (needed.object,), needed.api_version)


async def prepare(api: Api, call: Call, old: Object, new: Object) -> None:
    """Have ready what :func:`homeport.kube.apply.track_update` will need to compare two states of an object. Where the
    webhook fails, it will lack that."""
    if call.served.builtin:
        return
    for api_version in sorted(_others((old, new), call.served.api_version)):
        if versions_of(api, call).find(api_version) is not None:
            try:
                await _convert(api, call, (old, new), api_version)
            except ApiError as error:
                log.warning("%s: nobody manages its fields any more: %s", call.info.path, error.message)
                return


def _others(states: tuple[Object, ...], own: str) -> set[str]:
    """The other versions in which fields of an object are managed."""
    found: set[str] = set()
    for state in states:
        for entry in (state.get("metadata") or {}).get("managedFields") or ():
            version = entry.get("apiVersion") if isinstance(entry, dict) else None
            if isinstance(version, str) and version not in ("", own):
                found.add(version)
    return found


async def _convert(api: Api, call: Call, objects: tuple[Object, ...], api_version: str) -> None:
    wanted = versions_of(api, call).find(api_version)
    assert wanted is not None, "only versions that there are are asked for"
    if not wanted.definition.is_ready:
        api.registry.share_metadata()
        await wanted.definition.prepare()
    converter = call.served.converter
    if converter is None:
        return
    missing = {encode(obj): obj for obj in objects if (api_version, encode(obj)) not in call.converted}
    if missing:
        made = await converter.convert(tuple(missing.values()), api_version, defaults=False)
        call.converted |= {(api_version, key): obj for key, obj in zip(missing, made, strict=True)}
