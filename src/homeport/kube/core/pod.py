"""Pods and pod templates."""

from __future__ import annotations

from homeport.kube import meta
from homeport.kube.core import pod_columns
from homeport.kube.core.columns import joined, labels_text
from homeport.kube.core.declare import core
from homeport.kube.core.pod_defaults import default_template, prepare_pod
from homeport.kube.core.pod_validation import validate_pod, validate_pod_template
from homeport.kube.core.types.pod import Pod, PodTemplate
from homeport.kube.kind import Column
from homeport.kube.meta import Object


def _prepare_template(new: Object, old: Object | None) -> Object:
    template = new.get("template")
    if not isinstance(template, dict):
        return new
    changed = default_template(template)
    return new if changed is template else {**new, "template": changed}


def _containers(obj: Object) -> list[Object]:
    return list(meta.spec(obj.get("template") or {}).get("containers") or ())


POD = core(
    "pods",
    Pod,
    generation=True,
    short_names=("po",),
    categories=("all",),
    columns=pod_columns.COLUMNS,
    prepare=prepare_pod,
    validate=validate_pod,
)

POD_TEMPLATE = core(
    "podtemplates",
    PodTemplate,
    status=False,
    generation=True,
    columns=(
        Column("Containers", "string", compute=lambda obj: joined(c["name"] for c in _containers(obj))),
        Column("Images", "string", compute=lambda obj: joined(c.get("image", "") for c in _containers(obj))),
        Column("Pod Labels", "string", compute=lambda obj: labels_text(meta.labels(obj.get("template") or {}))),
    ),
    prepare=_prepare_template,
    validate=validate_pod_template,
)
