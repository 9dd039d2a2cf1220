"""Errors in Kubernetes' words: one line for each rule, on top of a valid object."""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller
from samples import sample

from homeport.kube import core
from homeport.kube.kind import Kind

_PORT = {"name": "web", "port": {"number": 80}}


def _ingress(**path: Any) -> dict[str, Any]:
    whole = {"path": "/", "pathType": "Prefix", "backend": {"service": _PORT}, **path}
    return {"spec.rules": [{"host": "example.com", "http": {"paths": [whole]}}]}


def _flow(**rule: Any) -> dict[str, Any]:
    whole = {"subjects": [{"kind": "User", "user": {"name": "jane"}}], **rule}
    return {"spec.rules": [whole]}


def _strategy(**rolling: Any) -> dict[str, Any]:
    return {"spec.strategy": {"rollingUpdate": rolling}}


def _quota(hard: dict[str, str], *scopes: str) -> dict[str, Any]:
    return {"spec": {"hard": hard, **({"scopes": list(scopes)} if scopes else {})}}


def _limit(type: str, **limits: Any) -> dict[str, Any]:
    return {"spec.limits": [{"type": type, **limits}]}


RULES: list[tuple[Kind, dict[str, Any], str]] = [
    (core.EVENTS_V1, {"eventTime": None}, "eventTime: Required value"),
    (core.EVENTS_V1, {"deprecatedCount": 3}, 'count: Invalid value: "": needs to be unset'),
    (core.EVENT, {"involvedObject.namespace": "other"}, "does not match event.namespace"),
    (
        core.DEPLOYMENT,
        {"spec.selector": {"matchLabels": {"app": "other"}}},
        "`selector` does not match template `labels`",
    ),
    (core.DEPLOYMENT, {"spec.selector": {}}, "empty selector is invalid for deployment"),
    (core.DEPLOYMENT, {"spec.replicas": -1}, "must be greater than or equal to 0"),
    (
        core.DEPLOYMENT,
        {"spec.strategy": {"type": "Recreate", "rollingUpdate": {}}},
        "may not be specified when strategy `type` is",
    ),
    (core.DEPLOYMENT, _strategy(maxSurge=0, maxUnavailable="0%"), "may not be 0 when `maxSurge` is 0"),
    (
        core.DEPLOYMENT,
        {"spec.progressDeadlineSeconds": 5, "spec.minReadySeconds": 5},
        "must be greater than minReadySeconds",
    ),
    (
        core.JOB,
        {"spec.completionMode": "Indexed", "spec.parallelism": 1},
        "spec.completions: Required value: when completion mode is Indexed",
    ),
    (core.JOB, {"spec.backoffLimit": -1}, "spec.backoffLimit: Invalid value: -1"),
    (core.JOB, {"spec.selector": {"matchLabels": {"app": "sample"}}}, "`selector` not auto-generated"),
    (
        core.JOB,
        {"spec.template.spec.restartPolicy": "Always"},
        'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
    ),
    (core.RESOURCE_QUOTA, _quota({"odd": "1"}), "must be a standard resource for quota"),
    (core.RESOURCE_QUOTA, _quota({"pods": "-1"}), "must be greater than or equal to 0"),
    (core.RESOURCE_QUOTA, _quota({"pods": "500m"}), "must be an integer"),
    (core.RESOURCE_QUOTA, _quota({"services": "1"}, "Terminating"), "unsupported scope applied to resource"),
    (core.RESOURCE_QUOTA, _quota({"pods": "1"}, "BestEffort", "NotBestEffort"), "conflicting scopes"),
    (core.LIMIT_RANGE, _limit("Odd"), "must be a standard limit type or fully qualified"),
    (core.LIMIT_RANGE, _limit("Pod", default={"cpu": "1"}), "may not be specified when `type` is 'Pod'"),
    (
        core.LIMIT_RANGE,
        _limit("Container", min={"cpu": "2"}, max={"cpu": "1"}),
        "min value 2 is greater than max value 1",
    ),
    (core.LIMIT_RANGE, _limit("PersistentVolumeClaim"), "either minimum or maximum storage value is required"),
    (core.REPLICA_SET, {"spec.selector": {}}, "empty selector is invalid for deployment"),
    (core.REPLICA_SET, {"spec.template.spec.restartPolicy": "Never"}, 'supported values: "Always"'),
    (core.REPLICA_SET, {"spec.template.spec.activeDeadlineSeconds": 5}, "in ReplicaSet is not Supported"),
    (core.DAEMON_SET, {"spec.updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}, "cannot be 0 when maxSurge"),
    (core.DAEMON_SET, {"spec.updateStrategy": {"type": "Odd"}}, 'supported values: "OnDelete", "RollingUpdate"'),
    (
        core.DAEMON_SET,
        {"spec.updateStrategy": {"rollingUpdate": {"maxSurge": "10%"}}},
        "may not be set when maxUnavailable is non-zero",
    ),
    (
        core.STATEFUL_SET,
        {"spec.updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}},
        "only allowed for updateStrategy 'RollingUpdate'",
    ),
    (core.STATEFUL_SET, {"spec.podManagementPolicy": "Odd"}, "spec.podManagementPolicy: Unsupported value"),
    (core.STATEFUL_SET, {"spec.ordinals": {"start": -1}}, "spec.ordinals.start: Invalid value: -1"),
    (core.REPLICATION_CONTROLLER, {"spec.selector": {"a": "b"}}, "`selector` does not match template `labels`"),
    (core.CRON_JOB, {"spec.schedule": "nonsense"}, "expected exactly 5 fields, found 1: [nonsense]"),
    (core.CRON_JOB, {"spec.schedule": "TZ=UTC 0 * * * *"}, "cannot use TZ or CRON_TZ in schedule"),
    (core.CRON_JOB, {"spec.timeZone": "Local"}, "timeZone must be an explicit time zone"),
    (core.CRON_JOB, {"spec.concurrencyPolicy": "Odd"}, '"Allow", "Forbid", "Replace"'),
    (core.CRON_JOB, {"metadata.name": "x" * 53}, "must be no more than 52 characters"),
    (core.INGRESS, {"spec": {}}, "either `defaultBackend` or `rules` must be specified"),
    (core.INGRESS, _ingress(path="x"), "must be an absolute path"),
    (core.INGRESS, _ingress(path="/a//b"), "must not contain '//'"),
    (core.INGRESS, _ingress(pathType="Odd"), "pathType: Unsupported value"),
    (core.INGRESS, _ingress(backend={}), "resource or service backend is required"),
    (core.INGRESS, _ingress(backend={"service": {"name": "web"}}), "port name or number is required"),
    (core.INGRESS, {"spec.rules": [{"host": "10.0.0.1"}]}, "must be a DNS name, not an IP address"),
    (core.INGRESS, {"spec.rules": [{"host": "a.*.com"}]}, "a wildcard DNS-1123 subdomain must start with '*.'"),
    (core.INGRESS_CLASS, {"spec.controller": "odd"}, "must be a domain-prefixed path"),
    (
        core.INGRESS_CLASS,
        {"spec.parameters": {"kind": "A", "name": "b", "scope": "Namespace"}},
        "`parameters.scope` is set to 'Namespace'",
    ),
    (core.NETWORK_POLICY, {"spec.ingress": [{"from": [{}]}]}, "must specify a peer"),
    (core.NETWORK_POLICY, {"spec.ingress": [{"ports": [{"port": 70000}]}]}, "must be between 1 and 65535"),
    (core.NETWORK_POLICY, {"spec.ingress": [{"ports": [{"endPort": 5}]}]}, "when `endPort` is specified"),
    (
        core.NETWORK_POLICY,
        {"spec.egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]},
        "must be a strict subset of `cidr`, 10.0.0.0/8",
    ),
    (core.IP_ADDRESS, {"metadata.name": "nonsense"}, "must be a valid IP address"),
    (core.IP_ADDRESS, {"spec.parentRef": {"resource": "services"}}, "spec.parentRef.name: Required value"),
    (core.SERVICE_CIDR, {"spec.cidrs": ["10.0.0.1/16"]}, 'must be in canonical form ("10.0.0.0/16")'),
    (core.SERVICE_CIDR, {"spec.cidrs": ["10.0.0.0/16", "10.1.0.0/16"]}, "no more than one IP for each IP family"),
    (core.HORIZONTAL_POD_AUTOSCALER, {"spec.maxReplicas": 0}, "must be greater than 0"),
    (core.HORIZONTAL_POD_AUTOSCALER, {"spec.minReplicas": 9}, "must be greater than or equal to `minReplicas`"),
    (core.HORIZONTAL_POD_AUTOSCALER, {"spec.metrics": [{"type": "Pods"}]}, "must populate information for the given"),
    (core.HORIZONTAL_POD_AUTOSCALER, {"spec.behavior": {"scaleUp": {"policies": []}}}, "at least one Policy"),
    (core.POD_DISRUPTION_BUDGET, {"spec.maxUnavailable": 1}, "minAvailable and maxUnavailable cannot be both set"),
    (core.POD_DISRUPTION_BUDGET, {"spec.minAvailable": "101%"}, "must not be greater than 100%"),
    (core.POD_DISRUPTION_BUDGET, {"spec.minAvailable": "x"}, "a valid percent string must be a numeric string"),
    (core.CSI_DRIVER, {"metadata.name": "x" * 64}, "Too long: may not be more than 63 bytes"),
    (core.CSI_NODE, {"spec.drivers": [{"name": "a", "nodeID": ""}]}, "spec.drivers[0].nodeID: Required value"),
    (core.VOLUME_ATTACHMENT, {"spec.source": {}}, "must specify exactly one of inlineVolumeSpec"),
    (core.VOLUME_ATTRIBUTES_CLASS, {"parameters": {}}, "must contain at least one key/value pair"),
    (core.RUNTIME_CLASS, {"handler": "Not A Label"}, "a lowercase RFC 1123 label"),
    (core.CERTIFICATE_SIGNING_REQUEST, {"spec.signerName": "odd"}, "'example.com/signer-name'"),
    (core.CERTIFICATE_SIGNING_REQUEST, {"spec.expirationSeconds": 5}, "less than 600 seconds"),
    (core.CERTIFICATE_SIGNING_REQUEST, {"spec.request": "eA=="}, "PEM block type must be CERTIFICATE REQUEST"),
    (core.FLOW_SCHEMA, {"spec.matchingPrecedence": 10001}, "must be a value between 1 and 10000"),
    (core.FLOW_SCHEMA, {"spec.matchingPrecedence": 1}, "only the schema named 'exempt' may have"),
    (core.FLOW_SCHEMA, _flow(), "at least one of resourceRules and nonResourceRules has to be non-empty"),
    (core.FLOW_SCHEMA, _flow(subjects=[]), "subjects must contain at least one value"),
    (core.PRIORITY_LEVEL, {"spec": {"type": "Exempt"}}, "must be 'Limited' if the name is not 'exempt'"),
    (core.PRIORITY_LEVEL, {"spec": {"type": "Limited"}}, "must not be empty when type is Limited"),
    (core.API_SERVICE, {"metadata.name": "v1.odd"}, 'must be `spec.version+"."+spec.group`'),
    (core.RESOURCE_CLAIM, {"spec.devices.requests": [{"name": "a"}]}, "exactly one of `exactly` or `firstAvailable`"),
    (core.RESOURCE_SLICE, {"spec.allNodes": True}, "but multiple fields are set"),
    (core.DEVICE_CLASS, {"spec.selectors": [{}]}, "spec.selectors[0].cel: Required value"),
    (core.API_SERVICE, {"spec.versionPriority": 0}, "must be positive and less than 1000"),
]


def _set(obj: Any, path: str, value: Any) -> None:
    *above, last = path.split(".")
    for step in above:
        obj = obj[step]
    obj[last] = value


@pytest.mark.parametrize(("kind", "change", "words"), RULES, ids=[f"{kind.kind}: {words}" for kind, _, words in RULES])
async def test_refused(api: Caller, kind: Kind, change: dict[str, Any], words: str):
    sent = sample(kind)
    for path, value in change.items():
        _set(sent, path, value)
    (await api.post(kind.resource.path("default"), sent)).error(422, "Invalid", words)


FIXED: list[tuple[Kind, dict[str, Any], str]] = [
    (core.RESOURCE_QUOTA, {"spec.scopes": ["BestEffort"]}, "field is immutable"),
    (core.STATEFUL_SET, {"spec.serviceName": "other"}, "updates to statefulset spec for fields other than"),
    (core.CONTROLLER_REVISION, {"data": {"a": 1}}, "field is immutable"),
    (core.INGRESS_CLASS, {"spec.controller": "example.com/other"}, "field is immutable"),
    (core.IP_ADDRESS, {"spec.parentRef.name": "other"}, "field is immutable"),
    (core.SERVICE_CIDR, {"spec.cidrs": ["10.9.0.0/16"]}, "field is immutable"),
    (core.CSI_DRIVER, {"spec.attachRequired": False}, "field is immutable"),
    (core.CSI_NODE, {"spec.drivers": [{"name": "disk.example.com", "nodeID": "other"}]}, "field is immutable"),
    (core.CSI_STORAGE_CAPACITY, {"storageClassName": "other"}, "field is immutable"),
    (core.VOLUME_ATTACHMENT, {"spec.nodeName": "other"}, "field is immutable"),
    (core.VOLUME_ATTRIBUTES_CLASS, {"driverName": "other.example.com"}, "updates to driverName are forbidden"),
    (core.RUNTIME_CLASS, {"handler": "other"}, "field is immutable"),
    (core.RESOURCE_CLAIM, {"spec.devices.requests": []}, "field is immutable"),
    (core.RESOURCE_SLICE, {"spec.driver": "other.example.com"}, "field is immutable"),
]


@pytest.mark.parametrize(("kind", "change", "words"), FIXED, ids=[kind.kind for kind, _, _ in FIXED])
async def test_immutable(api: Caller, kind: Kind, change: dict[str, Any], words: str):
    path = kind.resource.path("default")
    made = (await api.post(path, sample(kind))).ok(201)
    for place, value in change.items():
        _set(made, place, value)
    (await api.put(f"{path}/{made['metadata']['name']}", made)).error(422, "Invalid", words)
