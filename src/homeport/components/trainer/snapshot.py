"""The runtime of a job as it was when the job began: what becomes of the runtime later does not concern the job.

Upstream: ``core/snapshot.go`` (KEP-2599). The config map holds the runtime as JSON, which is YAML, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from homeport.components.trainer import names
from homeport.components.trainer.draft import Unbuildable
from homeport.kube import meta, yamltext
from homeport.kube.errors import HomeportError
from homeport.kube.meta import Object

_KEY = "runtime"
_KINDS = {names.CLUSTER_RUNTIME: "clustertrainingruntimes", names.RUNTIME: "trainingruntimes"}
_KEPT = ("name", "namespace", "uid", "generation", "labels", "annotations")


def snapshot_name(job: str) -> str:
    return f"{job}-runtime-snapshot"


def reference(job: Object) -> tuple[str, str, str]:
    """Group, kind and name of a job's runtime."""
    ref = meta.spec(job).get("runtimeRef") or {}
    group = names.GROUP if ref.get("apiGroup") is None else ref["apiGroup"]
    kind = names.CLUSTER_RUNTIME if ref.get("kind") is None else ref["kind"]
    return group, kind, ref.get("name") or ""


def unsupported(job: Object) -> str:
    """What there is to say of a runtime of another kind than these two; empty for one of them."""
    group, kind, _ = reference(job)
    return "" if group == names.GROUP and kind in _KINDS else f"unsupported runtime: {kind}.{group}"


def found(job: Object, related: Mapping[str, Mapping[str, Object]]) -> Object:
    """The job's runtime as it is now. Raises Unbuildable if there is none."""
    _, kind, name = reference(job)
    place = name if kind == names.CLUSTER_RUNTIME else f"{meta.namespace(job)}/{name}"
    runtime = related.get(kind, {}).get(place)
    if runtime is None:
        raise Unbuildable(not_found(kind, name))
    return runtime


def not_found(kind: str, name: str) -> str:
    return f'{kind} specified in TrainJob is not found: {_KINDS[kind]}.{names.GROUP} "{name}" not found'


def taken(job: Object, runtime: Object) -> Object:
    """The config map that keeps `runtime` for the job."""
    about = {key: value for key, value in meta.metadata(runtime).items() if key in _KEPT}
    kept: dict[str, Any] = {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": reference(job)[1],
        "metadata": about,
        "spec": meta.spec(runtime),
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": snapshot_name(meta.name(job))},
        "data": {_KEY: json.dumps(kept, sort_keys=True)},
    }


def kept(job: Object, config_map: Object) -> Object:
    """The runtime that a config map keeps. Raises Unbuildable if it is none of the job's."""
    text = (config_map.get("data") or {}).get(_KEY)
    if text is None:
        raise Unbuildable(f'invalid runtime snapshot: snapshot ConfigMap missing "{_KEY}" data key')
    try:
        runtime, _ = yamltext.load(str(text).encode())
    except (HomeportError, ValueError) as error:
        raise Unbuildable(f"invalid runtime snapshot: unable to unmarshal the snapshot: {error}") from error
    group, kind, name = reference(job)
    if not isinstance(runtime, dict) or not isinstance(runtime.get("spec") or {}, dict):
        raise Unbuildable("invalid runtime snapshot: unable to unmarshal the snapshot: it is no object")
    is_of = (meta.name(runtime), str(runtime.get("apiVersion") or "").partition("/")[0], runtime.get("kind") or "")
    if is_of != (name, group, kind):
        raise Unbuildable(
            "invalid runtime snapshot: the snapshot refers to the wrong runtime: expecting a runtime with name, api "
            f"group and kind of {_quoted(name, group, kind)} but found runtime with name, api group and kind of "
            f"{_quoted(*is_of)}"
        )
    return runtime


def _quoted(*words: str) -> str:
    return ", ".join(f'"{word}"' for word in words)
