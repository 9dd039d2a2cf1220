"""Who is on which node, and what is left there. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, KeysView, Mapping

from msgspec.structs import replace

from homeport.control.cache import Cache, ObjectKey
from homeport.kube.meta import Object, is_deleting, labels, spec, uid
from homeport.scheduler.assign import Crowd, Load
from homeport.scheduler.company import Resident
from homeport.scheduler.interpod import Labels
from homeport.scheduler.model import Pod
from homeport.scheduler.preemption import tenant
from homeport.scheduler.victims import Tenant


class Residents:
    """The pods that are bound and not finished, or about to be bound."""

    def __init__(self) -> None:
        self.loads: dict[str, Load] = {}
        """What each node carries."""
        self.claims_in_use: Counter[ObjectKey] = Counter()
        self._carried: dict[str, Resident] = {}
        """By uid."""
        self._shy: dict[str, Resident] = {}
        """Those of them who want to be far from others."""

    def __contains__(self, pod_uid: str) -> bool:
        return pod_uid in self._carried

    @property
    def uids(self) -> KeysView[str]:
        return self._carried.keys()

    @property
    def some_are_shy(self) -> bool:
        return bool(self._shy)

    def is_on(self, pod_uid: str, node: str) -> bool:
        return bool(node) and self.node_of(pod_uid) == node

    def node_of(self, pod_uid: str) -> str:
        """Empty if it has none."""
        known = self._carried.get(pod_uid)
        return known.node if known is not None else ""

    def get(self, pod_uid: str) -> Resident | None:
        return self._carried.get(pod_uid)

    def __iter__(self) -> Iterator[Resident]:
        return iter(self._carried.values())

    def take(self, pod: Pod, node: str, *, leaving: bool = False) -> None:
        resident = self._carried[pod.uid] = Resident(node, pod, leaving)
        if resident.is_shy:
            self._shy[pod.uid] = resident
        self.claims_in_use.update((claim.namespace, claim.name) for claim in pod.demand.claims)
        self.loads.setdefault(node, Load()).add(pod.demand)

    def update(self, obj: Object) -> bool:
        """What others may mind of a pod that is there; whether anything of that has changed."""
        known = self._carried[uid(obj)]
        if known.leaving == is_deleting(obj) and known.pod.labels == labels(obj):
            return False
        known.leaving = is_deleting(obj)
        known.pod = replace(known.pod, labels=labels(obj))
        return True

    def release(self, pod_uid: str) -> bool:
        """Whether it was there."""
        resident = self._carried.pop(pod_uid, None)
        if resident is None:
            return False
        self._shy.pop(pod_uid, None)
        self.loads[resident.node].remove(resident.pod.demand)
        for claim in resident.pod.demand.claims:
            key = (claim.namespace, claim.name)
            self.claims_in_use[key] -= 1
            if not self.claims_in_use[key]:
                del self.claims_in_use[key]
        return True

    def crowd(self, namespaces: Mapping[str, Labels]) -> Crowd:
        """All of them, as they are at any time."""
        return Crowd(self._carried.values(), self._shy.values(), namespaces)

    # For the look for those who could go.

    def has_lesser(self, pod: Pod) -> bool:
        """Whether one is less important than this pod."""
        return any(resident.pod.priority < pod.priority for resident in self._carried.values())

    def leaving_for(self, pod: Pod, pods: Cache) -> Iterator[tuple[str, Object]]:
        """The less important ones that are being deleted, with their nodes."""
        for resident in self._carried.values():
            if resident.leaving and resident.pod.priority < pod.priority:
                obj = _object(resident, pods)
                if obj is not None:
                    yield resident.node, obj

    def without_leaving(self, namespaces: Mapping[str, Labels]) -> tuple[dict[str, Load], Crowd]:
        """As it will be once those have gone that are being deleted: what nodes carry, and who is there."""
        loads = {node: load.copy() for node, load in self.loads.items()}
        staying = []
        for resident in self._carried.values():
            if resident.leaving:
                loads[resident.node].remove(resident.pod.demand)
            else:
                staying.append(resident)
        return loads, Crowd(staying, [resident for resident in staying if resident.is_shy], namespaces)

    def tenants(self, pods: Cache) -> dict[str, list[Tenant]]:
        """Those of each node that could be ended."""
        found: dict[str, list[Tenant]] = {}
        for resident in self._carried.values():
            obj = None if resident.leaving else _object(resident, pods)
            if obj is not None and spec(obj).get("nodeName"):  # else about to be bound
                found.setdefault(resident.node, []).append(tenant(obj, resident.pod))
        return found


def _object(resident: Resident, pods: Cache) -> Object | None:
    obj = pods.get(resident.pod.namespace, resident.pod.name)
    return obj if obj is not None and uid(obj) == resident.pod.uid else None
