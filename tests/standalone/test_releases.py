"""Definitions for older releases of Kubernetes."""

from __future__ import annotations

import json

import pytest

from homeport.components import training
from homeport.control import definitions
from homeport.standalone import releases


def test_rules_are_for_clusters_that_know_them() -> None:
    pytorch = next(kind for kind in training.KINDS if kind.kind == "PyTorchJob")
    (manifest,) = definitions.manifests([pytorch])
    assert '"x-kubernetes-validations"' in json.dumps(manifest)
    assert releases.suited(manifest, None) == releases.suited(manifest, 25) == manifest
    older = releases.suited(manifest, 24)
    assert '"x-kubernetes-validations"' not in json.dumps(older)
    spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert {"runPolicy", "pytorchReplicaSpecs"} <= spec["properties"].keys()


def test_a_property_may_have_any_name() -> None:
    inner = {"type": "object", "x-kubernetes-validations": [{"rule": "true"}]}
    schema = {"type": "object", "properties": {"x-kubernetes-validations": {"type": "array", "items": inner}}}
    version = {"name": "v1", "schema": {"openAPIV3Schema": schema}}
    (found,) = releases.suited({"spec": {"versions": [version]}}, 20)["spec"]["versions"]
    kept = {"x-kubernetes-validations": {"type": "array", "items": {"type": "object"}}}
    assert found["schema"]["openAPIV3Schema"] == {"type": "object", "properties": kept}


@pytest.mark.parametrize(("text", "minor"), [("1.24", 24), ("v1.30.2", 30)])
def test_releases_are_read(text: str, minor: int) -> None:
    assert releases.minor(text) == minor


@pytest.mark.parametrize("text", ["", "24", "2.0", "1.x", "1.15"])
def test_other_releases_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Kubernetes"):
        releases.minor(text)
