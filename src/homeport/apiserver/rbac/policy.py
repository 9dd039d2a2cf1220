"""The roles and bindings that every cluster has, but for those of its controllers (the module ``controllers``).

Tables of facts; upstream: ``plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go`` and ``namespace_policy.go``.
"""

from __future__ import annotations

from collections.abc import Mapping

from homeport.apiserver.rbac.index import Subject
from homeport.apiserver.rbac.rules import FULL_AUTHORITY, Rule
from homeport.kube.core.rbac import GROUP

READ = "get list watch"
WRITE = "create delete deletecollection patch update"
ALL_VERBS = "create delete deletecollection get list patch update watch"


def rule(verbs: str, resources: str, *groups: str, names: str = "") -> Rule:
    """From words with spaces between them; without `groups` the core group is meant."""
    words = (tuple(text.split()) for text in (verbs, resources, names))
    of_verbs, of_resources, of_names = words
    return Rule(of_verbs, groups or ("",), of_resources, of_names)


def urls(paths: str) -> Rule:
    return Rule(("get",), urls=tuple(paths.split()))


def events() -> Rule:
    """What every component may tell."""
    return rule("create patch update", "events", "", "events.k8s.io")


def signer(name: str) -> Rule:
    return rule("approve", "signers", "certificates.k8s.io", names=f"kubernetes.io/{name}")


_HEALTH = "/healthz /livez /readyz /version /version/"
_TOKEN_REVIEWS = rule("create", "tokenreviews", "authentication.k8s.io")
_ACCESS_REVIEWS = rule("create", "subjectaccessreviews", "authorization.k8s.io")
_CSRS = rule("create get list watch", "certificatesigningrequests", "certificates.k8s.io")

AGGREGATED: Mapping[str, str] = {"admin": "", "edit": "admin", "view": "edit"}
"""The roles that are put together, and the role that each of them is a part of in turn."""

CLUSTER_ROLES: Mapping[str, tuple[Rule, ...]] = {
    "cluster-admin": FULL_AUTHORITY,
    "system:aggregate-to-admin": (
        rule("create", "localsubjectaccessreviews", "authorization.k8s.io"),
        rule(ALL_VERBS, "rolebindings roles", GROUP),
    ),
    "system:aggregate-to-edit": (
        rule(READ, "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
        rule("impersonate", "serviceaccounts"),
        rule(WRITE, "pods pods/attach pods/exec pods/portforward pods/proxy"),
        rule("create", "pods/eviction"),
        rule(
            WRITE,
            "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
            "serviceaccounts services services/proxy",
        ),
        rule("create", "serviceaccounts/token"),
        rule(
            WRITE,
            "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets "
            "statefulsets/scale",
            "apps",
        ),
        rule(WRITE, "horizontalpodautoscalers", "autoscaling"),
        rule(WRITE, "cronjobs jobs", "batch"),
        rule(
            WRITE,
            "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets "
            "replicasets/scale replicationcontrollers/scale",
            "extensions",
        ),
        rule(WRITE, "poddisruptionbudgets", "policy"),
        rule(WRITE, "ingresses networkpolicies", "networking.k8s.io"),
        rule(ALL_VERBS, "leases", "coordination.k8s.io"),
    ),
    "system:aggregate-to-view": (
        rule(
            READ,
            "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
            "replicationcontrollers/scale serviceaccounts services services/status",
        ),
        rule(
            READ,
            "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
            "resourcequotas resourcequotas/status",
        ),
        rule(READ, "namespaces"),
        rule(READ, "endpointslices", "discovery.k8s.io"),
        rule(
            READ,
            "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
            "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
            "apps",
        ),
        rule(READ, "horizontalpodautoscalers horizontalpodautoscalers/status", "autoscaling"),
        rule(READ, "cronjobs cronjobs/status jobs jobs/status", "batch"),
        rule(
            READ,
            "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status "
            "networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale",
            "extensions",
        ),
        rule(READ, "poddisruptionbudgets poddisruptionbudgets/status", "policy"),
        rule(READ, "ingresses ingresses/status networkpolicies", "networking.k8s.io"),
    ),
    "system:auth-delegator": (_TOKEN_REVIEWS, _ACCESS_REVIEWS),
    "system:basic-user": (
        rule("create", "selfsubjectaccessreviews selfsubjectrulesreviews", "authorization.k8s.io"),
        rule("create", "selfsubjectreviews", "authentication.k8s.io"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        rule("create", "certificatesigningrequests/nodeclient", "certificates.k8s.io"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        rule("create", "certificatesigningrequests/selfnodeclient", "certificates.k8s.io"),
    ),
    "system:certificates.k8s.io:kube-apiserver-client-approver": (signer("kube-apiserver-client"),),
    "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver": (signer("kube-apiserver-client-kubelet"),),
    "system:certificates.k8s.io:kubelet-serving-approver": (signer("kubelet-serving"),),
    "system:certificates.k8s.io:legacy-unknown-approver": (signer("legacy-unknown"),),
    "system:discovery": (urls(f"/api /api/* /apis /apis/* /openapi /openapi/* {_HEALTH}"),),
    "system:kube-aggregator": (rule(READ, "endpoints services"),),
    "system:kube-controller-manager": (
        events(),
        rule("create", "leases", "coordination.k8s.io"),
        rule("get update", "leases", "coordination.k8s.io", names="kube-controller-manager"),
        rule("create", "secrets serviceaccounts"),
        rule("delete", "secrets"),
        rule("get", "configmaps namespaces secrets serviceaccounts"),
        rule("update", "secrets serviceaccounts"),
        _TOKEN_REVIEWS,
        _ACCESS_REVIEWS,
        rule("list watch", "*", "*"),
        rule("create", "serviceaccounts/token"),
    ),
    "system:kube-dns": (rule("list watch", "endpoints services"),),
    "system:kube-scheduler": (
        events(),
        rule("create", "leases", "coordination.k8s.io"),
        rule("get update", "leases", "coordination.k8s.io", names="kube-scheduler"),
        rule(READ, "nodes"),
        rule("delete get list watch", "pods"),
        rule("create", "bindings pods/binding"),
        rule("patch update", "pods/status"),
        rule(READ, "replicationcontrollers services"),
        rule(READ, "replicasets", "apps", "extensions"),
        rule(READ, "statefulsets", "apps"),
        rule(READ, "poddisruptionbudgets", "policy"),
        rule(READ, "persistentvolumeclaims persistentvolumes"),
        _TOKEN_REVIEWS,
        _ACCESS_REVIEWS,
        rule(READ, "csinodes", "storage.k8s.io"),
        rule(READ, "namespaces"),
        rule(READ, "csidrivers", "storage.k8s.io"),
        rule(READ, "csistoragecapacities", "storage.k8s.io"),
    ),
    "system:kubelet-api-admin": (
        rule(READ, "nodes"),
        rule("proxy", "nodes"),
        rule(
            "*",
            "nodes/checkpoint nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/spec "
            "nodes/stats",
        ),
    ),
    "system:monitoring": (urls("/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*"),),
    "system:node": (
        _TOKEN_REVIEWS,
        rule("create", "localsubjectaccessreviews subjectaccessreviews", "authorization.k8s.io"),
        rule(READ, "services"),
        rule("create get list watch", "nodes"),
        rule("patch update", "nodes/status"),
        rule("patch update", "nodes"),
        rule("create patch update", "events"),
        rule(READ, "pods"),
        rule("create delete", "pods"),
        rule("patch update", "pods/status"),
        rule("create", "pods/eviction"),
        rule(READ, "configmaps secrets"),
        rule("get", "persistentvolumeclaims persistentvolumes"),
        rule("get", "endpoints"),
        _CSRS,
        rule("create delete get patch update", "leases", "coordination.k8s.io"),
        rule("get", "volumeattachments", "storage.k8s.io"),
        rule("create", "serviceaccounts/token"),
        rule("get patch update", "persistentvolumeclaims/status"),
        rule(READ, "csidrivers", "storage.k8s.io"),
        rule("create delete get patch update", "csinodes", "storage.k8s.io"),
        rule(READ, "runtimeclasses", "node.k8s.io"),
    ),
    "system:node-bootstrapper": (_CSRS,),
    "system:node-problem-detector": (rule("get", "nodes"), rule("patch", "nodes/status"), events()),
    "system:node-proxier": (
        rule("list watch", "endpoints services"),
        rule(READ, "nodes"),
        events(),
        rule("list watch", "endpointslices", "discovery.k8s.io"),
    ),
    "system:persistent-volume-provisioner": (
        rule("create delete get list watch", "persistentvolumes"),
        rule("get list update watch", "persistentvolumeclaims"),
        rule(READ, "storageclasses", "storage.k8s.io"),
        rule("watch", "events"),
        events(),
    ),
    "system:public-info-viewer": (urls(_HEALTH),),
    "system:service-account-issuer-discovery": (urls("/.well-known/openid-configuration /openid/v1/jwks"),),
    "system:volume-scheduler": (
        rule("get list patch update watch", "persistentvolumes"),
        rule(READ, "storageclasses", "storage.k8s.io"),
        rule("get list patch update watch", "persistentvolumeclaims"),
    ),
}

METRICS_READER = "system:aggregated-metrics-reader"
METRICS = (rule(READ, "nodes pods", "metrics.k8s.io"),)
"""A part of ``view``, ``edit`` and ``admin`` (upstream: the manifests of metrics-server)."""
ENDED_READER = "homeport:aggregated-ended-pods-reader"
ENDED = (rule("list", "endedpods", "homeport.dev"), rule("get", "eventfiles", "homeport.dev"))
"""The same for what is kept of jobs' pods, and for scalars of event files: who reads pods and logs reads these."""


def group(name: str) -> Subject:
    return Subject("Group", name)


def user(name: str) -> Subject:
    return Subject("User", name)


def account(name: str) -> Subject:
    """A service account in ``kube-system``."""
    return Subject("ServiceAccount", name, "kube-system")


CLUSTER_ROLE_BINDINGS: Mapping[str, tuple[Subject, ...]] = {
    "cluster-admin": (group("system:masters"),),
    "system:basic-user": (group("system:authenticated"),),
    "system:discovery": (group("system:authenticated"),),
    "system:kube-controller-manager": (user("system:kube-controller-manager"),),
    "system:kube-dns": (account("kube-dns"),),
    "system:kube-scheduler": (user("system:kube-scheduler"),),
    "system:monitoring": (group("system:monitoring"),),
    "system:node": (),
    "system:node-proxier": (user("system:kube-proxy"),),
    "system:public-info-viewer": (group("system:authenticated"), group("system:unauthenticated")),
    "system:service-account-issuer-discovery": (group("system:serviceaccounts"),),
    "system:volume-scheduler": (user("system:kube-scheduler"),),
}
"""Subjects of the ClusterRoles of the same names."""

_LOCKS = (
    rule("create get list update watch", "leases", "coordination.k8s.io"),
    rule("create get list update watch", "leasecandidates", "coordination.k8s.io"),
)
_READER = "extension-apiserver-authentication-reader"

ROLES: Mapping[tuple[str, str], tuple[Rule, ...]] = {
    ("kube-public", "system:controller:bootstrap-signer"): (
        rule(READ, "configmaps"),
        rule("update", "configmaps", names="cluster-info"),
        events(),
    ),
    ("kube-system", _READER): (rule(READ, "configmaps", names="extension-apiserver-authentication"),),
    ("kube-system", "system::leader-locking-kube-controller-manager"): _LOCKS,
    ("kube-system", "system::leader-locking-kube-scheduler"): _LOCKS,
    ("kube-system", "system:controller:bootstrap-signer"): (rule(READ, "secrets"),),
    ("kube-system", "system:controller:cloud-provider"): (rule("create get list watch", "configmaps"),),
    ("kube-system", "system:controller:token-cleaner"): (rule("delete get list watch", "secrets"), events()),
}
"""By namespace and name."""

ROLE_BINDINGS: Mapping[tuple[str, str], tuple[str, tuple[Subject, ...]]] = {
    ("kube-public", "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer",
        (account("bootstrap-signer"),),
    ),
    ("kube-system", f"system::{_READER}"): (
        _READER,
        (user("system:kube-controller-manager"), user("system:kube-scheduler")),
    ),
    ("kube-system", "system::leader-locking-kube-controller-manager"): (
        "system::leader-locking-kube-controller-manager",
        (
            user("system:kube-controller-manager"),
            account("kube-controller-manager"),
            account("leader-election-controller"),
        ),
    ),
    ("kube-system", "system::leader-locking-kube-scheduler"): (
        "system::leader-locking-kube-scheduler",
        (user("system:kube-scheduler"), account("kube-scheduler")),
    ),
    ("kube-system", "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer",
        (account("bootstrap-signer"),),
    ),
    ("kube-system", "system:controller:cloud-provider"): (
        "system:controller:cloud-provider",
        (account("cloud-provider"),),
    ),
    ("kube-system", "system:controller:token-cleaner"): (
        "system:controller:token-cleaner",
        (account("token-cleaner"),),
    ),
}
"""By namespace and name: the role of the namespace, and who has it."""
