"""What upstream calls the schemas of its own kinds and those of CustomResourceDefinitions."""

from __future__ import annotations

from homeport.apiserver.resources import Served

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
EXTENSION = "x-kubernetes-group-version-kind"
"""Says in a schema of which kinds it is."""


def definition_name(served: Served) -> str:
    """``com.example.v1.Widget``: what upstream calls the schema of a CustomResourceDefinition's kind."""
    return ".".join([*reversed(served.group.split(".")), served.resource.version, served.kind])


def native_name(group: str, version: str, kind: str) -> str:
    """``io.k8s.api.apps.v1.Deployment``: what upstream calls the schema of a kind of its own."""
    if group == "meta.k8s.io":
        return META + kind
    return f"io.k8s.api.{group.partition('.')[0] or 'core'}.{version}.{kind}"
