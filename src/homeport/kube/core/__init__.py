"""The kinds that every Kubernetes has: their structs, defaults, rules and columns."""

from __future__ import annotations

from homeport.kube.core import config, definition, event, node, quota, rbac, registration, service, storage
from homeport.kube.core.config import CONFIG_MAP, NAMESPACE, SECRET, SERVICE_ACCOUNT
from homeport.kube.core.definition import CRD
from homeport.kube.core.event import EVENT, EVENTS_V1
from homeport.kube.core.node import NODE
from homeport.kube.core.pod import POD, POD_TEMPLATE
from homeport.kube.core.pod_defaults import default_template
from homeport.kube.core.pod_state import has_ended
from homeport.kube.core.pod_validation import validate_template
from homeport.kube.core.quota import LEASE, LIMIT_RANGE, PRIORITY_CLASS, RESOURCE_QUOTA
from homeport.kube.core.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from homeport.kube.core.registration import (
    MUTATING_ADMISSION_POLICY,
    MUTATING_ADMISSION_POLICY_BINDING,
    MUTATING_WEBHOOK_CONFIGURATION,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    VALIDATING_WEBHOOK_CONFIGURATION,
)
from homeport.kube.core.service import ENDPOINT_SLICE, ENDPOINTS, SERVICE
from homeport.kube.core.storage import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS
from homeport.kube.core.types.meta import Condition, DeleteOptions, LabelSelector, ListMeta, ObjectMeta, Status
from homeport.kube.core.types.pod import Binding, Pod, PodSpec, PodTemplateSpec
from homeport.kube.kind import Kind

KINDS: tuple[Kind, ...] = (
    POD,
    POD_TEMPLATE,
    *service.KINDS,
    *config.KINDS,
    *node.KINDS,
    *event.KINDS,
    *quota.KINDS,
    *rbac.KINDS,
    *storage.KINDS,
    *definition.KINDS,
    *registration.KINDS,
)
"""Every built-in kind."""

__all__ = [
    "CLUSTER_ROLE",
    "CLUSTER_ROLE_BINDING",
    "CONFIG_MAP",
    "CRD",
    "ENDPOINTS",
    "ENDPOINT_SLICE",
    "EVENT",
    "EVENTS_V1",
    "KINDS",
    "LEASE",
    "LIMIT_RANGE",
    "MUTATING_ADMISSION_POLICY",
    "MUTATING_ADMISSION_POLICY_BINDING",
    "MUTATING_WEBHOOK_CONFIGURATION",
    "NAMESPACE",
    "NODE",
    "PERSISTENT_VOLUME",
    "PERSISTENT_VOLUME_CLAIM",
    "POD",
    "POD_TEMPLATE",
    "PRIORITY_CLASS",
    "RESOURCE_QUOTA",
    "ROLE",
    "ROLE_BINDING",
    "SECRET",
    "SERVICE",
    "SERVICE_ACCOUNT",
    "STORAGE_CLASS",
    "VALIDATING_ADMISSION_POLICY",
    "VALIDATING_ADMISSION_POLICY_BINDING",
    "VALIDATING_WEBHOOK_CONFIGURATION",
    "Binding",
    "Condition",
    "DeleteOptions",
    "LabelSelector",
    "ListMeta",
    "ObjectMeta",
    "Pod",
    "PodSpec",
    "PodTemplateSpec",
    "Status",
    "default_template",
    "has_ended",
    "validate_template",
]
