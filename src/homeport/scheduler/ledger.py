"""What nodes have left: one book for all schedulers of a process, so that none hands out what another one has.

Room is taken the moment somebody decides, before the API hears of it; whoever decides elsewhere than on the event loop
looks again before it takes. What pods and nodes say wins over what was assumed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

from homeport.client.client import Client
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.errors import BadRequest
from homeport.kube.meta import Object, is_deleting, labels, name, spec, uid
from homeport.scheduler.assign import Load, lacking, unsuitable
from homeport.scheduler.interpod import Labels
from homeport.scheduler.model import Node, Pod, parse_node, parse_pod
from homeport.scheduler.residents import Residents
from homeport.scheduler.volumes import Claims

_log = logging.getLogger(__name__)


class What(Enum):
    """What happened to the book."""

    NODE = "node"
    """A node came, changed or went."""
    TAKEN = "taken"
    FREED = "freed"
    COMPANY = "company"
    """Other pods may mind who is there now."""
    PROMISED = "promised"
    """What is kept for pods that come when others have gone is other than it was."""
    NAMESPACE = "namespace"
    VOLUMES = "volumes"


class Promise(NamedTuple):
    """A place that a pod gets when others have gone, which are being ended for it."""

    pod: Pod
    """With the importance that it has for its scheduler."""
    node: str


class Entry(NamedTuple):
    what: What
    node: str = ""
    """Of all but the last three."""
    pod: str = ""
    """The uid, of `TAKEN`, `FREED` and `COMPANY`."""


Listener = Callable[[Entry], None]


class Ledger:
    """Follows nodes and pods by `informers`, which somebody else runs. It is up to date once `synced` returns."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self.nodes: dict[str, Node] = {}
        self.residents = Residents()
        self.namespaces: dict[str, Labels] = {}
        """The labels of each."""
        self.promises: dict[str, Promise] = {}
        """By uid: what schedulers keep for pods of theirs. Others leave it alone, but for pods more important."""
        self._listeners: list[Listener] = []
        self._informers = [informers.get(kind.resource) for kind in (core.NODE, core.POD, core.NAMESPACE)]
        self.claims = Claims(client, informers, lambda: self._tell(What.VOLUMES))
        for informer, handler in zip(
            self._informers, (self._node_changed, self._pod_changed, self._namespace_changed), strict=True
        ):
            informer.subscribe(handler)

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every entry from now on: quick, without awaiting, and it does not raise. The book shows
        a change of a pod or a node before others who follow it hear of it."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    async def synced(self) -> None:
        for informer in self._informers:
            await informer.synced.wait()
        await self.claims.synced()

    def fits(self, pod: Pod, node: str) -> bool:
        """Whether the node has room for the pod just now. Nothing but amounts and ports is looked at."""
        found = self.nodes.get(node)
        return found is not None and not lacking(found, self.residents.loads.get(node) or Load(), pod.demand)

    def suits(self, pod: Pod, node: str) -> bool:
        """Whether the pod may go to the node, were it empty: taints, cordons, readiness and the pod's own choice."""
        found = self.nodes.get(node)
        return found is not None and not unsuitable(found, pod.demand)

    def take(self, pod: Pod, node: str) -> None:
        """The pod will be bound there."""
        self.promises.pop(pod.uid, None)
        self.residents.take(pod, node)
        self._tell(What.TAKEN, node, pod.uid)
        self._tell(What.COMPANY, node, pod.uid)

    def promise(self, promises: Mapping[str, Promise]) -> None:
        """Keep these places and no others from now on, until their pods have them or are gone."""
        if promises != self.promises:
            self.promises = dict(promises)
            self._tell(What.PROMISED)

    def release(self, pod_uid: str) -> bool:
        """It will not, or it has ended. Whether it was there."""
        node = self.residents.node_of(pod_uid)
        if not self.residents.release(pod_uid):
            return False
        self._tell(What.FREED, node, pod_uid)
        return True

    def _tell(self, what: What, node: str = "", pod: str = "") -> None:
        for listener in self._listeners:
            listener(Entry(what, node, pod))

    def _node_changed(self, change: Change) -> None:
        obj = change.object
        if change.new is None:
            if self.nodes.pop(name(obj), None) is not None:
                self._tell(What.NODE, name(obj))
            return
        try:
            node = parse_node(obj)
        except ValueError as error:
            _log.warning("node %s: %s", name(obj), error)
            return
        if self.nodes.get(node.name) != node:  # most updates of a node are heartbeats
            self.nodes[node.name] = node
            self._tell(What.NODE, node.name)

    def _namespace_changed(self, change: Change) -> None:
        if change.new is None:
            self.namespaces.pop(name(change.object), None)
        elif self.namespaces.get(name(change.object)) != labels(change.object):
            self.namespaces[name(change.object)] = labels(change.object)
            if change.old is not None:  # a new one has no pods yet
                self._tell(What.NAMESPACE)

    def _pod_changed(self, change: Change) -> None:
        obj = change.object
        if change.new is None or core.has_ended(obj):
            if self.promises.pop(uid(obj), None) is not None:
                self._tell(What.PROMISED)
            self.release(uid(obj))
            return
        node = spec(obj).get("nodeName")
        if not node:
            return
        if self.residents.is_on(uid(obj), node):
            if self.residents.update(obj):
                self._tell(What.COMPANY, node, uid(obj))
            return
        self.release(uid(obj))
        self.promises.pop(uid(obj), None)
        pod = parsed(obj)
        if pod is not None:
            self.residents.take(pod, node, leaving=is_deleting(obj))
            self._tell(What.TAKEN, node, pod.uid)
            self._tell(What.COMPANY, node, pod.uid)


def parsed(obj: Object) -> Pod | None:
    """The pod; None, with a warning in the log, if it can't be understood."""
    try:
        return parse_pod(obj)
    except (ValueError, BadRequest) as error:
        key: ObjectKey = key_of(obj)
        _log.warning("pod %s: %s", "/".join(key), error)
        return None
