"""What should be of a leader-worker set, by what is seen of it (upstream: ``leaderworkerset_controller.go``).

The leaders are one stateful set. Each leader owns the stateful set of its workers, and its service if it has one, so
that a group goes with its leader.
"""

from __future__ import annotations

from collections.abc import Mapping

from homeport.components.workloads import pods as pod_rules
from homeport.components.workloads.leaderworker import groups, rollout, shape
from homeport.components.workloads.leaderworker.groups import Lost
from homeport.control.controller import Deed, Desired, Note, Observed
from homeport.kube import meta
from homeport.kube.core import pod_state
from homeport.kube.meta import Object

AVAILABLE, PROGRESSING, UPDATING = "Available", "Progressing", "UpdateInProgress"
_SAID = {
    AVAILABLE: ("AllGroupsReady", "All replicas are ready"),
    PROGRESSING: ("GroupsProgressing", "Replicas are progressing"),
    UPDATING: ("GroupsUpdating", "Rolling Upgrade is in progress"),
}
_NO_LABEL = "node does not have topology label: {}"


def sync(observed: Observed) -> Desired:
    everything = frozenset((kind, name) for kind, group in observed.children.items() for name in group)
    leaders = observed.child("StatefulSet", meta.name(observed.parent))
    if leaders is not None and meta.is_deleting(leaders):
        return Desired(keep=everything)  # made anew when it has gone
    return _Round(observed, everything, leaders).desired()


class _Round:
    def __init__(self, observed: Observed, everything: frozenset[tuple[str, str]], leaders: Object | None) -> None:
        self._observed, self._set, self._leaders = observed, observed.parent, leaders
        self._name = meta.name(self._set)
        self._keep = set(everything)
        self._notes: list[Note] = []
        self._said: dict[str, Object] = {}
        self._revisions = observed.children.get("ControllerRevision", {})
        self._pods = [each for _, each in sorted(observed.related.get("Pod", {}).items())]
        self._sets = {meta.name(each): each for each in observed.related.get("StatefulSet", {}).values()}
        self._leading = self._leader_pods()

    def _leader_pods(self) -> dict[int, Object]:
        own = meta.uid(self._leaders) if self._leaders is not None else ""
        found: dict[int, Object] = {}
        for pod in self._pods:
            parent, number = shape.parent_and_ordinal(meta.name(pod))
            if shape.is_leader(pod) and parent == self._name and (meta.controller_of(pod) or {}).get("uid") == own:
                found[number] = pod
        return found

    def desired(self) -> Desired:
        revision, is_new, changed = self._revision()
        key = shape.revision_of(revision)
        present = rollout.present_replicas(self._leaders) if self._leaders is not None else 0
        states = rollout.groups(self._set, present, self._leading, self._sets, key)
        step = rollout.step(self._set, self._leaders, states, changed=changed)
        self._tell_of(step, changed=changed)
        children = [leader_set(self._set, step, key)]
        if is_new:
            children.append(revision)
        if not shape.is_unique(self._set) and self._name not in self._observed.children.get("Service", {}):
            children.append(groups.service(self._name, self._set, {shape.NAME: self._name}))
        lost = list(groups.lost(self._set, self._pods, self._sets))
        self._notes += map(_recreated, lost)
        status, done = self._status(key)
        if done:
            old = {name for name, each in self._revisions.items() if shape.revision_of(each) != key}
            self._keep -= {("ControllerRevision", name) for name in old}
        others = self._others({meta.name(each.leader) for each in lost})
        return Desired(
            status=status,
            children=tuple(children),
            keep=frozenset(self._keep),
            others=tuple(others),
            removed=tuple(each.leader for each in lost),
            notes=tuple(self._notes),
            memory=self._said,
        )

    def _revision(self) -> tuple[Object, bool, bool]:
        """The revision that the leaders are to have, whether it has yet to be made, and whether it is another than they
        have."""
        data = shape.snapshot(self._set)
        key = shape.revision_of(self._leaders) if self._leaders is not None else ""
        current = max(
            (each for each in self._revisions.values() if key and shape.revision_of(each) == key),
            key=_number,
            default=None,
        )
        if current is not None and current.get("data") == data:
            return current, False, False
        same = max((each for each in self._revisions.values() if each.get("data") == data), key=_number, default=None)
        if same is not None:
            return same, False, bool(key)
        made = self._new_revision(data, "" if current is not None else key)
        title = shape.revision_of(made)
        if current is not None:
            words = f"Creating revision with key {title} for updated LWS"
        elif key:
            words = f"Creating missing revision with key {title} for existing LeaderWorkerSet"
        else:
            words = f"Creating revision with key {title} for a newly created LeaderWorkerSet"
        self._notes.append(Note("Normal", "CreatingRevision", words))
        return made, True, current is not None

    def _new_revision(self, data: Object, key: str) -> Object:
        number = max(map(_number, self._revisions.values()), default=0) + 1
        hash = shape.digest(data)
        if any(shape.revision_of(each) == hash for each in self._revisions.values()):
            hash = f"{hash}-{number}"  # of other data
        return {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": f"{self._name[:220]}-{hash}-{number}",
                "labels": {shape.NAME: self._name, shape.REVISION: key or hash},
            },
            "data": data,
            "revision": number,
        }

    def _tell_of(self, step: rollout.Step, *, changed: bool) -> None:
        if self._leaders is None:
            return
        present, before = rollout.present_replicas(self._leaders), rollout.present_partition(self._leaders)
        wanted, last = shape.replicas(self._set), present - 1
        if wanted <= step.replicas < present:
            words = f"deleting surge replicas from {self._name}-{step.replicas} to {self._name}-{last}"
            if step.replicas == last:
                words = f"deleting surge replica {self._name}-{last}"
            self._notes.append(Note("Normal", "GroupsProgressing", words))
        if not changed and step.partition != before:
            words = f"Updating replicas {step.partition} to {before - 1} (inclusive)"
            if step.partition == before - 1:
                words = f"Updating replica {step.partition}"
            self._notes.append(Note("Normal", "GroupsUpdating", words))

    # -- groups

    def _others(self, lost: set[str]) -> list[Object]:
        """What leaders that stay have of their own."""
        made: list[Object] = []
        for _, leader in sorted(self._leading.items()):
            if meta.is_deleting(leader) or meta.name(leader) in lost:
                continue
            if shape.is_unique(self._set):
                index = meta.labels(leader).get(shape.GROUP_INDEX, "")
                selector = {shape.NAME: self._name, shape.GROUP_INDEX: index}
                made.append(groups.service(meta.name(leader), self._set, selector, leader))
            workers = self._workers(leader)
            if workers is not None:
                made.append(workers)
        return made

    def _workers(self, leader: Object) -> Object | None:
        """None if it has none, or none yet."""
        if shape.size(self._set) == 1 or meta.name(leader) in self._sets:
            return None
        if meta.spec(self._set).get("startupPolicy") == "LeaderReady" and not pod_state.is_ready(leader):
            return None
        key = shape.revision_of(leader)
        found = [each for each in self._revisions.values() if shape.revision_of(each) == key]
        if not found:
            return None  # its coming brings the set back
        topology, selector = meta.annotations(self._set).get(shape.EXCLUSIVE), {}
        if topology:
            domain = self._domain(leader, topology)
            if domain is None:
                return None
            selector = {topology: domain}
        return groups.workers(self._set, leader, max(found, key=_number), selector)

    def _domain(self, leader: Object, topology: str) -> str | None:
        """Where the leader is; None if that isn't known."""
        node = self._observed.related.get("Node", {}).get(meta.spec(leader).get("nodeName") or "")
        if node is None:
            return None
        if topology in meta.labels(node):
            return meta.labels(node)[topology]
        name = meta.name(leader)
        words = f"Failed to create worker statefulset for leader pod {name}: {_NO_LABEL.format(topology)}"
        self._said[meta.uid(leader)] = {"said": words}
        if self._observed.memory.get(meta.uid(leader)) != self._said[meta.uid(leader)]:
            self._notes.append(Note("Warning", "FailedCreate", words))
        return None

    # -- status

    def _status(self, key: str) -> tuple[Object, bool]:
        """The status, and whether all groups are as they should be."""
        wanted, lowest = shape.replicas(self._set), shape.partition(self._set)
        alone = shape.size(self._set) == 1
        ready = updated = ready_wanted = new = due = done = 0
        for number, leader in self._leading.items():
            group = rollout.group(leader, self._sets, key, alone=alone)
            if group is None:
                continue
            counts = lowest <= number < wanted
            ready += group.ready
            updated += group.updated
            ready_wanted += group.ready and number < wanted
            due += counts
            new += group.updated and counts
            done += group.updated and group.ready and counts
        before = meta.status(self._set)
        types: tuple[str, ...] = (PROGRESSING,)
        if new < due:
            types = (UPDATING, PROGRESSING)
        elif ready_wanted == wanted and done == due:
            types = (AVAILABLE,)
        status = {
            "conditions": self._conditions(types, f", with {ready} groups ready of total {wanted} groups"),
            "readyReplicas": ready,
            "updatedReplicas": updated,
            "replicas": meta.status(self._leaders).get("replicas") if self._leaders is not None else 0,
            "hpaPodSelector": before.get("hpaPodSelector") or f"{shape.NAME}={self._name},{shape.WORKER_INDEX}=0",
            "observedGeneration": meta.metadata(self._set).get("generation"),
        }
        return pod_rules.without_zeros(status), lowest == 0 and done == wanted

    def _conditions(self, types: tuple[str, ...], counted: str) -> list[Object]:
        """`types` are true; what can't be at the same time no longer is."""
        former: list[Object] = list(meta.status(self._set).get("conditions") or ())
        generation = meta.metadata(self._set).get("generation")
        found = {each["type"]: each for each in former}
        over = (PROGRESSING, UPDATING) if AVAILABLE in types else (AVAILABLE,)
        for type in over:
            if type in found:
                found[type] = {**found[type], "status": "False"}
        for type in types:
            reason, message = _SAID[type]
            found[type] = {"type": type, "status": "True", "reason": reason, "message": message}
        result = [
            meta.with_transition(
                {**each, **({"observedGeneration": generation} if generation else {})}, former, self._observed.now
            )
            for each in found.values()
        ]
        if result != former:
            reason, message = _SAID[types[0]]
            self._notes.append(Note("Normal", reason, message + counted))
        return result


def leader_set(leader_worker_set: Object, step: rollout.Step, revision: str) -> Object:
    """The stateful set of the leaders."""
    name, template = meta.name(leader_worker_set), shape.template(leader_worker_set)
    identity = {shape.NAME: name, shape.WORKER_INDEX: "0"}
    annotations = {shape.SIZE: str(shape.size(leader_worker_set))}
    exclusive = meta.annotations(leader_worker_set).get(shape.EXCLUSIVE)
    if exclusive:
        annotations[shape.EXCLUSIVE] = exclusive
    if template.get("subGroupPolicy"):
        sort = template["subGroupPolicy"].get("subGroupPolicyType") or "LeaderWorker"
        annotations |= {shape.SUBGROUP_TYPE: sort, **groups.subgroup_marks(leader_worker_set)}
    if shape.is_unique(leader_worker_set):
        annotations[shape.SUBDOMAIN_POLICY] = shape.UNIQUE
    pods = template.get("leaderTemplate") or template.get("workerTemplate") or {}
    at_once = max(shape.unavailable(leader_worker_set) + shape.surge(leader_worker_set), 1)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": name,
            "labels": {shape.NAME: name, shape.REVISION: revision},
            "annotations": {shape.REPLICAS: str(shape.replicas(leader_worker_set))},
        },
        "spec": {
            "serviceName": name,
            "replicas": step.replicas,
            "podManagementPolicy": "Parallel",
            "template": groups.marked(pods, {**identity, shape.REVISION: revision}, annotations),
            "updateStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": at_once, "partition": step.partition},
            },
            "selector": {"matchLabels": identity},
            **groups.claims(leader_worker_set),
        },
    }


def tell(deed: Deed) -> Note | None:
    """The event about something made or not."""
    kind, name = deed.child["kind"], meta.name(deed.child)
    is_leaders = name == meta.name(deed.parent)
    if kind == "Service":
        words = f"Failed to create headless service for error: {deed.error}"
        return Note("Warning", "FailedCreate", words) if deed.error else None
    if kind != "StatefulSet" or deed.verb == "delete":
        return Note("Warning", "FailedCreate", deed.error) if deed.error else None
    if deed.verb == "apply":
        return Note("Warning", "FailedUpdate", f"Failed to update leader statefulset {name}: {deed.error}")
    what = f"leader statefulset {name}" if is_leaders else f"worker statefulset for leader pod {name}"
    if deed.error:
        return Note("Warning", "FailedCreate", f"Failed to create {what}: {deed.error}")
    return Note("Normal", "GroupsProgressing", f"Created {what}")


def _number(revision: Mapping[str, object]) -> int:
    number = revision.get("revision")
    return number if isinstance(number, int) else 0


def _recreated(lost: Lost) -> Note:
    leader, index = meta.name(lost.leader), meta.labels(lost.leader).get(shape.GROUP_INDEX, "")
    words = f"Worker pod {meta.name(lost.pod)} failed, deleted leader pod {leader} to recreate group {index}"
    return Note("Normal", "RecreateGroup", words)
