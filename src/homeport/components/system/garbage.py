"""Garbage collection: what depends on objects that no longer exist goes too.

The rules are those of kube-controller-manager's garbage collector. An object whose owners are all gone is deleted. One
that still has an owner only loses its references to the others. Foreground deletion waits for dependents that block it;
orphaning takes the references away first.

That an owner is absent is never concluded from a cache alone: the server is asked, by name and uid.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence

from homeport.client.client import Client, Propagation
from homeport.client.partial import Meta
from homeport.components.system.graph import Graph, Node, Owner, Verdict, node_of
from homeport.components.system.monitor import Monitor
from homeport.control.cache import Change
from homeport.control.events import EventRecorder
from homeport.control.loop import KeyedLoop
from homeport.kube.errors import NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import (
    FOREGROUND_FINALIZER,
    ORPHAN_FINALIZER,
    Object,
    is_deleting,
    metadata,
    resource_version,
    uid,
)

_log = logging.getLogger(__name__)
_WORKERS = 16
_ABSENT = 8192


class GarbageCollector:
    """Driven by `monitor`, which somebody else runs. `ready` is set once it works."""

    def __init__(self, client: Client, monitor: Monitor, recorder: EventRecorder) -> None:
        self.name = "garbage collector"
        self.ready = asyncio.Event()
        self.graph = Graph()
        self._client = client
        self._monitor = monitor
        self._recorder = recorder
        self._absent: OrderedDict[str, None] = OrderedDict()
        """uids of objects that are gone. Only the restoration of a backup brings one back."""
        self._unknown_kind: set[str] = set()
        """Objects with an owner of a kind that the server does not have: kept, and looked at again with new kinds."""
        self._loop: KeyedLoop[str] = KeyedLoop(self.name, self._collect, workers=_WORKERS)
        self._asked: set[str] = set()
        """Owners that the server is being asked about, and of whose end nobody has heard meanwhile."""
        monitor.subscribe(
            self._changed,
            matters=self._matters,
            remembered=self._remembered,
            gone=self._resource_gone,
            discovered=self._look_again,
        )

    async def run(self) -> None:
        await self._monitor.ready.wait()
        self.ready.set()
        await self._loop.run()

    # What happened

    def _matters(self, meta: Meta) -> bool:
        if meta.ownerReferences or meta.deletionTimestamp:
            return True
        return self.graph.get(meta.uid) is not None or self.graph.has_dependents(meta.uid)

    def _remembered(self, resource: Resource) -> list[tuple[str, Object]]:
        return [(node.uid, _reference(node)) for node in self.graph.of_resource(resource)]

    def _changed(self, resource: Resource, change: Change) -> None:
        if change.new is None:
            self._gone(uid(change.object))
            self._forget(uid(change.object))
            return
        node = node_of(resource, change.new)
        old = self.graph.put(node)
        if node.waits:
            self._loop.queue.add(node.uid)
        if node.owners and (old is None or old.owners != node.owners) and not self._all_present(node):
            self._loop.queue.add(node.uid)

    def _forget(self, gone: str) -> None:
        """An object is no longer there, or not to be seen any more."""
        node = self.graph.remove(gone)
        self._asked.discard(gone)
        self._unknown_kind.discard(gone)
        for dependent in self.graph.dependents(gone):
            self._loop.queue.add(dependent.uid)
        for owner in node.owners if node is not None else ():
            known = self.graph.get(owner.uid)
            if known is not None and known.deleting and known.foreground:
                self._loop.queue.add(owner.uid)  # perhaps it waited for this one

    def _gone(self, gone: str) -> None:
        self._absent[gone] = None
        if len(self._absent) > _ABSENT:
            self._absent.popitem(last=False)

    def _resource_gone(self, resource: Resource) -> None:
        # The end of each object has been told, if it was one: those of an extra API server that is not asked any more
        # go on to exist.
        for node in self.graph.of_resource(resource):
            self._forget(node.uid)

    def _look_again(self) -> None:
        for unsettled in self._unknown_kind:
            self._loop.queue.add(unsettled)
        self._unknown_kind.clear()

    def _all_present(self, node: Node) -> bool:
        """Whether nothing has to be asked or done: the normal case of an object just made."""
        for owner in node.owners:
            known = self.graph.get(owner.uid)
            if known is None or (known.deleting and known.foreground) or known.namespace not in ("", node.namespace):
                return False
        return True

    # What follows

    async def _collect(self, subject: str) -> None:
        node = self.graph.get(subject)
        if node is None:
            return
        if node.deleting:
            if node.orphans:
                await self._orphan_dependents(node)
            elif node.foreground:
                await self._delete_dependents(node)
            return
        if not node.owners:
            return
        verdicts: dict[str, Verdict] = {}
        for owner in node.owners:
            verdict = await self._judge(node, owner)
            if verdict is None:
                self._unknown_kind.add(node.uid)
                return
            verdicts[owner.uid] = verdict
        if "solid" in verdicts.values():
            lost = {gone for gone, verdict in verdicts.items() if verdict != "solid"}
            if lost:
                await self._drop_references(node, lost)
        elif "waiting" in verdicts.values() and self.graph.has_dependents(node.uid):
            await self._break_circle(node)
            await self._delete(node, "Foreground")
        else:
            policy: Propagation = "Orphan" if node.orphans else "Foreground" if node.foreground else "Background"
            await self._delete(node, policy)

    async def _judge(self, node: Node, owner: Owner) -> Verdict | None:
        """What became of an owner; None if its kind is unknown to the server."""
        known = self.graph.get(owner.uid)
        if known is not None:
            if known.namespace not in ("", node.namespace):
                return self._out_of_reach(node, owner)
            return "waiting" if known.deleting and known.foreground else "solid"
        try:
            resource = await self._client.resource_for(owner.api_version, owner.kind)
        except NotFound:
            # It went with its kind, or nobody knows.
            return "absent" if owner.uid in self._absent else None
        if resource.namespaced and not node.namespace:
            return self._out_of_reach(node, owner)
        live = self._monitor.cached(resource, node.namespace if resource.namespaced else "", owner.name)
        if live is None or uid(live) != owner.uid:
            live = await self._ask(resource, node.namespace, owner)
        if live is not None:
            return "waiting" if is_deleting(live) and FOREGROUND_FINALIZER in _finalizers(live) else "solid"
        if owner.uid in self._absent:
            return "absent"
        if resource.namespaced and await self._is_elsewhere(resource, owner):
            return self._out_of_reach(node, owner)
        self._gone(owner.uid)
        return "absent"

    async def _ask(self, resource: Resource, namespace: str, owner: Owner) -> Object | None:
        """What the server says of an owner. It is kept in mind, so that its other dependents need not ask too."""
        self._asked.add(owner.uid)
        try:
            live = await self._client.get(resource, owner.name, namespace)
        except NotFound:
            return None
        finally:
            unheard = owner.uid in self._asked
            self._asked.discard(owner.uid)
        if uid(live) != owner.uid:
            return None
        # Only if its end will be heard of, and nothing newer has been.
        passing = self._monitor.passing(resource)
        if unheard and passing is not None and self.graph.get(owner.uid) is None:
            self.graph.put(node_of(passing, live))
        return live

    async def _is_elsewhere(self, resource: Resource, owner: Owner) -> bool:
        """Whether the owner exists in another namespace than its dependent."""
        namesakes = await self._client.list(resource, fields=f"metadata.name={owner.name}", metadata_only=True)
        return any(uid(each) == owner.uid for each in namesakes.items)

    def _out_of_reach(self, node: Node, owner: Owner) -> Verdict:
        """An owner must be cluster-scoped or in the dependent's namespace; any other one counts as absent."""
        message = (
            f"ownerRef [{owner.api_version}/{owner.kind}, name: {owner.name}, uid: {owner.uid}] does not exist in "
        )
        message += f'namespace "{node.namespace}"'
        self._recorder.record(_reference(node), "Warning", "OwnerRefInvalidNamespace", message)
        return "absent"

    async def _delete(self, node: Node, propagation: Propagation) -> None:
        try:
            # The revision that was judged: has it got another owner since, the server says Conflict.
            await self._client.delete(
                node.resource,
                node.name,
                node.namespace,
                propagation=propagation,
                uid=node.uid,
                resource_version=node.version,
            )
            _log.debug("deleted %s: its owners are gone", node)
        except NotFound:
            return

    async def _delete_dependents(self, node: Node) -> None:
        blocking = self.graph.blocking(node.uid)
        if not blocking:
            await self._remove_finalizer(node, FOREGROUND_FINALIZER)
            return
        for dependent in blocking:
            if not dependent.deleting:
                self._loop.queue.add(dependent.uid)

    async def _orphan_dependents(self, node: Node) -> None:
        async with asyncio.TaskGroup() as group:
            for dependent in self.graph.dependents(node.uid):
                group.create_task(self._drop_references(dependent, {node.uid}))
        await self._remove_finalizer(node, ORPHAN_FINALIZER)

    async def _break_circle(self, node: Node) -> None:
        """Two that wait for each other's deletion would wait for ever: a dependent that is itself being deleted in the
        foreground no longer blocks."""
        for dependent in self.graph.dependents(node.uid):
            if dependent.deleting and dependent.foreground:
                await self._edit(dependent, lambda meta: {"ownerReferences": _unblocked(meta)})
                return

    async def _drop_references(self, node: Node, lost: set[str]) -> None:
        def without(meta: Object) -> Object:
            references = meta.get("ownerReferences") or []
            left = [reference for reference in references if reference.get("uid") not in lost]
            return {} if len(left) == len(references) else {"ownerReferences": left or None}

        await self._edit(node, without)

    async def _remove_finalizer(self, node: Node, finalizer: str) -> None:
        def without(meta: Object) -> Object:
            finalizers = meta.get("finalizers") or []
            return {"finalizers": [f for f in finalizers if f != finalizer]} if finalizer in finalizers else {}

        await self._edit(node, without)

    async def _edit(self, node: Node, change: Callable[[Object], Object]) -> None:
        """Change the metadata of the live object; Conflict (somebody else did) comes back through the queue."""
        try:
            live = await self._client.get(node.resource, node.name, node.namespace)
            if uid(live) != node.uid:
                return
            changed = change(metadata(live))
            if not changed:
                return
            body = {"metadata": {"uid": node.uid, "resourceVersion": resource_version(live), **changed}}
            await self._client.patch(node.resource, node.name, node.namespace, body)
        except NotFound:
            return


def _unblocked(meta: Object) -> list[Object]:
    return [{**reference, "blockOwnerDeletion": False} for reference in meta.get("ownerReferences") or ()]


def _finalizers(obj: Object) -> Sequence[str]:
    return metadata(obj).get("finalizers") or ()


def _reference(node: Node) -> Object:
    """What there is to say of an object without asking."""
    place = {"namespace": node.namespace} if node.namespace else {}
    return {
        "apiVersion": node.resource.api_version,
        "kind": node.resource.kind,
        "metadata": {"name": node.name, "uid": node.uid, **place},
    }
