"""The kinds that every Kubernetes has: their structs, defaults, rules and columns."""

from __future__ import annotations

from homeport.kube.core import (
    config,
    definition,
    devices,
    drivers,
    event,
    jobs,
    network,
    node,
    quota,
    rbac,
    registration,
    scaling,
    server_kinds,
    service,
    storage,
    workloads,
)
from homeport.kube.core.config import CONFIG_MAP, NAMESPACE, SECRET, SERVICE_ACCOUNT
from homeport.kube.core.definition import CRD
from homeport.kube.core.devices import DEVICE_CLASS, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE, RESOURCE_SLICE
from homeport.kube.core.drivers import (
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    RUNTIME_CLASS,
    VOLUME_ATTACHMENT,
    VOLUME_ATTRIBUTES_CLASS,
)
from homeport.kube.core.event import EVENT, EVENTS_V1
from homeport.kube.core.jobs import CRON_JOB, JOB
from homeport.kube.core.network import INGRESS, INGRESS_CLASS, IP_ADDRESS, NETWORK_POLICY, SERVICE_CIDR
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
from homeport.kube.core.scaling import (
    HORIZONTAL_POD_AUTOSCALER,
    HORIZONTAL_POD_AUTOSCALER_V1,
    POD_DISRUPTION_BUDGET,
)
from homeport.kube.core.server_kinds import API_SERVICE, CERTIFICATE_SIGNING_REQUEST, FLOW_SCHEMA, PRIORITY_LEVEL
from homeport.kube.core.service import ENDPOINT_SLICE, ENDPOINTS, SERVICE
from homeport.kube.core.storage import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS
from homeport.kube.core.types.meta import Condition, DeleteOptions, LabelSelector, ListMeta, ObjectMeta, Status
from homeport.kube.core.types.pod import Binding, Pod, PodSpec, PodTemplateSpec
from homeport.kube.core.workloads import (
    CONTROLLER_REVISION,
    DAEMON_SET,
    DEPLOYMENT,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    STATEFUL_SET,
)
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
    *workloads.KINDS,
    *jobs.KINDS,
    *network.KINDS,
    *scaling.KINDS,
    *drivers.KINDS,
    *server_kinds.KINDS,
    *devices.KINDS,
)
"""Every built-in kind."""

__all__ = [
    "API_SERVICE",
    "CERTIFICATE_SIGNING_REQUEST",
    "CLUSTER_ROLE",
    "CLUSTER_ROLE_BINDING",
    "CONFIG_MAP",
    "CONTROLLER_REVISION",
    "CRD",
    "CRON_JOB",
    "CSI_DRIVER",
    "CSI_NODE",
    "CSI_STORAGE_CAPACITY",
    "DAEMON_SET",
    "DEPLOYMENT",
    "DEVICE_CLASS",
    "ENDPOINTS",
    "ENDPOINT_SLICE",
    "EVENT",
    "EVENTS_V1",
    "FLOW_SCHEMA",
    "HORIZONTAL_POD_AUTOSCALER",
    "HORIZONTAL_POD_AUTOSCALER_V1",
    "INGRESS",
    "INGRESS_CLASS",
    "IP_ADDRESS",
    "JOB",
    "KINDS",
    "LEASE",
    "LIMIT_RANGE",
    "MUTATING_ADMISSION_POLICY",
    "MUTATING_ADMISSION_POLICY_BINDING",
    "MUTATING_WEBHOOK_CONFIGURATION",
    "NAMESPACE",
    "NETWORK_POLICY",
    "NODE",
    "PERSISTENT_VOLUME",
    "PERSISTENT_VOLUME_CLAIM",
    "POD",
    "POD_DISRUPTION_BUDGET",
    "POD_TEMPLATE",
    "PRIORITY_CLASS",
    "PRIORITY_LEVEL",
    "REPLICATION_CONTROLLER",
    "REPLICA_SET",
    "RESOURCE_CLAIM",
    "RESOURCE_CLAIM_TEMPLATE",
    "RESOURCE_QUOTA",
    "RESOURCE_SLICE",
    "ROLE",
    "ROLE_BINDING",
    "RUNTIME_CLASS",
    "SECRET",
    "SERVICE",
    "SERVICE_ACCOUNT",
    "SERVICE_CIDR",
    "STATEFUL_SET",
    "STORAGE_CLASS",
    "VALIDATING_ADMISSION_POLICY",
    "VALIDATING_ADMISSION_POLICY_BINDING",
    "VALIDATING_WEBHOOK_CONFIGURATION",
    "VOLUME_ATTACHMENT",
    "VOLUME_ATTRIBUTES_CLASS",
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
