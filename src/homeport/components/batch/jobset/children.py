"""What a job set is made of: its jobs, the service that gives its pods names, and the claims that they share."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.components.batch.jobset import shape
from homeport.kube import meta
from homeport.kube.meta import Object


def job(job_set: Object, group: Object, index: int) -> Object:
    template = group["template"]
    marks = shape.marks(job_set, group, index)
    chosen = _placement(job_set, template)
    name = shape.job_name(meta.name(job_set), group["name"], index)
    spec = dict(meta.spec(template))
    spec["suspend"] = bool(meta.spec(job_set).get("suspend"))
    spec["template"] = {
        **spec["template"],
        "metadata": _marked(spec["template"], marks, chosen),
        "spec": _pod_spec(job_set, spec["template"].get("spec") or {}, name, chosen),
    }
    about = {**_marked(template, marks, chosen), "name": name}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": spec}


def _placement(job_set: Object, template: Object) -> dict[str, str]:
    """The annotations that ask for a topology domain of its own for each job."""
    found: dict[str, str] = {}
    for asked in (meta.annotations(job_set), meta.annotations(template)):
        if shape.EXCLUSIVE in asked:
            found |= {key: asked[key] for key in (shape.EXCLUSIVE, shape.NODE_SELECTOR) if key in asked}
    return found


def _marked(obj: Object, marks: dict[str, str], placement: dict[str, str]) -> Object:
    return {
        "labels": {**meta.labels(obj), **marks},
        "annotations": {**meta.annotations(obj), **marks, **placement},
    }


def _pod_spec(job_set: Object, spec: Object, job_name: str, placement: dict[str, str]) -> Object:
    result = dict(spec)
    if shape.has_hostnames(job_set):
        result["subdomain"] = shape.subdomain(job_set)
    if shape.NODE_SELECTOR in placement:
        own = {shape.NAMESPACED_JOB: f"{meta.namespace(job_set)}_{job_name}"}
        tolerated = {"key": shape.NO_SCHEDULE, "operator": "Exists", "effect": "NoSchedule"}
        result["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **own}
        result["tolerations"] = [*(spec.get("tolerations") or ()), tolerated]
    volumes = [
        {"name": name, "persistentVolumeClaim": {"claimName": shape.claim_name(meta.name(job_set), name)}}
        for _, template in _templates(job_set)
        if mounts(spec, name := template["metadata"]["name"])
    ]
    return {**result, "volumes": [*(spec.get("volumes") or ()), *volumes]} if volumes else result


def mounts(spec: Object, volume: str) -> bool:
    """Whether a container of the pod mounts a volume of that name."""
    containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    return any(mount.get("name") == volume for entry in containers for mount in entry.get("volumeMounts") or ())


def service(job_set: Object) -> Object:
    network = meta.spec(job_set).get("network") or {}
    early = network.get("publishNotReadyAddresses")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": shape.subdomain(job_set)},
        "spec": {
            "clusterIP": "None",
            "selector": {shape.NAME: meta.name(job_set)},
            "publishNotReadyAddresses": True if early is None else early,
        },
    }


def claims(job_set: Object) -> Iterator[tuple[Object, bool]]:
    """Each claim, and whether it is deleted with the job set."""
    for policy, template in _templates(job_set):
        about = template["metadata"]
        metadata = {
            "name": shape.claim_name(meta.name(job_set), about["name"]),
            "labels": {**(about.get("labels") or {}), shape.NAME: meta.name(job_set)},
        }
        if about.get("annotations"):
            metadata["annotations"] = about["annotations"]
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata,
            "spec": meta.spec(template),
        }
        yield claim, (policy.get("retentionPolicy") or {}).get("whenDeleted", "Delete") == "Delete"


def _templates(job_set: Object) -> Iterator[tuple[Object, Object]]:
    for policy in meta.spec(job_set).get("volumeClaimPolicies") or ():
        for template in policy.get("templates") or ():
            yield policy, template
