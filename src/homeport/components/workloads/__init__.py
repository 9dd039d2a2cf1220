"""Workloads that keep pods running, as kube-controller-manager does on a cluster: deployments, replica sets,
replication controllers, stateful sets and daemon sets. A real cluster has its own.

What each one decides is imported when there is a first one of its kind.
"""

from __future__ import annotations

from homeport.components.workloads import pods
from homeport.control.controller import Child, Claim, Controller, Deed, Note, Related
from homeport.control.reports import of_pods
from homeport.kube import core, meta
from homeport.kube.core import pod_state
from homeport.kube.core.declare import deferred
from homeport.kube.kind import Kind
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

KINDS: tuple[Kind, ...] = ()
"""All kinds that it works on are built in (``homeport.kube.core``)."""
CONTROLLERS: tuple[Controller, ...] = (
    DEPLOYMENTS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    DAEMON_SETS,
)
