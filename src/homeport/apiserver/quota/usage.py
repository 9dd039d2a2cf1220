"""What an object uses of the resources that quotas limit (upstream: ``pkg/quota/v1/evaluator``). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from homeport.kube import quantity
from homeport.kube.core import has_ended
from homeport.kube.core.pod_resources import Amounts, add, of_container, of_pod, states_resources
from homeport.kube.meta import Object, dicts, spec

PODS, SERVICES, CLAIMS = "/pods", "/services", "/persistentvolumeclaims"
DEVICE_CLAIMS = "resource.k8s.io/resourceclaims"
_ONE = Decimal(1)
_NAMED = frozenset({"/configmaps", "/replicationcontrollers", "/resourcequotas", "/secrets"})
"""Resources that are counted by their mere name, too."""
_CLASS = ".storageclass.storage.k8s.io/"
_DEVICES = ".deviceclass.resource.k8s.io/devices"
_MOST_DEVICES = Decimal(32)
"""What a claim of all devices counts as: no claim is given more."""
_COMPUTE = frozenset({"cpu", "memory", "ephemeral-storage"})
_BINARY = ("memory", "storage", "hugepages-")


def count_name(key: str) -> str:
    """The resource that counts the objects of ``group/plural``: ``count/deployments.apps``, ``count/pods``."""
    group, _, plural = key.partition("/")
    return f"count/{plural}.{group}" if group else f"count/{plural}"


def usage(key: str, obj: Object) -> Amounts:
    """What `obj` of the resource `key` uses."""
    used: Amounts = {count_name(key): _ONE}
    if key == PODS:
        if not has_ended(obj):
            used["pods"] = _ONE
            used |= _compute(of_pod(spec(obj), "requests"), of_pod(spec(obj), "limits"))
    elif key == SERVICES:
        used |= _service(spec(obj))
    elif key == CLAIMS:
        used |= _claim(spec(obj))
    elif key == DEVICE_CLAIMS:
        used |= _devices(spec(obj))
    elif key in _NAMED:
        used[key[1:]] = _ONE
    return used


def _compute(requests: Mapping[str, Decimal], limits: Mapping[str, Decimal]) -> Amounts:
    used: Amounts = {}
    for name, amount in requests.items():
        used[f"requests.{name}"] = amount
        if name in _COMPUTE or name.startswith("hugepages-"):
            used[name] = amount
    for name, amount in limits.items():
        if name in _COMPUTE or name.startswith("hugepages-"):
            used[f"limits.{name}"] = amount
    return used


def _service(service: Mapping[str, Any]) -> Amounts:
    used: Amounts = {"services": _ONE, "services.nodeports": Decimal(0), "services.loadbalancers": Decimal(0)}
    ports = list(dicts(service.get("ports")))
    match service.get("type"):
        case "NodePort":
            used["services.nodeports"] = Decimal(len(ports))
        case "LoadBalancer":
            used["services.loadbalancers"] = _ONE
            if service.get("allocateLoadBalancerNodePorts") is False:
                ports = [port for port in ports if port.get("nodePort")]
            used["services.nodeports"] = Decimal(len(ports))
    return used


def _claim(claim: Mapping[str, Any]) -> Amounts:
    used: Amounts = {"persistentvolumeclaims": _ONE}
    storage = of_container({"resources": claim.get("resources")}, "requests").get("storage")
    if storage is not None:
        used["requests.storage"] = storage
    name = claim.get("storageClassName")
    if name:
        used[f"{name}{_CLASS}persistentvolumeclaims"] = _ONE
        if storage is not None:
            used[f"{name}{_CLASS}requests.storage"] = storage
    return used


def _devices(claim: Mapping[str, Any]) -> Amounts:
    """The devices of each class; of alternatives the most that one of them takes of it."""
    used: Amounts = {}
    for request in dicts((claim.get("devices") or {}).get("requests")):
        most: Amounts = {}
        for one in dicts(request.get("firstAvailable") or [request.get("exactly")]):
            name = f"{one.get('deviceClassName')}{_DEVICES}"
            number = _MOST_DEVICES if one.get("allocationMode") == "All" else Decimal(one.get("count") or 1)
            most[name] = max(number, most.get(name, Decimal(0)))
        add(used, most)
    return used


def counted(hard: Iterable[str]) -> set[str]:
    """The resources (``group/plural``) whose objects may use something of `hard`."""
    keys: set[str] = set()
    for name in hard:
        if name.startswith("count/"):
            plural, _, group = name.removeprefix("count/").partition(".")
            keys.add(f"{group}/{plural}")
        elif f"/{name}" in _NAMED:
            keys.add(f"/{name}")
        elif name == "services" or name.startswith("services."):
            keys.add(SERVICES)
        elif name in ("persistentvolumeclaims", "requests.storage") or _CLASS in name:
            keys.add(CLAIMS)
        elif name.endswith(_DEVICES):
            keys.add(DEVICE_CLAIMS)
        else:
            keys.add(PODS)
    return keys


def unspecified(pod: Object, hard: Iterable[str]) -> str:
    """What containers have to state because a quota limits it and do not (``must specify ...``); empty if nothing.
    They need not where the pod states something for all of them."""
    if states_resources(spec(pod)):
        return ""
    limited = [name for name in hard if _has_to_be_stated(name)]
    missing: dict[str, list[str]] = {}
    for container in _containers(pod):
        stated = _compute(of_container(container, "requests"), of_container(container, "limits"))
        for name in limited:
            if name not in stated:
                missing.setdefault(name, []).append(str(container.get("name")))
    texts = [f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing)]
    return f"must specify {'; '.join(texts)}" if texts else ""


def _has_to_be_stated(name: str) -> bool:
    bare = name.removeprefix("requests.").removeprefix("limits.")
    return bare in ("cpu", "memory") or bare.startswith("hugepages-")


def _containers(pod: Object) -> Iterator[Object]:
    yield from dicts(spec(pod).get("containers"))
    yield from dicts(spec(pod).get("initContainers"))


def text(name: str, amount: Decimal) -> str:
    """An amount of the resource `name` as a quantity: memory and storage with binary suffixes."""
    bare = name.rpartition("requests.")[2].removeprefix("limits.")
    binary = bare.startswith(_BINARY) or bare in ("ephemeral-storage",)
    return quantity.to_text(amount, "binary" if binary else "decimal")
