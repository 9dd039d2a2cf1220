"""Bases of the structs of each API group: they give the names of the schemas."""

from __future__ import annotations

from typing import ClassVar

from homeport.kube.schema.fields import Model


class MetaV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.apimachinery.pkg.apis.meta.v1"


class CoreV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.core.v1"


class CoordinationV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.coordination.v1"


class DiscoveryV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.discovery.v1"


class EventsV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.events.v1"


class RbacV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.rbac.v1"


class SchedulingV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.scheduling.v1"


class StorageV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.storage.v1"


class ApiextensionsV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"


class AdmissionregistrationV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.admissionregistration.v1"


class ApiregistrationV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1"


class AppsV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.apps.v1"


class AutoscalingV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.autoscaling.v1"


class AutoscalingV2(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.autoscaling.v2"


class BatchV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.batch.v1"


class CertificatesV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.certificates.v1"


class FlowcontrolV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.flowcontrol.v1"


class NetworkingV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.networking.v1"


class NodeV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.node.v1"


class PolicyV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.policy.v1"


class ResourceV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.k8s.api.resource.v1"
