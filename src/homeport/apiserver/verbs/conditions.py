"""What ``PUT`` may do without saying a resourceVersion, by resource.

Upstream each resource's strategy says so (``AllowCreateOnUpdate``, ``AllowUnconditionalUpdate`` in the ``strategy.go``
files of ``pkg/registry``); what is listed here differs from the rest of its kind.
"""

from __future__ import annotations

from homeport.apiserver.resources import Served
from homeport.kube.meta import Object

_CREATING = frozenset(
    {
        "/endpoints",
        "/events",
        "/limitranges",
        "/services",
        "coordination.k8s.io/leases",
        "node.k8s.io/runtimeclasses",
        "rbac.authorization.k8s.io/clusterrolebindings",
        "rbac.authorization.k8s.io/clusterroles",
        "rbac.authorization.k8s.io/rolebindings",
        "rbac.authorization.k8s.io/roles",
    }
)
_CONDITIONAL = frozenset(
    {
        "admissionregistration.k8s.io/mutatingadmissionpolicies",
        "admissionregistration.k8s.io/mutatingadmissionpolicybindings",
        "admissionregistration.k8s.io/mutatingwebhookconfigurations",
        "admissionregistration.k8s.io/validatingadmissionpolicies",
        "admissionregistration.k8s.io/validatingadmissionpolicybindings",
        "admissionregistration.k8s.io/validatingwebhookconfigurations",
        "apiextensions.k8s.io/customresourcedefinitions",
        "apiregistration.k8s.io/apiservices",
        "coordination.k8s.io/leases",
        "node.k8s.io/runtimeclasses",
        "policy/poddisruptionbudgets",
        "storage.k8s.io/csidrivers",
        "storage.k8s.io/csinodes",
        "storage.k8s.io/csistoragecapacities",
        "storage.k8s.io/volumeattachments",
    }
)


def creates_by_put(served: Served) -> bool:
    """Whether ``PUT`` creates what is not there."""
    return served.builtin and served.key in _CREATING


def needs_version(served: Served) -> bool:
    """Whether ``PUT`` has to say which resourceVersion it replaces."""
    return not served.builtin or served.key in _CONDITIONAL


def stated_version(new: Object) -> str:
    """The resourceVersion that a change says it replaces; empty: whichever there is, which ``0`` says as well."""
    version = new["metadata"].get("resourceVersion")
    return "" if version in (None, "0") else str(version)
