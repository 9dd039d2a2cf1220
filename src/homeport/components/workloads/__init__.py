"""Workloads that keep pods running, as kube-controller-manager does on a cluster: deployments, replica sets,
replication controllers, stateful sets and daemon sets; and leader-worker sets, which are made of stateful sets. A real
cluster has its own.

What each one decides is imported when there is a first one of its kind.
"""

from __future__ import annotations

from homeport.components.workloads import pods
from homeport.control.controller import Child, Claim, Controller, Deed, Note, Related
from homeport.control.reports import of_pods
from homeport.kube import core, meta, names
from homeport.kube.admission import Hook
from homeport.kube.core import pod_state
from homeport.kube.core.declare import deferred
from homeport.kube.kind import Column, Kind, Resource
from homeport.kube.meta import Object
from homeport.kube.selector import Selector, from_label_selector

_GATHER = 0.1
"""Seconds: of two hundred pods that become ready one by one, each would cost a look at all of them and two statuses."""
_deployment = deferred("homeport.components.workloads.deployment")
_replicas = deferred("homeport.components.workloads.replicas")
_stateful = deferred("homeport.components.workloads.statefulset")
_stateful_pods = deferred("homeport.components.workloads.stateful_pods")
_daemon = deferred("homeport.components.workloads.daemonset")
_nodes = deferred("homeport.components.workloads.daemon_nodes")
_groups = deferred("homeport.components.workloads.leaderworker.sync")
_group_members = deferred("homeport.components.workloads.leaderworker.groups")
_group_pods = deferred("homeport.components.workloads.leaderworker.pods")
_group_rules = deferred("homeport.components.workloads.leaderworker.rules")
_GROUP_LABEL = "leaderworkerset.sigs.k8s.io/name"


def _selector(parent: Object) -> Selector:
    return from_label_selector(meta.spec(parent).get("selector"))


def _of_labels(parent: Object) -> Selector:
    """A replication controller's selector, which is just labels."""
    return from_label_selector({"matchLabels": meta.spec(parent).get("selector") or {}})


def _silent(deed: Deed) -> Note | None:
    return None


def _pods(claim: Claim) -> Child:
    return Child(core.POD.resource, "never", claim=claim, gradual=True, tell=of_pods, matters=pods.matters)


_REVISIONS = Child(core.CONTROLLER_REVISION.resource, "never", claim=Claim(_selector), tell=_silent)

DEPLOYMENTS = Controller(
    name="deployment-controller",
    parent=core.DEPLOYMENT.resource,
    sync=_deployment("sync"),
    children=(Child(core.REPLICA_SET.resource, "never", claim=Claim(_selector), tell=_deployment("tell_of_set")),),
    gather=_GATHER,
    until_gone=True,
)
REPLICA_SETS = Controller(
    name="replicaset-controller",
    parent=core.REPLICA_SET.resource,
    sync=_replicas("sync"),
    children=(_pods(Claim(_selector, considered=pod_state.is_active)),),
    gather=_GATHER,
    until_gone=True,
)
REPLICATION_CONTROLLERS = Controller(
    name="replication-controller",
    parent=core.REPLICATION_CONTROLLER.resource,
    sync=_replicas("sync"),
    children=(_pods(Claim(_of_labels, considered=pod_state.is_active)),),
    gather=_GATHER,
    until_gone=True,
)
STATEFUL_SETS = Controller(
    name="statefulset-controller",
    parent=core.STATEFUL_SET.resource,
    sync=_stateful("sync"),
    children=(
        Child(
            core.POD.resource,
            "never",
            claim=Claim(_selector, member=_stateful_pods("is_member")),
            gradual=True,
            fixed_names=True,
            tell=_stateful("tell_of_pod"),
            matters=pods.matters,
        ),
        _REVISIONS,
    ),
    related=(
        Related(
            core.PERSISTENT_VOLUME_CLAIM.resource,
            _stateful_pods("sets_of_claim"),
            tell=_stateful("tell_of_claim"),
        ),
    ),
    until_gone=True,
)
DAEMON_SETS = Controller(
    name="daemonset-controller",
    parent=core.DAEMON_SET.resource,
    sync=_daemon("sync"),
    children=(_pods(Claim(_selector)), _REVISIONS),
    related=(Related(core.NODE.resource, None, matters=_nodes("matters")),),
    gather=_GATHER,
)

LEADER_WORKER_SET = Kind(
    resource=Resource("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet"),
    body="homeport.components.workloads.leaderworker.kinds:LeaderWorkerSet",
    singular="leaderworkerset",
    short_names=("lws",),
    columns=(
        Column("Ready", "integer", ".status.readyReplicas", "Number of ready replicas"),
        Column("Desired", "integer", ".spec.replicas", "Number of desired replicas"),
        Column("Up-to-date", "integer", ".status.updatedReplicas", "Number of up-to-date replicas"),
        Column("Age", "date", ".metadata.creationTimestamp"),
    ),
    subresources=frozenset({"status", "scale"}),
    scale_paths=(".spec.replicas", ".status.replicas", ".status.hpaPodSelector"),
    prepare=_group_rules("prepare"),
    validate=_group_rules("validate"),
    name_rule=names.dns1035_label,  # its service has the same name
)


def _group_set_of(obj: Object) -> tuple[tuple[str, str], ...]:
    """The leader-worker set that an object is of, by its label."""
    name = meta.labels(obj).get(_GROUP_LABEL)
    return ((meta.namespace(obj), name),) if name else ()


LEADER_WORKER_SETS = Controller(
    name="leaderworkerset-controller",
    parent=LEADER_WORKER_SET.resource,
    sync=_groups("sync"),
    children=(
        Child(core.STATEFUL_SET.resource, tell=_groups("tell")),
        Child(core.CONTROLLER_REVISION.resource, "never", tell=_groups("tell")),
        Child(core.SERVICE.resource, "never", tell=_groups("tell")),
    ),
    related=(
        Related(core.POD.resource, _group_set_of, matters=_group_members("matters")),
        Related(core.STATEFUL_SET.resource, _group_set_of, tell=_groups("tell")),
        Related(core.SERVICE.resource, _group_set_of, tell=_groups("tell")),
        Related(core.NODE.resource, None, matters=meta.is_relabelled),
    ),
    gather=_GATHER,
)

KINDS: tuple[Kind, ...] = (LEADER_WORKER_SET,)
"""All others that it works on are built in (``homeport.kube.core``)."""
ADMISSION: tuple[Hook, ...] = (
    Hook(
        name="pods.leaderworkerset.x-k8s.io",
        resource=core.POD.resource,
        selector={"matchExpressions": [{"key": _GROUP_LABEL, "operator": "Exists"}]},
        mutate=_group_pods("mutate"),
    ),
)
CONTROLLERS: tuple[Controller, ...] = (
    DEPLOYMENTS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    DAEMON_SETS,
    LEADER_WORKER_SETS,
)
