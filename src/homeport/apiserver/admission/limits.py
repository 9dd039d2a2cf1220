"""LimitRanger: defaults and bounds for what single pods, containers and claims ask for.

Upstream: ``plugin/pkg/admission/limitranger``, whose words the messages are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from homeport.apiserver.admission.attributes import CREATE, UPDATE, Attributes, Operation
from homeport.apiserver.admission.plugin import Plugin
from homeport.apiserver.context import Api
from homeport.kube import quantity
from homeport.kube.core.pod_resources import Amounts, amounts, of_container, of_pod
from homeport.kube.errors import Forbidden, object_details
from homeport.kube.meta import Object, dicts, metadata, spec

_LIMIT_RANGES = "/limitranges"
_PODS, _CLAIMS = "/pods", "/persistentvolumeclaims"
_ANNOTATION = "kubernetes.io/limit-ranger"


class LimitRanger(Plugin):
    name = "LimitRanger"

    def __init__(self, api: Api) -> None:
        self._store = api.store

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        if key == _PODS:
            return (operation == CREATE and not subresource) or (operation == UPDATE and subresource == "resize")
        return key == _CLAIMS and operation in (CREATE, UPDATE) and not subresource

    def _items(self, attributes: Attributes) -> list[Mapping[str, Any]]:
        """The limits of the namespace."""
        records = self._store.heads(_LIMIT_RANGES, attributes.namespace)
        if not records:
            return []
        return [item for record in records for item in dicts(spec(msgspec.json.decode(record.value)).get("limits"))]

    def mutate(self, attributes: Attributes) -> Object | None:
        pod = attributes.object
        if pod is None or attributes.served.key != _PODS or attributes.operation != CREATE:
            return pod
        items = self._items(attributes)
        if items:
            items = [item for item in items if item.get("type") == "Container"]
        return with_defaults(pod, items) if items else pod

    def validate(self, attributes: Attributes) -> None:
        obj = attributes.object
        items = self._items(attributes)
        if obj is None or not items:
            return
        find = _wrong_with_pod if attributes.served.key == _PODS else _wrong_with_claim
        errors = [error for item in items for error in find(item, obj)]
        if errors:
            resource = attributes.served.resource
            text = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
            raise Forbidden(
                f'{resource.qualified} "{attributes.name}" is forbidden: {text}',
                details=object_details(resource.group, resource.plural, attributes.name),
            )


# -- defaults


def with_defaults(pod: Object, items: list[Mapping[str, Any]]) -> Object:
    """`pod` with the requests and limits that its containers leave out, and an annotation that says so."""
    if not isinstance(pod.get("spec"), dict):
        return pod
    changed = dict(pod["spec"])
    notes: list[str] = []
    for field, what in (("containers", "container"), ("initContainers", "init container")):
        containers = changed.get(field)
        if isinstance(containers, list):
            changed[field] = [_with_defaults(container, items, what, notes) for container in containers]
    if not notes:
        return pod
    meta = metadata(pod)
    annotations = {**(meta.get("annotations") or {}), _ANNOTATION: f"LimitRanger plugin set: {'; '.join(notes)}"}
    return {**pod, "metadata": {**meta, "annotations": annotations}, "spec": changed}


def _with_defaults(container: Any, items: list[Mapping[str, Any]], what: str, notes: list[str]) -> Any:
    resources = container.get("resources", {}) if isinstance(container, dict) else None
    if not isinstance(resources, dict):
        return container
    result = dict(resources)
    for field, default, word in (("requests", "defaultRequest", "request"), ("limits", "default", "limit")):
        present = resources.get(field) or {}
        if not isinstance(present, dict):
            return container
        missing = {n: amount for item in items for n, amount in (item.get(default) or {}).items() if n not in present}
        if missing:
            result[field] = {**present, **missing}
            notes.append(f"{', '.join(sorted(missing))} {word} for {what} {container.get('name', '')}")
    return container if result == resources else {**container, "resources": result}


# -- bounds


def _wrong_with_pod(item: Mapping[str, Any], pod: Object) -> Iterator[str]:
    kind = str(item.get("type"))
    if kind == "Container":
        for field in ("containers", "initContainers"):
            for container in dicts(spec(pod).get(field)):
                yield from _out_of_bounds(item, of_container(container, "requests"), of_container(container, "limits"))
    elif kind == "Pod":
        yield from _out_of_bounds(item, of_pod(spec(pod), "requests"), of_pod(spec(pod), "limits"))


def _wrong_with_claim(item: Mapping[str, Any], claim: Object) -> Iterator[str]:
    if item.get("type") != "PersistentVolumeClaim":
        return
    asked = of_container(spec(claim), "requests")
    yield from _each(item, "min", lambda name, bound: _below(item, name, bound, asked, {}))
    yield from _each(item, "max", lambda name, bound: _request_above(item, name, bound, asked))


def _out_of_bounds(item: Mapping[str, Any], requests: Amounts, limits: Amounts) -> Iterator[str]:
    yield from _each(item, "min", lambda name, bound: _below(item, name, bound, requests, limits))
    yield from _each(item, "max", lambda name, bound: _above(item, name, bound, requests, limits))
    ratio: Callable[[str, Decimal], str] = lambda name, bound: _ratio(item, name, bound, requests, limits)  # noqa: E731
    yield from _each(item, "maxLimitRequestRatio", ratio)


def _each(item: Mapping[str, Any], field: str, check: Callable[[str, Decimal], str]) -> Iterator[str]:
    for name, bound in sorted(amounts(item.get(field)).items()):
        text = check(name, bound)
        if text:
            yield text


def _below(item: Mapping[str, Any], name: str, bound: Decimal, requests: Amounts, limits: Amounts) -> str:
    prefix = f"minimum {name} usage per {item.get('type')} is {_text(item, 'min', name)}"
    if name not in requests:
        return f"{prefix}.  No request is specified"
    if requests[name] < bound:
        return f"{prefix}, but request is {_amount(name, requests[name])}"
    if name in limits and limits[name] < bound:
        return f"{prefix}, but limit is {_amount(name, limits[name])}"
    return ""


def _above(item: Mapping[str, Any], name: str, bound: Decimal, requests: Amounts, limits: Amounts) -> str:
    prefix = f"maximum {name} usage per {item.get('type')} is {_text(item, 'max', name)}"
    if name not in limits:
        return f"{prefix}.  No limit is specified"
    if limits[name] > bound:
        return f"{prefix}, but limit is {_amount(name, limits[name])}"
    if name in requests and requests[name] > bound:
        return f"{prefix}, but request is {_amount(name, requests[name])}"
    return ""


def _request_above(item: Mapping[str, Any], name: str, bound: Decimal, requests: Amounts) -> str:
    prefix = f"maximum {name} usage per {item.get('type')} is {_text(item, 'max', name)}"
    if name not in requests:
        return f"{prefix}.  No request is specified"
    return f"{prefix}, but request is {_amount(name, requests[name])}" if requests[name] > bound else ""


def _ratio(item: Mapping[str, Any], name: str, bound: Decimal, requests: Amounts, limits: Amounts) -> str:
    prefix = (
        f"{name} max limit to request ratio per {item.get('type')} is {_text(item, 'maxLimitRequestRatio', name)}, but"
    )
    if not requests.get(name):
        return f"{prefix} no request is specified or request is 0"
    if not limits.get(name):
        return f"{prefix} no limit is specified or limit is 0"
    ratio = limits[name] / requests[name]
    return f"{prefix} provided ratio is {ratio:f}" if ratio > bound else ""


def _text(item: Mapping[str, Any], field: str, name: str) -> str:
    return quantity.canonical(item[field][name])


def _amount(name: str, amount: Decimal) -> str:
    return quantity.to_text(amount, "decimal" if name == "cpu" else "binary")
