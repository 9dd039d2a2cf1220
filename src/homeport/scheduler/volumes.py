"""What a pod's claims demand of the scheduler: a node that has their volumes, and to be bound before the pod is.

The rules and words are those of kube-scheduler's plug-ins VolumeBinding and VolumeRestrictions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any

from homeport.client.client import Client
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.kube.core import claims as rules
from homeport.kube.errors import HomeportError
from homeport.kube.meta import Object, name, spec, uid
from homeport.scheduler.model import Node, NodeChoice, Pod, Term, parse_term

_CLAIM, _VOLUME = core.PERSISTENT_VOLUME_CLAIM.resource, core.PERSISTENT_VOLUME.resource
_BIND_SECONDS = 600.0
"""How long a pod that has a node waits for its claims, as upstream."""

CONFLICT_REASON = "node(s) had volume node affinity conflict"
NOTHING_REASON = "node(s) didn't find available persistent volumes to bind"
IN_USE_REASON = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


class Refused(HomeportError):
    """No node helps before something about the pod's claims changes; the text says what. `of_nodes`: it is said of each
    node."""

    def __init__(self, message: str, *, of_nodes: bool = False) -> None:
        super().__init__(message)
        self.of_nodes = of_nodes


class Unbound(HomeportError):
    """The claims of a pod that has a node could not be bound."""


class Claims:
    """Knows the claims of pods. `changed` is called when pods that wait for theirs deserve another look."""

    def __init__(self, client: Client, informers: Informers, changed: Callable[[], None]) -> None:
        self._client = client
        self._claims = informers.get(_CLAIM)
        self._volumes = informers.get(_VOLUME)
        self._classes = informers.get(core.STORAGE_CLASS.resource)
        self._volumes_by = self._volumes.cache.index(rules.candidate_key)
        self._changed = changed
        self._waiting: dict[ObjectKey, set[asyncio.Event]] = {}
        self._claims.subscribe(self._claim_changed)
        self._volumes.subscribe(lambda _: changed())
        self._classes.subscribe(lambda _: changed())

    async def synced(self) -> None:
        for informer in (self._claims, self._volumes, self._classes):
            await informer.synced.wait()

    def _claim_changed(self, change: Change) -> None:
        for event in self._waiting.get(key_of(change.object), ()):
            event.set()
        self._changed()

    def choices(self, pod: Pod, in_use: Collection[ObjectKey]) -> tuple[NodeChoice, ...]:
        """What the claims demand of the pod's node; `in_use` are the claims of pods that have one. Raises Refused."""
        found: list[NodeChoice] = []
        for wanted in pod.demand.claims:
            claim = self._claim(pod, wanted.name, wanted.owner)
            if rules.SINGLE_POD in (spec(claim).get("accessModes") or ()) and key_of(claim) in in_use:
                raise Refused(IN_USE_REASON, of_nodes=True)
            if rules.is_fully_bound(claim):
                volume = self._volumes.cache.get("", spec(claim)["volumeName"])
                if volume is None:
                    raise Refused(f'persistentvolume "{spec(claim)["volumeName"]}" not found')
                found += _affinity(volume, CONFLICT_REASON)
            else:
                found += self._unbound(claim)
        return tuple(found)

    def _claim(self, pod: Pod, claim_name: str, owner: str) -> Object:
        claim = self._claims.cache.get(pod.namespace, claim_name)
        if claim is None:
            if owner:
                text = f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{claim_name}"'
                raise Refused(text)
            raise Refused(f'persistentvolumeclaim "{claim_name}" not found')
        if owner and (meta.controller_of(claim) or {}).get("uid") != owner:
            title = f"{pod.namespace}/{claim_name}"
            raise Refused(f"PVC {title} was not created for pod {pod.namespace}/{pod.name} (pod is not owner)")
        if meta.is_deleting(claim):
            raise Refused(f'persistentvolumeclaim "{claim_name}" is being deleted')
        if meta.status(claim).get("phase") == "Lost":
            volume = spec(claim).get("volumeName") or ""
            raise Refused(f'persistentvolumeclaim "{claim_name}" bound to non-existent persistentvolume "{volume}"')
        return claim

    def _unbound(self, claim: Object) -> list[NodeChoice]:
        storage_class = self._classes.cache.get("", rules.class_name(claim))
        if not rules.delays_binding(storage_class) or spec(claim).get("volumeName"):
            raise Refused(UNBOUND)
        assert storage_class is not None
        if selected := meta.annotations(claim).get(rules.SELECTED_NODE):
            # Another pod's node, where the volume is being made.
            term = parse_term({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [selected]}]})
            return [NodeChoice((term,), NOTHING_REASON)]
        suiting = self._suiting(claim)
        if storage_class.get("provisioner") != rules.NO_PROVISIONER:
            topologies = storage_class.get("allowedTopologies") or ()
            if suiting or not topologies:
                return []
            return [NodeChoice(tuple(map(_topology, topologies)), NOTHING_REASON)]
        terms: list[Term] = []
        for volume in suiting:
            affinity = _affinity(volume, "")
            if not affinity:
                return []
            terms += affinity[0].terms
        return [NodeChoice(tuple(terms), NOTHING_REASON)]

    def _suiting(self, claim: Object) -> list[Object]:
        """The volumes that the claim could have, the smallest first."""
        keys = rules.candidate_keys(claim)
        return rules.suiting((volume for key in keys for volume in self._volumes_by.get(key)), claim)

    async def bind(self, pod: Pod, node: Node | None, node_name: str) -> None:
        """Have the claims that waited for the pod bound, now that its node is known. Raises Unbound and API errors."""
        wanted = [(claim.namespace, claim.name) for claim in pod.demand.claims]
        taken: set[str] = set()
        for key in wanted:
            claim = self._claims.cache.get(*key)
            if claim is not None and not rules.is_fully_bound(claim):
                await self._settle(claim, node, node_name, taken)
        try:
            async with asyncio.timeout(_BIND_SECONDS):
                for key in wanted:
                    await self._bound(key, node_name)
        except TimeoutError:
            raise Unbound("binding volumes: context deadline exceeded") from None

    async def _settle(self, claim: Object, node: Node | None, node_name: str, taken: set[str]) -> None:
        """Reserve a volume of the node for the claim, or ask for one to be made there."""
        for volume in self._suiting(claim):
            affinity = _affinity(volume, "")
            if name(volume) in taken or rules.claim_ref(volume):
                continue
            if affinity and (node is None or not any(term.matches(node) for term in affinity[0].terms)):
                continue
            taken.add(name(volume))
            ref = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta.namespace(claim),
                "name": name(claim),
                "uid": uid(claim),
                "resourceVersion": meta.resource_version(claim),
            }
            notes = {**meta.annotations(volume), rules.BOUND_BY_CONTROLLER: "yes"}
            await self._client.replace(
                _VOLUME,
                {
                    **volume,
                    "metadata": {**volume["metadata"], "annotations": notes},
                    "spec": {**spec(volume), "claimRef": ref},
                },
            )
            return
        if meta.annotations(claim).get(rules.SELECTED_NODE) != node_name:
            notes = {**meta.annotations(claim), rules.SELECTED_NODE: node_name}
            await self._client.replace(_CLAIM, {**claim, "metadata": {**claim["metadata"], "annotations": notes}})

    async def _bound(self, key: ObjectKey, node_name: str) -> None:
        changed = asyncio.Event()
        self._waiting.setdefault(key, set()).add(changed)
        try:
            seen = False
            while True:
                claim = self._claims.cache.get(*key)
                if claim is None or meta.is_deleting(claim):
                    raise Unbound(f'persistentvolumeclaim "{key[1]}" is gone or being deleted')
                if rules.is_fully_bound(claim):
                    return
                selected = meta.annotations(claim).get(rules.SELECTED_NODE)
                if seen and selected != node_name:
                    raise Unbound(f'provisioning failed for PVC "{key[1]}"')
                seen = seen or selected == node_name
                await changed.wait()
                changed.clear()
        finally:
            waiting = self._waiting[key]
            waiting.discard(changed)
            if not waiting:
                del self._waiting[key]


def _affinity(volume: Object, reason: str) -> list[NodeChoice]:
    required = (spec(volume).get("nodeAffinity") or {}).get("required")
    if not required:
        return []
    return [NodeChoice(tuple(map(parse_term, required.get("nodeSelectorTerms") or ())), reason)]


def _topology(term: Any) -> Term:
    labels: Iterable[Any] = term.get("matchLabelExpressions") or ()
    return parse_term({"matchExpressions": [{**label, "operator": "In"} for label in labels]})
