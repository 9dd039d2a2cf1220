"""The roles of the controllers that a cluster has and Homeport stands in for. Each is bound to a service account in
``kube-system`` that has the role's name without the prefix.

Tables of facts; upstream: ``plugin/pkg/auth/authorizer/rbac/bootstrappolicy/controller_policy.go``.
"""

from __future__ import annotations

from collections.abc import Mapping

from homeport.apiserver.rbac.policy import READ, events, rule
from homeport.apiserver.rbac.rules import Rule
from homeport.kube.core.rbac import GROUP

PREFIX = "system:controller:"

_CERTIFICATES = "certificates.k8s.io"
_CHANGE = "get list update watch"
_POD_CONTROL = rule("create delete list patch watch", "pods")
_REVISIONS = rule("create delete get list patch update watch", "controllerrevisions", "apps")
_SLICES = rule("create delete get list update watch", "endpointslices", "discovery.k8s.io")
_WORKLOADS = ("apps", "extensions")

CONTROLLER_ROLES: Mapping[str, tuple[Rule, ...]] = {
    "certificate-controller": (
        rule("delete get list watch", "certificatesigningrequests", _CERTIFICATES),
        rule("update", "certificatesigningrequests/approval certificatesigningrequests/status", _CERTIFICATES),
        rule("approve", "signers", _CERTIFICATES, names="kubernetes.io/kube-apiserver-client-kubelet"),
        rule(
            "sign",
            "signers",
            _CERTIFICATES,
            names="kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet "
            "kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown",
        ),
        rule("create", "subjectaccessreviews", "authorization.k8s.io"),
        events(),
    ),
    "clusterrole-aggregation-controller": (rule("escalate get list patch update watch", "clusterroles", GROUP),),
    "cronjob-controller": (
        rule(_CHANGE, "cronjobs", "batch"),
        rule("create delete get list patch update watch", "jobs", "batch"),
        rule("update", "cronjobs/status", "batch"),
        rule("update", "cronjobs/finalizers", "batch"),
        rule("delete list watch", "pods"),
        events(),
    ),
    "daemon-set-controller": (
        rule(READ, "daemonsets", *_WORKLOADS),
        rule("update", "daemonsets/status", *_WORKLOADS),
        rule("update", "daemonsets/finalizers", *_WORKLOADS),
        rule("list watch", "nodes"),
        _POD_CONTROL,
        rule("create", "pods/binding"),
        _REVISIONS,
        events(),
    ),
    "deployment-controller": (
        rule(_CHANGE, "deployments", *_WORKLOADS),
        rule("update", "deployments/status", *_WORKLOADS),
        rule("update", "deployments/finalizers", *_WORKLOADS),
        rule("create delete get list patch update watch", "replicasets", *_WORKLOADS),
        rule(_CHANGE, "pods"),
        events(),
    ),
    "disruption-controller": (
        rule(READ, "deployments", *_WORKLOADS),
        rule(READ, "replicasets", *_WORKLOADS),
        rule(READ, "replicationcontrollers"),
        rule(READ, "poddisruptionbudgets", "policy"),
        rule(READ, "statefulsets", "apps"),
        rule("update", "poddisruptionbudgets/status", "policy"),
        rule("patch update", "pods/status"),
        rule("get", "*/scale", "*"),
        events(),
    ),
    "endpoint-controller": (
        rule(READ, "pods services"),
        rule("create delete get list update watch", "endpoints"),
        rule("create", "endpoints/restricted"),
        events(),
    ),
    "endpointslice-controller": (
        rule(READ, "nodes pods services"),
        rule("update", "services/finalizers"),
        _SLICES,
        events(),
    ),
    "endpointslicemirroring-controller": (
        rule(READ, "endpoints services"),
        rule("update", "services/finalizers"),
        rule("update", "endpoints/finalizers"),
        _SLICES,
        events(),
    ),
    "ephemeral-volume-controller": (
        rule(READ, "pods"),
        rule("update", "pods/finalizers"),
        rule("create get list watch", "persistentvolumeclaims"),
        events(),
    ),
    "generic-garbage-collector": (rule("delete get list patch update watch", "*", "*"), events()),
    "horizontal-pod-autoscaler": (
        rule(READ, "horizontalpodautoscalers", "autoscaling"),
        rule("update", "horizontalpodautoscalers/status", "autoscaling"),
        rule("get update", "*/scale", "*"),
        rule("list watch", "pods"),
        rule("list watch", "pods", "metrics.k8s.io"),
        rule(READ, "*", "custom.metrics.k8s.io"),
        rule(READ, "*", "external.metrics.k8s.io"),
        events(),
    ),
    "job-controller": (
        rule("get list patch update watch", "jobs", "batch"),
        rule("update", "jobs/status", "batch"),
        rule("update", "jobs/finalizers", "batch"),
        _POD_CONTROL,
        events(),
    ),
    "namespace-controller": (
        rule("delete get list watch", "namespaces"),
        rule("update", "namespaces/finalize namespaces/status"),
        rule("delete deletecollection get list watch", "*", "*"),
    ),
    "node-controller": (
        rule("delete get list patch update watch", "nodes"),
        rule("patch update", "nodes/status"),
        rule("patch update", "pods/status"),
        rule("delete get list watch", "pods"),
        events(),
    ),
    "persistent-volume-binder": (
        rule("create delete get list update watch", "persistentvolumes"),
        rule("update", "persistentvolumes/status"),
        rule(_CHANGE, "persistentvolumeclaims"),
        rule("update", "persistentvolumeclaims/status"),
        rule("create delete get list watch", "pods"),
        rule(READ, "storageclasses", "storage.k8s.io"),
        rule("list watch", "nodes"),
        events(),
        rule("watch", "events"),
    ),
    "pod-garbage-collector": (
        rule("delete list watch", "pods"),
        rule(READ, "nodes"),
        rule("patch", "pods/status"),
    ),
    "pv-protection-controller": (rule(_CHANGE, "persistentvolumes"), events()),
    "pvc-protection-controller": (
        rule(_CHANGE, "persistentvolumeclaims"),
        rule("update", "persistentvolumeclaims/status"),
        rule(READ, "pods"),
        events(),
    ),
    "replicaset-controller": (
        rule(_CHANGE, "replicasets", *_WORKLOADS),
        rule("update", "replicasets/status", *_WORKLOADS),
        rule("update", "replicasets/finalizers", *_WORKLOADS),
        _POD_CONTROL,
        events(),
    ),
    "replication-controller": (
        rule(_CHANGE, "replicationcontrollers"),
        rule("update", "replicationcontrollers/status"),
        rule("update", "replicationcontrollers/finalizers"),
        _POD_CONTROL,
        events(),
    ),
    "resourcequota-controller": (
        rule("list watch", "*", "*"),
        rule("update", "resourcequotas/status"),
        events(),
    ),
    "root-ca-cert-publisher": (rule("create update", "configmaps"), events()),
    "service-account-controller": (rule("create", "serviceaccounts"), events()),
    "statefulset-controller": (
        rule("list watch", "pods"),
        rule(READ, "statefulsets", "apps"),
        rule("update", "statefulsets/status", "apps"),
        rule("update", "statefulsets/finalizers", "apps"),
        rule("create delete get patch update", "pods"),
        _REVISIONS,
        rule("create get list watch", "persistentvolumeclaims"),
        rule("delete update", "persistentvolumeclaims"),
        rule("update", "pods/finalizers"),
        events(),
    ),
    "ttl-after-finished-controller": (rule("delete get list watch", "jobs", "batch"), events()),
    "ttl-controller": (rule("list patch update watch", "nodes"), events()),
    "validatingadmissionpolicy-status-controller": (
        rule(READ, "validatingadmissionpolicies", "admissionregistration.k8s.io"),
        rule("get patch update", "validatingadmissionpolicies/status", "admissionregistration.k8s.io"),
        events(),
    ),
}
"""By the name of the controller's service account."""
