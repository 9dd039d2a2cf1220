"""Workloads that are kept running: deployments, replica sets, stateful sets, daemon sets, replication controllers."""

from __future__ import annotations

from typing import Any

from homeport.kube import meta
from homeport.kube.core.columns import joined, labels_text, selector_text
from homeport.kube.core.declare import TYPES, core, deferred, grouped
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE

_APPS = "apps"
_ALL = ("all",)
_SCALE = (".spec.replicas", ".status.replicas", ".spec.selector")

_default = deferred("homeport.kube.core.workload_defaults")
_rule = deferred("homeport.kube.core.workload_validation")


def _number(name: str, path: str) -> Column:
    """A number in the status, 0 where there is none."""
    return Column(name, "integer", compute=lambda obj: meta.status(obj).get(path) or 0)


def _desired(obj: Object) -> Any:
    return meta.spec(obj).get("replicas") or 0


def _ready(obj: Object) -> str:
    return f"{meta.status(obj).get('readyReplicas') or 0}/{_desired(obj)}"


def _pod(obj: Object) -> Object:
    return meta.spec(meta.spec(obj).get("template") or {})


def template_columns(pod: Any = _pod) -> tuple[Column, ...]:
    """Containers and images of the pod spec that `pod` finds in the object, for ``-o wide``."""
    return (
        Column(
            "Containers",
            "string",
            priority=1,
            compute=lambda obj: joined(c["name"] for c in pod(obj).get("containers") or ()),
        ),
        Column(
            "Images",
            "string",
            priority=1,
            compute=lambda obj: joined(c.get("image", "") for c in pod(obj).get("containers") or ()),
        ),
    )


def _controller(obj: Object) -> str:
    """``daemonset.apps/name``, as upstream names a revision's owner."""
    owner = meta.controller_of(obj)
    if owner is None:
        return "<none>"
    group = str(owner.get("apiVersion", "")).rpartition("/")[0]
    kind = str(owner.get("kind", "")).lower()
    return f"{kind}.{group}/{owner.get('name', '')}" if group else f"{kind}/{owner.get('name', '')}"


_SELECTOR = Column("Selector", "string", priority=1, compute=lambda obj: selector_text(meta.spec(obj).get("selector")))
_REPLICA_COLUMNS = (
    Column("Desired", "integer", compute=_desired),
    _number("Current", "replicas"),
    _number("Ready", "readyReplicas"),
    AGE,
    *template_columns(),
)

DEPLOYMENT = grouped(
    _APPS,
    "deployments",
    TYPES + "apps:Deployment",
    status=True,
    scale=_SCALE,
    short_names=("deploy",),
    categories=_ALL,
    columns=(
        Column("Ready", "string", compute=_ready),
        _number("Up-to-date", "updatedReplicas"),
        _number("Available", "availableReplicas"),
        AGE,
        *template_columns(),
        _SELECTOR,
    ),
    prepare=_default("prepare_deployment"),
    validate=_rule("validate_deployment"),
)
REPLICA_SET = grouped(
    _APPS,
    "replicasets",
    TYPES + "apps:ReplicaSet",
    status=True,
    scale=_SCALE,
    short_names=("rs",),
    categories=_ALL,
    columns=(*_REPLICA_COLUMNS, _SELECTOR),
    prepare=_default("prepare_replica_set"),
    validate=_rule("validate_replica_set"),
)
STATEFUL_SET = grouped(
    _APPS,
    "statefulsets",
    TYPES + "apps:StatefulSet",
    status=True,
    scale=_SCALE,
    short_names=("sts",),
    categories=_ALL,
    columns=(Column("Ready", "string", compute=_ready), AGE, *template_columns()),
    prepare=_default("prepare_stateful_set"),
    validate=_rule("validate_stateful_set"),
)
DAEMON_SET = grouped(
    _APPS,
    "daemonsets",
    TYPES + "apps:DaemonSet",
    status=True,
    short_names=("ds",),
    categories=_ALL,
    columns=(
        _number("Desired", "desiredNumberScheduled"),
        _number("Current", "currentNumberScheduled"),
        _number("Ready", "numberReady"),
        _number("Up-to-date", "updatedNumberScheduled"),
        _number("Available", "numberAvailable"),
        Column("Node Selector", "string", compute=lambda obj: labels_text(_pod(obj).get("nodeSelector"))),
        AGE,
        *template_columns(),
        _SELECTOR,
    ),
    prepare=_default("prepare_daemon_set"),
    validate=_rule("validate_daemon_set"),
)
CONTROLLER_REVISION = grouped(
    _APPS,
    "controllerrevisions",
    TYPES + "apps:ControllerRevision",
    columns=(
        Column("Controller", "string", compute=_controller),
        Column("Revision", "integer", compute=lambda obj: obj.get("revision") or 0),
        AGE,
    ),
    validate=_rule("validate_revision"),
)
REPLICATION_CONTROLLER = core(
    "replicationcontrollers",
    TYPES + "controllers:ReplicationController",
    scale=_SCALE,
    generation=True,
    short_names=("rc",),
    categories=_ALL,
    columns=(
        *_REPLICA_COLUMNS,
        Column("Selector", "string", priority=1, compute=lambda obj: labels_text(meta.spec(obj).get("selector"))),
    ),
    prepare=_default("prepare_replication_controller"),
    validate=_rule("validate_replication_controller"),
)

KINDS = (DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET, CONTROLLER_REVISION, REPLICATION_CONTROLLER)
