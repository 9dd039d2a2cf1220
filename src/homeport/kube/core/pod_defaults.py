"""Defaults of pods that depend on other fields (upstream: ``pkg/apis/core/v1/defaults.go`` and the pod strategy).

All of these take objects as they come, before validation: what has not the right form is left for validation to report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeport.kube import quantity
from homeport.kube.core.pod_resources import is_pod_level, of_containers, states_resources
from homeport.kube.meta import Object, dicts

_DEFAULT_ACCOUNT = "default"


def replaced(obj: Object, changes: Object) -> Object:
    """`obj` with `changes`; the very same object where there are none."""
    return {**obj, **changes} if changes else obj


def mapped(items: Any, change: Callable[[Object], Object]) -> Any:
    """The list with `change` applied to each object in it; the very same list where nothing changed."""
    if not isinstance(items, list):
        return items
    result: list[Any] | None = None
    for index, item in enumerate(items):
        if isinstance(item, dict):
            new = change(item)
            if new is not item:
                if result is None:
                    result = items.copy()
                result[index] = new
    return items if result is None else result


def map_fields(obj: Object, changes: dict[str, Callable[[Object], Object]]) -> Object:
    """`obj` with each list in the named fields mapped."""
    found = {}
    for name, change in changes.items():
        value = obj.get(name)
        if value:
            new = mapped(value, change)
            if new is not value:
                found[name] = new
    return replaced(obj, found)


def has_latest_tag(image: str) -> bool:
    """Whether an image's tag is ``latest``, said or not. A digest stands for the tag that is not said."""
    name, _, digest = image.partition("@")
    name = name.rsplit("/", 1)[-1]
    return name.endswith(":latest") or (":" not in name and not digest)


def pull_policy(image: str) -> str:
    return "Always" if has_latest_tag(image) else "IfNotPresent"


def default_template(template: Object) -> Object:
    """A pod template with the defaults that its schema does not have."""
    spec = template.get("spec")
    if not isinstance(spec, dict):
        return template
    new = default_pod_spec(spec)
    return template if new is spec else {**template, "spec": new}


def default_pod_spec(spec: Object) -> Object:
    spec = map_fields(spec, _DEFAULTED)
    changes: Object = {}
    account, deprecated = spec.get("serviceAccountName"), spec.get("serviceAccount")
    if account and account != deprecated:
        changes["serviceAccount"] = account
    elif deprecated and not account:
        changes["serviceAccountName"] = deprecated
    return replaced(spec, changes)


def _default_pod(spec: Object) -> Object:
    """What has defaults in pods and not in templates of pods, besides."""
    spec = map_fields(spec, _REQUESTING)
    changes = _pod_requests(spec)
    if spec.get("hostNetwork") is True:
        # On the host's network a container's port is the host's port.
        changes |= _host_ports(spec)
    return replaced(spec, changes)


def _pod_requests(spec: Object) -> Object:
    """A pod that limits all its containers together requests what those request, else what it is limited to."""
    resources = spec.get("resources")
    limits = resources.get("limits") if isinstance(resources, dict) else None
    if not isinstance(resources, dict) or not isinstance(limits, dict) or not limits:
        return {}
    requests = resources.get("requests")
    if requests is None:
        requests = {}
    if not isinstance(requests, dict):
        return {}
    of_all = of_containers(spec, "requests")
    missing: Object = {
        name: quantity.to_text(amount, "binary" if name == "memory" else "decimal")
        for name, amount in of_all.items()
        if name in ("cpu", "memory") and name not in requests
    }
    missing |= {
        name: amount
        for name, amount in limits.items()
        if is_pod_level(name) and name not in requests and name not in missing
    }
    return {"resources": {**resources, "requests": {**requests, **missing}}} if missing else {}


def _host_ports(spec: Object) -> Object:
    def port(item: Object) -> Object:
        return (
            item if item.get("hostPort") or "containerPort" not in item else item | {"hostPort": item["containerPort"]}
        )

    def container(item: Object) -> Object:
        return map_fields(item, {"ports": port})

    changed = map_fields(spec, {"containers": container, "initContainers": container})
    return {name: changed[name] for name in ("containers", "initContainers") if changed.get(name) is not spec.get(name)}


def _container(container: Object) -> Object:
    changes: Object = {}
    image = container.get("image")
    if not container.get("imagePullPolicy") and isinstance(image, str) and image:
        changes["imagePullPolicy"] = pull_policy(image)
    return replaced(container, changes)


def _requests(container: Object) -> Object:
    """What a container limits but does not request it requests as much as it is limited."""
    resources = container.get("resources")
    limits = resources.get("limits") if isinstance(resources, dict) else None
    if not isinstance(resources, dict) or not isinstance(limits, dict) or not limits:
        return container
    requests = resources.get("requests")
    if requests is None:
        requests = {}
    if not isinstance(requests, dict):
        return container
    missing = {name: amount for name, amount in limits.items() if name not in requests}
    if not missing:
        return container
    return {**container, "resources": {**resources, "requests": {**requests, **missing}}}


def _volume(volume: Object) -> Object:
    if not volume or (len(volume) == 1 and "name" in volume):
        return {**volume, "emptyDir": {}}
    image = volume.get("image")
    if isinstance(image, dict) and not image.get("pullPolicy") and isinstance(image.get("reference"), str):
        return {**volume, "image": {**image, "pullPolicy": pull_policy(image["reference"])}}
    return volume


_DEFAULTED: dict[str, Callable[[Object], Object]] = {
    "containers": _container,
    "initContainers": _container,
    "ephemeralContainers": _container,
    "volumes": _volume,
}
"""What has defaults of its own in a pod's spec."""
_REQUESTING: dict[str, Callable[[Object], Object]] = {"containers": _requests, "initContainers": _requests}


def prepare_pod(new: Object, old: Object | None) -> Object:
    """A pod with its defaults; on create with its first status, too."""
    spec = new.get("spec")
    if not isinstance(spec, dict):
        return new
    changed = _default_pod(default_pod_spec(spec))
    if old is None:
        changed = replaced(changed, _create_defaults(changed))
    result = new if changed is spec else {**new, "spec": changed}
    if old is None:
        status = new.get("status")
        first = {"phase": "Pending", "qosClass": qos_class(changed)}
        result = {**result, "status": {**status, **first} if isinstance(status, dict) else first}
    return result


def _create_defaults(spec: Object) -> Object:
    """What admission sets on a cluster: the service account."""
    changes: Object = {}
    if not spec.get("serviceAccountName"):
        changes |= {"serviceAccountName": _DEFAULT_ACCOUNT, "serviceAccount": _DEFAULT_ACCOUNT}
    return changes


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by the resources of all containers, or by those that the pod states for them
    together (upstream: ``helper/qos``)."""
    guaranteed = True
    anything = False
    containers = [*dicts(spec.get("containers")), *dicts(spec.get("initContainers"))]
    if states_resources(spec):
        containers = [spec]
    for container in containers:
        resources = container.get("resources")
        resources = resources if isinstance(resources, dict) else {}
        amounts = {kind: _compute_amounts(resources.get(kind)) for kind in ("limits", "requests")}
        anything = anything or bool(amounts["limits"] or amounts["requests"])
        limits = amounts["limits"]
        if set(limits) != {"cpu", "memory"} or any(limits.get(n) != a for n, a in amounts["requests"].items()):
            guaranteed = False
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed and containers else "Burstable"


def _compute_amounts(amounts: Any) -> dict[str, Any]:
    found = {}
    for name in ("cpu", "memory"):
        value = amounts.get(name) if isinstance(amounts, dict) else None
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            try:
                amount = quantity.parse(value)
            except ValueError:
                continue
            if amount:
                found[name] = amount
    return found
