"""Definitions with open schemas for SDKs whose kinds belong to components: here the API server is driven."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

OPEN: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition(group: str, version: str, kind: str, plural: str, scope: str = "Namespaced") -> dict[str, Any]:
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": OPEN, "status": OPEN}}}
    served = {"name": version, "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": scope, "names": names, "versions": [served]},
    }


@contextmanager
def served(*definitions: dict[str, Any]) -> Iterator[None]:
    """Serve the kinds of `definitions` that are not served yet."""
    config.load_kube_config()
    api = client.ApiextensionsV1Api()
    made = []
    for one in definitions:
        try:
            api.create_custom_resource_definition(one)
        except ApiException as error:
            if error.status != 409:
                raise
        else:
            made.append(one["metadata"]["name"])
    for name in made:
        while not _established(api.read_custom_resource_definition(name)):
            time.sleep(0.05)
    try:
        yield
    finally:
        for name in made:
            api.delete_custom_resource_definition(name)


def _established(found: Any) -> bool:
    conditions = (found.status.conditions if found.status else None) or []
    return any(condition.type == "Established" and condition.status == "True" for condition in conditions)
