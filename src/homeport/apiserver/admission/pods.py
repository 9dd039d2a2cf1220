"""What admission adds to every pod: tolerations for nodes in trouble, and what its RuntimeClass costs.

Upstream: ``plugin/pkg/admission/defaulttolerationseconds`` and ``plugin/pkg/admission/runtimeclass``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from homeport.apiserver.admission.attributes import CREATE, UPDATE, Attributes, Operation
from homeport.apiserver.admission.plugin import Plugin
from homeport.apiserver.context import Api
from homeport.kube.core.pod_resources import amounts
from homeport.kube.errors import Forbidden, object_details
from homeport.kube.meta import Object, dicts
from homeport.store.protocol import Key

_PODS = "/pods"
_TROUBLES = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_SECONDS = 300
_TOLERATED = [
    {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _SECONDS} for key in _TROUBLES
]
"""What pods without tolerations get; they share it."""
_RUNTIME_CLASSES = "node.k8s.io/runtimeclasses"


class DefaultTolerationSeconds(Plugin):
    name = "DefaultTolerationSeconds"
    complete = True

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        return key == _PODS and operation in (CREATE, UPDATE) and not subresource

    def mutate(self, attributes: Attributes) -> Object | None:
        pod = attributes.object
        if pod is None or not isinstance(pod.get("spec"), dict):
            return pod
        present = pod["spec"].get("tolerations") or []
        if not isinstance(present, list):
            return pod
        if not present:
            return {**pod, "spec": {**pod["spec"], "tolerations": [*_TOLERATED]}}
        missing = [key for key in _TROUBLES if not any(_tolerates(toleration, key) for toleration in dicts(present))]
        if not missing:
            return pod
        added = [toleration for toleration in _TOLERATED if toleration["key"] in missing]
        return {**pod, "spec": {**pod["spec"], "tolerations": [*present, *added]}}


def _tolerates(toleration: Object, key: str) -> bool:
    return (toleration.get("key") or key) == key and (toleration.get("effect") or "NoExecute") == "NoExecute"


class RuntimeClass(Plugin):
    """Takes part where RuntimeClasses are served."""

    name = "RuntimeClass"
    complete = True

    def __init__(self, api: Api) -> None:
        self._api = api

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        return key == _PODS and operation == CREATE and not subresource

    def mutate(self, attributes: Attributes) -> Object | None:
        pod = attributes.object
        if pod is None or not isinstance(pod.get("spec"), dict) or not self._is_served():
            return pod
        found = self._find(attributes, pod["spec"].get("runtimeClassName"))
        if found is None:
            return pod
        changed: dict[str, Any] = dict(pod["spec"])
        overhead = (found.get("overhead") or {}).get("podFixed")
        if overhead:
            if changed.get("overhead") and amounts(changed["overhead"]) != amounts(overhead):
                raise _rejected(attributes, "Pod's Overhead doesn't match RuntimeClass's defined Overhead")
            changed["overhead"] = overhead
        scheduling = found.get("scheduling") or {}
        selector = changed.get("nodeSelector") or {}
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if selector.get(key, value) != value:
                raise _rejected(
                    attributes,
                    f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = "
                    f"{selector[key]}",
                )
            selector = {**selector, key: value}
        if selector:
            changed["nodeSelector"] = selector
        present = changed.get("tolerations") or []
        more = [toleration for toleration in scheduling.get("tolerations") or () if toleration not in present]
        if more:
            changed["tolerations"] = [*present, *more]
        return pod if changed == pod["spec"] else {**pod, "spec": changed}

    def validate(self, attributes: Attributes) -> None:
        pod = attributes.object
        if pod is None or not self._is_served() or not pod["spec"].get("overhead"):
            return
        found = self._find(attributes, pod["spec"].get("runtimeClassName"))
        defined = amounts((found or {}).get("overhead", {}).get("podFixed"))
        if amounts(pod["spec"]["overhead"]) != defined:
            raise _rejected(attributes, "Pod Overhead set without corresponding RuntimeClass defined Overhead")

    def _is_served(self) -> bool:
        return self._api.registry.find("node.k8s.io", "v1", "runtimeclasses") is not None

    def _find(self, attributes: Attributes, wanted: Any) -> Object | None:
        if not wanted or not isinstance(wanted, str):
            return None
        record = self._api.store.head(Key(_RUNTIME_CLASSES, "", wanted))
        if record is None:
            raise _rejected(attributes, f'RuntimeClass "{wanted}" not found')
        found: Object = msgspec.json.decode(record.value)
        return found


def _rejected(attributes: Attributes, why: str) -> Forbidden:
    return Forbidden(
        f'pods "{attributes.name}" is forbidden: pod rejected: {why}',
        details=object_details("", "pods", attributes.name),
    )
