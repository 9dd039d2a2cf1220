"""Priority: a pod's priority and preemption policy follow from its PriorityClass.

Upstream: ``plugin/pkg/admission/priority``, whose words the messages are.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from homeport.apiserver.admission.attributes import CREATE, UPDATE, Attributes, Operation
from homeport.apiserver.admission.plugin import Plugin
from homeport.apiserver.context import Api
from homeport.apiserver.uids import new_uid
from homeport.kube.core import PRIORITY_CLASS
from homeport.kube.errors import Forbidden, object_details
from homeport.kube.meta import Object, name, timestamp
from homeport.store.protocol import Key, Put, Store

CLASSES = f"{PRIORITY_CLASS.resource.group}/{PRIORITY_CLASS.resource.plural}"
_PODS = "/pods"
_IS_DEFAULT = b'"globalDefault":true'
"""In the JSON of a class that is the default: looking for it is quicker than decoding."""
_PREEMPTS = "PreemptLowerPriority"

SYSTEM_CLASSES: tuple[Object, ...] = tuple(
    PRIORITY_CLASS.new(own, value=value, description=why, preemptionPolicy=_PREEMPTS)
    for own, value, why in (
        (
            "system-cluster-critical",
            2_000_000_000,
            "For critical pods that have to run somewhere in the cluster, on whichever node.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "For critical pods that have to stay on their node.",
        ),
    )
)
"""Classes that every cluster has."""


async def bootstrap(store: Store, now: datetime) -> None:
    """Make `store` hold the system's classes. Raises StoreError."""
    for wanted in SYSTEM_CLASSES:
        key = Key(CLASSES, "", name(wanted))
        if store.head(key) is None:
            stamps = {"uid": new_uid(), "creationTimestamp": timestamp(now), "generation": 1}
            await store.write(Put(key, {**wanted, "metadata": {**wanted["metadata"], **stamps}}, 0))


class Priority(Plugin):
    name = "Priority"
    complete = True

    def __init__(self, api: Api) -> None:
        self._store = api.store

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        return operation in (CREATE, UPDATE) and not subresource and key in (_PODS, CLASSES)

    def mutate(self, attributes: Attributes) -> Object | None:
        pod = attributes.object
        if pod is None or attributes.served.key != _PODS or not isinstance(pod.get("spec"), dict):
            return pod
        if attributes.operation == UPDATE:
            return _kept(pod, attributes.old or {})
        return self._prioritised(attributes, pod)

    def _prioritised(self, attributes: Attributes, pod: Object) -> Object:
        asked: dict[str, Any] = pod["spec"]
        wanted = asked.get("priorityClassName")
        found = self._class(wanted) if wanted else self._default()
        if wanted and found is None:
            raise _forbidden(attributes, f"no PriorityClass with name {wanted} was found")
        value = found.get("value", 0) if found is not None else 0
        policy = (found.get("preemptionPolicy") or _PREEMPTS) if found is not None else _PREEMPTS
        if asked.get("priority") not in (None, value):
            raise _forbidden(
                attributes,
                f"the integer value of priority ({asked['priority']}) must not be provided in pod spec; priority "
                f"admission controller computed {value} from the given PriorityClass name",
            )
        if found is not None and asked.get("preemptionPolicy") not in (None, policy):
            raise _forbidden(
                attributes,
                f"the string value of PreemptionPolicy ({asked['preemptionPolicy']}) must not be provided in pod spec; "
                f"priority admission controller computed {policy} from the given PriorityClass name",
            )
        changes = {"priority": value, "preemptionPolicy": asked.get("preemptionPolicy") or policy}
        if found is not None:
            changes["priorityClassName"] = name(found)
        if asked | changes == asked:
            return pod
        return {**pod, "spec": {**asked, **changes}}

    def _class(self, wanted: str) -> Object | None:
        record = self._store.head(Key(CLASSES, "", wanted))
        return None if record is None else msgspec.json.decode(record.value)

    def _classes(self) -> Iterable[Object]:
        for record in self._store.heads(CLASSES, ""):
            yield msgspec.json.decode(record.value)

    def _default(self) -> Object | None:
        """The class for pods that name none: of several, which only a race can make, the lowest."""
        defaults: list[Object] = []
        for record in self._store.heads(CLASSES, ""):
            if _IS_DEFAULT in record.value:
                found = msgspec.json.decode(record.value)
                if found.get("globalDefault"):
                    defaults.append(found)
        return min(defaults, key=lambda found: found.get("value", 0), default=None)

    def validate(self, attributes: Attributes) -> None:
        obj = attributes.object
        if obj is None or attributes.served.key != CLASSES or not obj.get("globalDefault"):
            return
        for other in self._classes():
            if other.get("globalDefault") and name(other) != name(obj):
                raise _forbidden(
                    attributes,
                    f"PriorityClass {name(other)} is already marked as default. Only one default can exist",
                )


def _kept(pod: Object, old: Object) -> Object:
    """An update that leaves out what admission computed does not mean to take it away."""
    before, now = old.get("spec") or {}, pod["spec"]
    lost = {
        key: before[key]
        for key in ("priority", "preemptionPolicy")
        if now.get(key) is None and before.get(key) is not None
    }
    return {**pod, "spec": {**now, **lost}} if lost else pod


def _forbidden(attributes: Attributes, why: str) -> Forbidden:
    resource = attributes.served.resource
    return Forbidden(
        f'{resource.qualified} "{attributes.name}" is forbidden: {why}',
        details=object_details(resource.group, resource.plural, attributes.name),
    )
