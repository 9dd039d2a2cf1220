"""One valid object of every built-in kind, as a client would send it: without what the server sets."""

from __future__ import annotations

import base64
import copy
from typing import Any

from homeport.kube.kind import Kind
from homeport.kube.meta import Object

LABELS = {"app": "sample"}
_CONTAINERS = [{"name": "main", "image": "python:3.12", "ports": [{"containerPort": 80}]}]
_TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": _CONTAINERS}}
_WORK = {"metadata": {"labels": LABELS}, "spec": {"containers": _CONTAINERS, "restartPolicy": "Never"}}
_SELECTOR = {"matchLabels": LABELS}
_RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
_HOOK = {
    "name": "sample.example.com",
    "clientConfig": {"service": {"namespace": "default", "name": "hook"}},
    "rules": [_RULE],
    "namespaceSelector": {"matchLabels": {"sample": "only"}},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
_TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
_PEM = """-----BEGIN CERTIFICATE REQUEST-----
MIGOMEICAQAwDzENMAsGA1UEAwwEamFuZTAqMAUGAytlcAMhABFk4RqAEQdjX26K
5GJGbL6xof71WlVD/hgjUoh/xS9joAAwBQYDK2VwA0EAi1fjUlDQjGEJppVXu1HW
UuyOLOtEALudNFaTi71hVHCmDogzlyoPRSICNd5dgsnYahwMsg2E+QEzSjEub9T1
CA==
-----END CERTIFICATE REQUEST-----
"""
_SUBJECT = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
_INVOLVED = {"kind": "Pod", "namespace": "default", "name": "sample", "uid": "1"}
_DEVICES = {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}]}

SAMPLES: dict[str, Object] = {
    "v1/Pod": {"spec": {"containers": _CONTAINERS}},
    "v1/PodTemplate": {"template": _TEMPLATE},
    "v1/Service": {"spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": 8080}]}},
    "v1/Endpoints": {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]},
    "v1/ConfigMap": {"data": {"a": "1"}},
    "v1/Secret": {"stringData": {"password": "x"}},
    "v1/Namespace": {},
    "v1/ServiceAccount": {"secrets": [{"name": "a"}]},
    "v1/Node": {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}},
    "v1/Event": {"involvedObject": _INVOLVED, "reason": "Tested", "message": "It works.", "type": "Normal"},
    "v1/ResourceQuota": {"spec": {"hard": {"pods": "10", "requests.cpu": "4"}}},
    "v1/LimitRange": {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}},
    "v1/PersistentVolume": {
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/tmp/volume"},
        }
    },
    "v1/PersistentVolumeClaim": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    "v1/ReplicationController": {"spec": {"selector": LABELS, "template": _TEMPLATE}},
    "discovery.k8s.io/v1/EndpointSlice": {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
        "ports": [{"name": "http", "port": 80}],
    },
    "events.k8s.io/v1/Event": {
        "eventTime": "2026-11-22T12:00:00.000000Z",
        "regarding": _INVOLVED,
        "reason": "Tested",
        "action": "Test",
        "note": "It works.",
        "type": "Normal",
        "reportingController": "example.com/tester",
        "reportingInstance": "tester-0",
    },
    "coordination.k8s.io/v1/Lease": {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}},
    "scheduling.k8s.io/v1/PriorityClass": {"value": 100},
    "rbac.authorization.k8s.io/v1/Role": {
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    },
    "rbac.authorization.k8s.io/v1/ClusterRole": {
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    },
    "rbac.authorization.k8s.io/v1/RoleBinding": {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "sample"},
        "subjects": [_SUBJECT],
    },
    "rbac.authorization.k8s.io/v1/ClusterRoleBinding": {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "sample"},
        "subjects": [_SUBJECT],
    },
    "storage.k8s.io/v1/StorageClass": {"provisioner": "example.com/disk"},
    "storage.k8s.io/v1/CSIDriver": {"spec": {"attachRequired": True}},
    "storage.k8s.io/v1/CSINode": {"spec": {"drivers": [{"name": "disk.example.com", "nodeID": "node-0"}]}},
    "storage.k8s.io/v1/CSIStorageCapacity": {"storageClassName": "sample", "capacity": "1Ti"},
    "storage.k8s.io/v1/VolumeAttachment": {
        "spec": {
            "attacher": "disk.example.com",
            "nodeName": "node-0",
            "source": {"persistentVolumeName": "sample"},
        }
    },
    "storage.k8s.io/v1/VolumeAttributesClass": {"driverName": "disk.example.com", "parameters": {"speed": "high"}},
    "apiextensions.k8s.io/v1/CustomResourceDefinition": {
        "metadata": {"name": "samples.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "samples", "kind": "Sample"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
    },
    "admissionregistration.k8s.io/v1/MutatingWebhookConfiguration": {"webhooks": [_HOOK]},
    "admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration": {"webhooks": [_HOOK]},
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy": {
        "spec": {
            "matchConstraints": {"resourceRules": [_RULE]},
            "validations": [{"expression": "true"}],
        }
    },
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding": {
        "spec": {"policyName": "no-such-policy", "validationActions": ["Deny"]}
    },
    "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy": {
        "spec": {
            "matchConstraints": {"resourceRules": [_RULE]},
            "reinvocationPolicy": "Never",
            "mutations": [
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}},
            ],
        }
    },
    "admissionregistration.k8s.io/v1/MutatingAdmissionPolicyBinding": {"spec": {"policyName": "no-such-policy"}},
    "apps/v1/Deployment": {"spec": {"selector": _SELECTOR, "template": _TEMPLATE}},
    "apps/v1/ReplicaSet": {"spec": {"selector": _SELECTOR, "template": _TEMPLATE}},
    "apps/v1/DaemonSet": {"spec": {"selector": _SELECTOR, "template": _TEMPLATE}},
    "apps/v1/StatefulSet": {
        "spec": {
            "selector": _SELECTOR,
            "serviceName": "sample",
            "template": _TEMPLATE,
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                }
            ],
        }
    },
    "apps/v1/ControllerRevision": {"revision": 1, "data": {"spec": {"template": {}}}},
    "batch/v1/Job": {"spec": {"template": _WORK}},
    "batch/v1/CronJob": {"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": _WORK}}}},
    "networking.k8s.io/v1/Ingress": {
        "spec": {
            "ingressClassName": "sample",
            "rules": [
                {
                    "host": "*.example.com",
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "web", "port": {"number": 80}}},
                            }
                        ]
                    },
                }
            ],
        }
    },
    "networking.k8s.io/v1/IngressClass": {"spec": {"controller": "example.com/ingress"}},
    "networking.k8s.io/v1/NetworkPolicy": {
        "spec": {"podSelector": _SELECTOR, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}
    },
    "networking.k8s.io/v1/IPAddress": {
        "metadata": {"name": "192.168.1.5"},
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}},
    },
    "networking.k8s.io/v1/ServiceCIDR": {"spec": {"cidrs": ["10.1.0.0/16"]}},
    "autoscaling/v1/HorizontalPodAutoscaler": {
        "spec": {"scaleTargetRef": _TARGET, "maxReplicas": 5, "targetCPUUtilizationPercentage": 60}
    },
    "autoscaling/v2/HorizontalPodAutoscaler": {"spec": {"scaleTargetRef": _TARGET, "maxReplicas": 5}},
    "policy/v1/PodDisruptionBudget": {"spec": {"selector": _SELECTOR, "minAvailable": "50%"}},
    "node.k8s.io/v1/RuntimeClass": {"handler": "fast"},
    "certificates.k8s.io/v1/CertificateSigningRequest": {
        "spec": {
            "request": base64.b64encode(_PEM.encode()).decode(),
            "signerName": "example.com/signer",
            "usages": ["digital signature", "client auth"],
        }
    },
    "flowcontrol.apiserver.k8s.io/v1/FlowSchema": {
        "spec": {
            "priorityLevelConfiguration": {"name": "sample"},
            "matchingPrecedence": 500,
            "rules": [
                {
                    "subjects": [{"kind": "User", "user": {"name": "jane"}}],
                    "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}],
                }
            ],
        }
    },
    "flowcontrol.apiserver.k8s.io/v1/PriorityLevelConfiguration": {
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
    },
    "apiregistration.k8s.io/v1/APIService": {
        "metadata": {"name": "v1.sample.example.com"},
        "spec": {
            "group": "sample.example.com",
            "version": "v1",
            "groupPriorityMinimum": 1000,
            "versionPriority": 10,
            "service": {"namespace": "default", "name": "api"},
        },
    },
    "resource.k8s.io/v1/DeviceClass": {
        "spec": {"selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]}
    },
    "resource.k8s.io/v1/ResourceClaim": {"spec": {"devices": _DEVICES}},
    "resource.k8s.io/v1/ResourceClaimTemplate": {"spec": {"spec": {"devices": _DEVICES}}},
    "resource.k8s.io/v1/ResourceSlice": {
        "spec": {
            "driver": "gpu.example.com",
            "nodeName": "node-0",
            "pool": {"name": "node-0", "generation": 1, "resourceSliceCount": 1},
            "devices": [
                {
                    "name": "gpu-0",
                    "attributes": {"model": {"string": "x"}, "cores": {"int": 4}, "shared": {"bool": True}},
                    "capacity": {"memory": {"value": "16Gi"}},
                }
            ],
        }
    },
}
"""What makes each kind's object valid, by ``apiVersion/kind``."""

STATUSES: dict[str, Object] = {
    "v1/Pod": {"phase": "Running"},
    "v1/Node": {"phase": "Running"},
    "v1/Namespace": {"phase": "Active"},
    "v1/Service": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    "v1/ResourceQuota": {"hard": {"pods": "10"}, "used": {"pods": "1"}},
    "v1/PersistentVolume": {"phase": "Available"},
    "v1/PersistentVolumeClaim": {"phase": "Bound"},
    "v1/ReplicationController": {"replicas": 1},
    "apps/v1/Deployment": {"observedGeneration": 1, "replicas": 1},
    "apps/v1/ReplicaSet": {"observedGeneration": 1, "replicas": 1},
    "apps/v1/DaemonSet": {
        "currentNumberScheduled": 1,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 1,
        "numberReady": 0,
    },
    "apps/v1/StatefulSet": {"replicas": 1, "availableReplicas": 0},
    "batch/v1/Job": {"active": 1},
    "batch/v1/CronJob": {"lastScheduleTime": "2026-11-22T12:00:00Z"},
    "networking.k8s.io/v1/Ingress": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    "autoscaling/v1/HorizontalPodAutoscaler": {"currentReplicas": 1, "desiredReplicas": 2},
    "autoscaling/v2/HorizontalPodAutoscaler": {"currentReplicas": 1, "desiredReplicas": 2},
    "policy/v1/PodDisruptionBudget": {
        "disruptionsAllowed": 1,
        "currentHealthy": 2,
        "desiredHealthy": 1,
        "expectedPods": 2,
    },
    "storage.k8s.io/v1/VolumeAttachment": {"attached": True},
    "resource.k8s.io/v1/ResourceClaim": {"reservedFor": [{"resource": "pods", "name": "a", "uid": "1"}]},
}
"""A status for each kind that has one; where there is none here, conditions."""
_CONDITION = {
    "type": "Sampled",
    "status": "True",
    "lastTransitionTime": "2026-11-22T12:00:00Z",
    "reason": "Test",
    "message": "Written by a test.",
}


def identity(kind: Kind) -> str:
    return f"{kind.api_version}/{kind.kind}"


def sample(kind: Kind, name: str = "sample") -> Object:
    """A fresh valid object; its name is `name`, unless the kind's own rules demand another."""
    body: Any = copy.deepcopy(SAMPLES[identity(kind)])
    own = body.pop("metadata", {})
    metadata = {"name": own.get("name", name), "labels": {"sample": "yes"}}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body}


def sample_status(kind: Kind) -> Object:
    return copy.deepcopy(STATUSES.get(identity(kind), {"conditions": [_CONDITION]}))
