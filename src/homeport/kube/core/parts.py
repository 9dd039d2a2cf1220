"""Parts of objects that change through a subresource of their own: what is taken over, and its rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from homeport.kube import field, meta
from homeport.kube.core.pod_validation import validate_pod_spec
from homeport.kube.core.server_validation import validate_request
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

Validate = Callable[[Object, Object | None], Iterable[FieldError]]

_GROUPS = ("containers", "initContainers")
_RESIZED = ("resources", "resizePolicy")
_ONLY_RESOURCES = "only cpu and memory resources are mutable"


def _with_spec(new: Object, old: Object, **changes: object) -> Object:
    """The stored object with the metadata that the client wants and `changes` of its spec."""
    return {**old, "metadata": new["metadata"], "spec": {**meta.spec(old), **changes}}


def take_ephemeral_containers(new: Object, old: Object, now: str) -> Object:
    return _with_spec(new, old, ephemeralContainers=meta.spec(new).get("ephemeralContainers") or [])


def only_ephemeral_containers(config: Object) -> Object:
    """What a configuration says of them, and of nothing else."""
    spec = meta.spec(config)
    return _naming(config, {name: spec[name] for name in ("ephemeralContainers",) if name in spec})


def only_resources(config: Object) -> Object:
    """What a configuration says of the resources of containers, and of nothing else."""
    spec, told = meta.spec(config), ("name", *_RESIZED)
    groups = {
        group: [{name: container[name] for name in told if name in container} for container in spec[group]]
        for group in _GROUPS
        if group in spec
    }
    return _naming(config, groups)


def _naming(config: Object, spec: Object) -> Object:
    told = ("name", "namespace", "uid", "resourceVersion")
    metadata = {name: value for name, value in config["metadata"].items() if name in told}
    rest = {name: config[name] for name in ("apiVersion", "kind")}
    return {**rest, "metadata": metadata, **({"spec": spec} if spec else {})}


def validate_ephemeral_containers(new: Object, old: Object | None) -> Iterator[FieldError]:
    """They may be added, and that is all (upstream: ``ValidatePodEphemeralContainersUpdate``)."""
    spec = meta.spec(new)
    yield from validate_pod_spec(spec, "spec")
    found = {container.get("name"): container for container in spec.get("ephemeralContainers") or ()}
    for container in meta.spec(old or {}).get("ephemeralContainers") or ():
        name = container.get("name")
        if name not in found:
            words = f'existing ephemeral containers "{name}" may not be removed\n'
            yield field.forbidden("spec.ephemeralContainers", words)
        elif found[name] != container:
            words = f'existing ephemeral containers "{name}" may not be changed\n'
            yield field.forbidden("spec.ephemeralContainers", words)


def take_resources(new: Object, old: Object, now: str) -> Object:
    """The resources of the containers that are there."""
    changes: dict[str, object] = {}
    for group in _GROUPS:
        wanted = {container.get("name"): container for container in meta.spec(new).get(group) or ()}
        before = meta.spec(old).get(group) or []
        after = [_resized(container, wanted.get(container.get("name"), container)) for container in before]
        if after != before:
            changes[group] = after
    return _with_spec(new, old, **changes)


def _resized(container: Object, wanted: Object) -> Object:
    kept = {name: value for name, value in container.items() if name not in _RESIZED}
    return kept | {name: wanted[name] for name in _RESIZED if name in wanted}


def validate_resize(new: Object, old: Object | None) -> Iterator[FieldError]:
    """Upstream: ``ValidatePodResize``: processor and memory change, the class of service does not."""
    spec, before = meta.spec(new), meta.spec(old or {})
    yield from validate_pod_spec(spec, "spec")
    for group in _GROUPS:
        pairs = zip(spec.get(group) or (), before.get(group) or (), strict=False)
        for index, (container, former) in enumerate(pairs):
            for kind in ("limits", "requests"):
                after = (container.get("resources") or {}).get(kind) or {}
                earlier = (former.get("resources") or {}).get(kind) or {}
                others = (after.keys() | earlier.keys()) - {"cpu", "memory"}
                if any(after.get(name) != earlier.get(name) for name in others):
                    yield field.forbidden(f"spec.{group}[{index}].resources.{kind}", _ONLY_RESOURCES)


def take_decision(new: Object, old: Object, now: str) -> Object:
    """The conditions of a certificate request, each with the times that the client left out."""
    before = {condition.get("type"): condition for condition in meta.status(old).get("conditions") or ()}
    conditions = []
    for condition in meta.status(new).get("conditions") or ():
        times = {"lastUpdateTime": now}
        former = before.get(condition.get("type"))
        if former is None or former.get("status") != condition.get("status"):
            times["lastTransitionTime"] = now
        conditions.append({**times, **{name: value for name, value in condition.items() if value is not None}})
    status = {**meta.status(old), "conditions": conditions}
    return {**old, "metadata": new["metadata"], "status": status}


def validate_decision(new: Object, old: Object | None) -> Iterator[FieldError]:
    return iter(tuple(validate_request(new, old)))
