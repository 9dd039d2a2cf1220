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
