"""ComponentHooks: what components say about objects (:class:`homeport.kube.admission.Hook`), asked without a
connection.

They come where webhooks come, after what every server has: a hook sees a pod with its account, priority and limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

import msgspec

from homeport.apiserver.admission.attributes import DELETE, Attributes, Operation
from homeport.apiserver.admission.plugin import Plugin
from homeport.apiserver.admission.review import denial
from homeport.clock import utc_now
from homeport.kube.admission import Hook, Refusal
from homeport.kube.errors import Forbidden
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.selector import Selector, from_label_selector
from homeport.store.protocol import Key, Store

_PAGE = 100
_NAMESPACES = "/namespaces"


class StoredWorld:
    """What the store has."""

    def __init__(self, store: Store, now: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self.now = now

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        record = self._store.get(Key(f"{resource.group}/{resource.plural}", namespace, name))
        return None if record is None else _complete(record.value, resource)

    def find(self, resource: Resource, namespace: str, prefix: str = "") -> Iterator[Object]:
        key, after = f"{resource.group}/{resource.plural}", (namespace, prefix)
        exact = self._store.get(Key(key, namespace, prefix)) if prefix else None
        if exact is not None:
            yield _complete(exact.value, resource)
        while True:
            records, _, left = self._store.page(key, namespace, after=after, limit=_PAGE)
            for record in records:
                if not record.key.name.startswith(prefix):
                    return
                yield _complete(record.value, resource)
            if not left:
                return
            after = (namespace, records[-1].key.name)


def _complete(value: bytes, resource: Resource) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **msgspec.json.decode(value)}


class _Asked(NamedTuple):
    hook: Hook
    objects: Selector | None
    needs: str
    """A label without which `objects` matches nothing: most objects do not have it."""
    namespaces: Selector | None


class ComponentHooks(Plugin):
    name = "ComponentHooks"

    def __init__(self, store: Store, hooks: Sequence[Hook], now: Callable[[], datetime]) -> None:
        self._world = StoredWorld(store, now)
        self._store = store
        self._changing: dict[tuple[Operation, str], list[_Asked]] = {}
        self._refusing: dict[tuple[Operation, str], list[_Asked]] = {}
        for hook in hooks:
            objects = from_label_selector(hook.selector) if hook.selector is not None else None
            asked = _Asked(
                hook,
                objects,
                objects.needs if objects is not None else "",
                from_label_selector(hook.namespaces) if hook.namespaces is not None else None,
            )
            for operation in hook.operations:
                key = f"{hook.resource.group}/{hook.resource.plural}"
                if hook.mutate is not None and operation != DELETE:
                    self._changing.setdefault((operation, key), []).append(asked)
                if (hook.remove if operation == DELETE else hook.validate) is not None:
                    self._refusing.setdefault((operation, key), []).append(asked)

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        return not subresource and ((operation, key) in self._changing or (operation, key) in self._refusing)

    def mutate(self, attributes: Attributes) -> Object | None:
        obj = attributes.object
        for hook in self._about(attributes, self._changing):
            if hook.mutate is not None and obj is not None:
                with _refusals_of(hook):
                    obj = hook.mutate(obj, self._world)
        return obj

    def validate(self, attributes: Attributes) -> None:
        for hook in self._about(attributes, self._refusing):
            if attributes.object is None:
                if hook.remove is not None and attributes.old is not None:
                    with _refusals_of(hook):
                        attributes.warnings += hook.remove(attributes.old, self._world) or ()
            elif hook.validate is not None:
                with _refusals_of(hook):
                    attributes.warnings += hook.validate(attributes.object, attributes.old, self._world) or ()

    def _about(self, attributes: Attributes, hooks: Mapping[tuple[Operation, str], Sequence[_Asked]]) -> Iterable[Hook]:
        obj = attributes.old if attributes.operation == DELETE else attributes.object
        if obj is None:
            return
        metadata = obj.get("metadata")
        labels = metadata.get("labels") if isinstance(metadata, dict) else None
        if not isinstance(labels, dict):
            labels = {}
        present: dict[str, str] | None = None
        for hook, objects, needs, namespaces in hooks.get((attributes.operation, attributes.served.key), ()):
            if objects is not None:
                if needs and needs not in labels:
                    continue
                if present is None:  # the object may not be valid
                    present = {key: value for key, value in labels.items() if isinstance(value, str)}
                if not objects.matches(present):
                    continue
            if namespaces is None or namespaces.matches(self._namespace(attributes.namespace)):
                yield hook

    def _namespace(self, name: str) -> dict[str, str]:
        record = self._store.get(Key(_NAMESPACES, "", name))
        return {} if record is None else dict(record.labels)


@contextmanager
def _refusals_of(hook: Hook) -> Iterator[None]:
    """Tells the writer of a refusal as if a webhook had refused."""
    try:
        yield
    except Refusal as refusal:
        told = {"code": Forbidden.code, "reason": "Forbidden", "message": str(refusal)}
        raise denial(hook.name, told) from refusal
