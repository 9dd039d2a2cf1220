"""The cluster as the batch scheduler sees it, kept up to date by what happens: a snapshot costs what has changed.

What nodes have left is the ledger's, which all schedulers of a process share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from msgspec.structs import replace

from homeport.control.cache import Change
from homeport.control.informer import Informer, Informers
from homeport.kube import core
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, is_deleting, name, uid
from homeport.scheduler import ledger as book
from homeport.scheduler.batch import membership
from homeport.scheduler.batch.groups import parse_queue
from homeport.scheduler.batch.model import (
    DEFAULT_QUEUE,
    Amounts,
    Carried,
    GroupPhase,
    HyperNode,
    Queue,
    Shape,
    Snapshot,
    Task,
    TaskStatus,
)
from homeport.scheduler.batch.parts import Parts
from homeport.scheduler.batch.roster import Member, Roster
from homeport.scheduler.batch.shapes import Shapes
from homeport.scheduler.batch.tasks import shape_of, task_of
from homeport.scheduler.company import Resident
from homeport.scheduler.interpod import Labels
from homeport.scheduler.ledger import Ledger, What, parsed
from homeport.scheduler.model import Node, Pod
from homeport.scheduler.volumes import Refused

_PRIORITY_CLASS = core.PRIORITY_CLASS.resource


class Cluster:
    """`groups`, `queues` and `hypernodes`: the kinds that the server knows. `changed` is called when another look at
    the whole may lead to something; `held`: by node, what others keep for pods that come later. `takes`: which pods are
    placed here; `empty_groups`: whether groups without any are looked after, too: they could be another scheduler's;
    `plain_groups`: as `membership.belonging` has it."""

    def __init__(
        self,
        ledger: Ledger,
        informers: Informers,
        changed: Callable[[], None],
        *,
        groups: Iterable[Resource] = membership.POD_GROUPS,
        queues: Iterable[Resource] = membership.QUEUES,
        hypernodes: Iterable[Resource] = membership.HYPER_NODES,
        held: Callable[[], Mapping[str, Amounts]] = dict,
        takes: Callable[[Object], bool] = membership.is_ours,
        empty_groups: bool = True,
        plain_groups: bool = False,
    ) -> None:
        self._plain_groups = plain_groups
        self.roster = Roster(self._priority, empty_groups=empty_groups)
        self._takes = takes
        self._ledger = ledger
        self._informers = informers
        self._changed = changed
        self._held = held
        self._shapes = Shapes()
        self._pods = informers.get(core.POD.resource)
        self._classes = informers.get(_PRIORITY_CLASS)
        self._followed: list[Informer] = [self._pods, self._classes]
        self._queue_caches = [(resource, informers.get(resource).cache) for resource in queues]
        self._queues: dict[str, dict[str, Queue]] = {}
        """By group of the API, then by name."""
        self._parts = Parts()
        self._parts_given: tuple[HyperNode, ...] = ()
        self._loose: dict[str, dict[str, Task]] = {}
        self._loose_at: dict[str, str] = {}
        self._loose_shown: dict[str, tuple[Task, ...]] = {}
        self._nodes_shown: tuple[Node, ...] | None = None
        self._namespaces_shown: dict[str, Labels] | None = None
        self._lost: dict[str, None] = {}
        self._stale_nodes: set[str] = set()
        self._stale_pods: set[str] = set()
        self._company_moved = False
        """Of this and the two before: what is other than the last snapshot has it."""
        self._back: set[str] = set()
        """The pods that are not to be placed for a while, by uid."""
        self._classes.subscribe(self._class_changed)
        for resource, _ in self._queue_caches:
            self._follow(resource, partial(self._queue_changed, resource.group))
        for resource in hypernodes:
            self._follow(resource, self._hypernode_changed)
        for resource in groups:
            self._follow(resource, partial(self._group_changed, resource))
        self._pods.subscribe(self._pod_changed)
        ledger.subscribe(self._noted)
        for resident in ledger.residents:
            self._place(resident.pod.uid)

    async def synced(self) -> None:
        await self._ledger.synced()
        for informer in self._followed:
            await informer.synced.wait()

    def snapshot(self, carried: Carried) -> Snapshot:
        self._stale_nodes.clear()
        self._stale_pods.clear()
        self._company_moved = False
        if self._nodes_shown is None:
            self._nodes_shown = tuple(node for _, node in sorted(self._ledger.nodes.items()))
        if self._namespaces_shown is None:
            self._namespaces_shown = dict(self._ledger.namespaces)
        self._parts_given = self._parts.shown(self._ledger.nodes.values())
        return Snapshot(
            nodes=self._nodes_shown,
            shapes=self._shapes.snapshot(),
            queues=self._all_queues(),
            groups=self.roster.groups(),
            loose=dict(self._loose_shown),
            held=self._held(),
            namespaces=self._namespaces_shown,
            hypernodes=self._parts_given,
            carried=carried,
        )

    def overtaken(self) -> Callable[[Member, str], bool]:
        """Says of a pod and a node whether what the last snapshot had of them has changed up to now so that the pod may
        not go there any more. Room is not looked at: that is the ledger's."""
        nodes, pods = frozenset(self._stale_nodes), frozenset(self._stale_pods)
        moved, residents = self._company_moved, self._ledger.residents
        rewired = self._parts_given is not self._parts.shown(self._ledger.nodes.values())

        def is_overtaken(member: Member, node: str) -> bool:
            if member.pod.uid in pods or (node in nodes and not self._ledger.suits(member.pod, node)):
                return True
            if rewired and self._is_bound_to_part(member):
                return True
            return moved and (member.pod.rules is not None or residents.some_are_shy)

        return is_overtaken

    def queue(self, queue: str) -> tuple[Object | None, Resource | None]:
        """The Queue of a name, of the first kind that has it."""
        for resource, cache in self._queue_caches:
            if (obj := cache.get("", queue)) is not None:
                return obj, resource
        return None, None

    def pod(self, pod_uid: str) -> Object | None:
        """One that has a node and is no group's."""
        resident = self._ledger.residents.get(pod_uid)
        obj = self._pods.cache.get(resident.pod.namespace, resident.pod.name) if resident is not None else None
        return obj if obj is not None and uid(obj) == pod_uid else None

    def lost(self) -> list[Member]:
        """The pods whose groups do not exist, that have not been given yet."""
        lost, self._lost = self._lost, {}
        found = [self.roster.member(pod_uid) for pod_uid in lost]
        return [member for member in found if member is not None and not member.group]

    def hold_back(self, pod_uid: str) -> None:
        """Its binding failed: it is not placed before `let_go`."""
        self._back.add(pod_uid)
        self._look_at(pod_uid)

    def let_go(self, pod_uid: str) -> None:
        self._back.discard(pod_uid)
        if self._look_at(pod_uid):
            self._changed()

    def set_phase(self, key: str, phase: GroupPhase) -> None:
        if self.roster.set_phase(key, phase):
            self._changed()  # what it may do now, such as being placed, is the next look's

    # What happened

    def _follow(self, resource: Resource, handler: Callable[[Change], None]) -> None:
        informer = self._informers.get(resource)
        self._followed.append(informer)
        informer.subscribe(handler)

    def _noted(self, entry: book.Entry) -> None:
        if entry.what is What.PROMISED:
            return  # by whoever decides here
        if entry.what is What.NODE:
            self._nodes_shown = None
            self._parts.node_changed()
            self._stale_nodes.add(entry.node)
        elif entry.what is What.NAMESPACE:
            self._namespaces_shown = None
            self._company_moved = True
        elif entry.what is What.VOLUMES:
            for member in list(self.roster.members()):
                if member.pod.demand.claims and member.task.status is TaskStatus.PENDING:
                    self._put(member.obj, member.pod)
        else:
            self._company_moved = True
            # Of those that are a group's, who their company is changes nothing that is shown of them.
            shown = entry.what is What.COMPANY and self._is_grouped(entry.pod)
            if not shown and not self._look_at(entry.pod):
                self._place(entry.pod)
        if entry.what is not What.TAKEN and self.roster.some_wait:
            self._changed()

    def _pod_changed(self, change: Change) -> None:
        obj, pod_uid = change.object, uid(change.object)
        if change.new is None or not self._takes(obj) or (is_deleting(obj) and not obj["spec"].get("nodeName")):
            self._forget(pod_uid)
            return
        member = self.roster.member(pod_uid)
        if member is not None and _is_alike(member.obj, obj):
            pod: Pod | None = member.pod
        else:
            pod = parsed(obj)
        if pod is None:
            self._forget(pod_uid)
        elif self._put(obj, pod) and not _is_confirmed(member, self.roster.member(pod_uid)):
            self._changed()

    def _forget(self, pod_uid: str) -> None:
        self._back.discard(pod_uid)
        member = self.roster.member(pod_uid)
        if member is not None:
            self._shapes.drop(member.task.shape)
            self.roster.remove(pod_uid)
            self._place(pod_uid)
            self._changed()

    def _group_changed(self, resource: Resource, change: Change) -> None:
        obj = change.object
        if change.new is None:
            entry = self.roster.get(membership.group_key(resource, obj["metadata"].get("namespace") or "", name(obj)))
            members = list(entry.members) if entry is not None else []
            news = self.roster.remove_group(resource, obj)
        else:
            news = self.roster.put_group(resource, obj)
            found = self.roster.get(membership.group_key(resource, obj["metadata"].get("namespace") or "", name(obj)))
            members = list(found.members) if found is not None and change.old is None else []
        for pod_uid in members:
            self._place(pod_uid)
        if news:
            self._changed()

    def _queue_changed(self, group: str, change: Change) -> None:
        known = self._queues.setdefault(group, {})
        queue = parse_queue(change.new) if change.new is not None else None
        if known.get(name(change.object)) == queue:
            return
        if queue is None:
            del known[name(change.object)]
        else:
            known[queue.name] = queue
        self._changed()

    def _hypernode_changed(self, change: Change) -> None:
        if self._parts.take(change):
            self._changed()

    def _class_changed(self, change: Change) -> None:
        before, after = change.old or {}, change.new or {}
        if (before.get("value"), before.get("globalDefault")) != (after.get("value"), after.get("globalDefault")):
            self.roster.reparse()
            self._changed()

    # What follows

    def _priority(self, class_name: str) -> int:
        if class_name:
            found = self._classes.cache.get("", class_name)
            return int((found or {}).get("value") or 0)
        return max((int(one.get("value") or 0) for one in self._classes.cache if one.get("globalDefault")), default=0)

    def _is_bound_to_part(self, member: Member) -> bool:
        entry = self.roster.get(member.group)
        return entry is not None and entry.group.network is not None and entry.group.network.hard

    def _all_queues(self) -> tuple[Queue, ...]:
        """By name; one of Volcano's goes before one of kube-batch's. There is always the one that takes what names
        none."""
        found = {DEFAULT_QUEUE: Queue(DEFAULT_QUEUE)}
        for group in (queue.group for queue in reversed(membership.QUEUES)):
            found.update(self._queues.get(group, {}))
        return tuple(queue for _, queue in sorted(found.items()))

    def _look_at(self, pod_uid: str) -> bool:
        """Whether it is a group's, which shows it as it is now."""
        member = self.roster.member(pod_uid)
        if member is None:
            return False
        self._put(member.obj, member.pod)
        return bool(member.group)

    def _is_grouped(self, pod_uid: str) -> bool:
        member = self.roster.member(pod_uid)
        return member is not None and bool(member.group)

    def _put(self, obj: Object, pod: Pod) -> bool:
        """File a pod that is ours as it is now. Whether that is news."""
        known = self.roster.member(pod.uid)
        assumed = self._ledger.residents.node_of(pod.uid)
        if known is not None and known.pod is pod and not pod.demand.claims:
            number = known.task.shape
            held = False
        else:
            number = self._shapes.hold(self._shape(pod, bool(assumed)))
            held = True
        task = task_of(obj, pod, number, assumed, held_back=pod.uid in self._back)
        if held and known is not None:
            self._shapes.drop(known.task.shape)
            if known.task.shape != number:
                self._stale_pods.add(pod.uid)
        belonging = membership.belonging(obj, plain_groups=self._plain_groups)
        member = Member(obj, pod, belonging, task)
        news = self.roster.put(member)
        if not member.group and news:
            self._lost[pod.uid] = None
        self._place(pod.uid)
        return news

    def _shape(self, pod: Pod, has_node: bool) -> Shape:
        if not pod.demand.claims or has_node:
            return shape_of(pod)
        try:
            return shape_of(pod, self._ledger.claims.choices(pod, self._ledger.residents.claims_in_use))
        except Refused as error:
            return shape_of(pod, refused=str(error))

    def _place(self, pod_uid: str) -> None:
        """Show a pod that holds room and is no group's with its node, and no other pod."""
        resident = self._ledger.residents.get(pod_uid)
        member = self.roster.member(pod_uid)
        if member is not None and member.group:
            resident = None
        task = self._loose_task(resident) if resident is not None else None
        at = self._loose_at.get(pod_uid)
        if at is not None:
            known = self._loose[at].pop(pod_uid)
            self._shapes.drop(known.shape)
            if not self._loose[at]:
                del self._loose[at]
                self._loose_shown.pop(at, None)
            else:
                self._loose_shown[at] = tuple(self._loose[at].values())
            del self._loose_at[pod_uid]
        if task is not None:
            self._loose.setdefault(task.node, {})[pod_uid] = task
            self._loose_at[pod_uid] = task.node
            self._loose_shown[task.node] = tuple(self._loose[task.node].values())

    def _loose_task(self, resident: Resident) -> Task:
        pod = resident.pod
        obj = self._pods.cache.get(pod.namespace, pod.name)
        number = self._shapes.hold(shape_of(pod))
        if obj is None or uid(obj) != pod.uid:
            status = TaskStatus.RELEASING if resident.leaving else TaskStatus.BINDING
            return Task(
                pod.uid,
                pod.namespace,
                pod.name,
                number,
                status,
                resident.node,
                priority=pod.priority,
                labels=pod.labels,
            )
        return task_of(obj, pod, number, resident.node)


def _is_confirmed(before: Member | None, after: Member | None) -> bool:
    """Whether nothing is new but that the API knows now where a pod goes: that decides nothing."""
    if before is None or after is None or before.task.status is not TaskStatus.BINDING:
        return False
    return before.group == after.group and replace(before.task, status=TaskStatus.BOUND) == after.task


def _is_alike(old: Object, new: Object) -> bool:
    """Whether what is parsed of a pod is the same; that it has been given a node does not matter."""
    if old["metadata"].get("labels") != new["metadata"].get("labels"):
        return False
    one, other = old["spec"], new["spec"]
    if one is other or one == other:
        return True
    return {**one, "nodeName": ""} == {**other, "nodeName": ""}


def missing(member: Member) -> str:
    """What is said of a pod whose group does not exist."""
    _, place, group = member.belonging.keys[0].split("/", 2)
    return f'PodGroup "{place}/{group}" not found'
