"""What a pod's spec points at outside itself: fields of the pod, resources of a container, config maps and secrets.

Pure. The messages are the kubelet's, because people search for them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, Literal, NamedTuple

import msgspec

from homeport.kube import meta, quantity
from homeport.kube.errors import HomeportError
from homeport.kube.meta import Object
from homeport.node.tokens import Wish


class Ref(NamedTuple):
    """A config map, a secret or a claim in the pod's namespace."""

    kind: Literal["ConfigMap", "Secret", "PersistentVolumeClaim"]
    name: str


class Unresolved(HomeportError):
    """A reference that leads nowhere. `waits_for` is what must appear or change before another try can help."""

    def __init__(self, message: str, waits_for: Ref | None = None) -> None:
        super().__init__(message)
        self.waits_for = waits_for


class Sources(msgspec.Struct, frozen=True):
    """What references resolve against."""

    pod: Object
    objects: Mapping[Ref, Object | None] = msgspec.field(default_factory=dict)
    """The config maps and secrets that :func:`container_refs` and :func:`volume_refs` named; None: there is none."""
    allocatable: Mapping[str, str] = msgspec.field(default_factory=dict)
    """The node's resources: what a limit that is not set amounts to."""
    tokens: Mapping[Wish, str] = msgspec.field(default_factory=dict)
    """The tokens that the pod's volumes ask for (:func:`homeport.node.tokens.wishes`)."""
    files: Mapping[tuple[str, str], str | None] = msgspec.field(default_factory=dict)
    """The environment files that a container names, by volume and path (:mod:`homeport.node.envfiles`)."""
    links: Mapping[str, str] = msgspec.field(default_factory=dict)
    """The variables of the namespace's services (:mod:`homeport.node.links`)."""
    node_name: str = ""
    host_ip: str = ""
    pod_ip: str = ""


_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['([^']*)'\]$")


def pod_field(path: str, sources: Sources) -> str:
    """The value of a ``fieldRef`` (environment or downwardAPI volume). Raises Unresolved for an unknown path."""
    pod = sources.pod
    if match := _SUBSCRIPT.match(path):
        values = meta.labels(pod) if match[1] == "labels" else meta.annotations(pod)
        return values.get(match[2], "")
    match path:
        case "metadata.name":
            return meta.name(pod)
        case "metadata.namespace":
            return meta.namespace(pod)
        case "metadata.uid":
            return meta.uid(pod)
        case "metadata.labels":
            return format_map(meta.labels(pod))
        case "metadata.annotations":
            return format_map(meta.annotations(pod))
        case "spec.nodeName":
            return sources.node_name
        case "spec.serviceAccountName":
            return str(meta.spec(pod).get("serviceAccountName") or "default")
        case "spec.restartPolicy":
            return str(meta.spec(pod).get("restartPolicy") or "Always")
        case "status.hostIP" | "status.hostIPs":
            return sources.host_ip
        case "status.podIP" | "status.podIPs":
            return sources.pod_ip
        case "status.phase":
            return str(meta.status(pod).get("phase") or "Pending")
    raise Unresolved(f"unsupported fieldPath: {path}")


def format_map(values: Mapping[str, str]) -> str:
    """Labels or annotations as the downward API writes them: ``key="value"`` lines, sorted, quoted as Go quotes."""
    return "\n".join(f"{key}={_quote(values[key])}" for key in sorted(values))


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\a": "\\a", "\b": "\\b", "\f": "\\f",
            "\v": "\\v"}  # fmt: skip


def _quote(text: str) -> str:
    body = "".join(_ESCAPES.get(c) or (c if c.isprintable() else f"\\u{ord(c):04x}") for c in text)
    return f'"{body}"'


def resource_field(selector: Mapping[str, Any], container: str, sources: Sources) -> str:
    """The value of a ``resourceFieldRef``: a limit or request divided by the divisor, rounded up.

    A limit that is not set is the node's allocatable amount; a request that is not set is the limit, else 0.
    """
    name = selector.get("containerName") or container
    spec = meta.spec(sources.pod)
    found = next(
        (c for c in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())) if c.get("name") == name),
        None,
    )
    if found is None:
        raise Unresolved(f"container {name} not found")
    path = str(selector.get("resource") or "")
    side, _, resource = path.partition(".")
    if side not in ("limits", "requests") or not resource:
        raise Unresolved(f"unsupported container resource : {path}")
    resources = found.get("resources") or {}
    of_pod = spec.get("resources") or {}
    value = (resources.get(side) or {}).get(resource)
    if value is None and side == "requests":
        value = (resources.get("limits") or {}).get(resource, "0")
    if value is None:
        # A container without a limit of its own has that of the pod as a whole, if there is one.
        value = (of_pod.get("limits") or {}).get(resource)
    if value is None:
        value = sources.allocatable.get(resource, "0")
    divisor = quantity.parse(str(selector.get("divisor") or "1")) or Decimal(1)
    amount = quantity.parse(str(value)) / divisor
    return str(int(amount.to_integral_value(ROUND_CEILING)))


def lookup(ref: Ref, key: str, optional: bool, sources: Sources) -> bytes | None:
    """One key of a config map or secret, decoded; None if it is optional and missing."""
    found = sources.objects.get(ref)
    if found is None:
        if optional:
            return None
        raise missing(ref)
    content = contents(found)
    if key in content:
        return content[key]
    if optional:
        return None
    raise Unresolved(f"couldn't find key {key} in {ref.kind} {meta.namespace(sources.pod)}/{ref.name}", ref)


def missing(ref: Ref) -> Unresolved:
    return Unresolved(f'{"configmap" if ref.kind == "ConfigMap" else "secret"} "{ref.name}" not found', ref)


def contents(obj: Object) -> dict[str, bytes]:
    """What a config map or secret holds, by key, decoded."""
    try:
        if obj.get("kind") == "Secret":
            return {key: base64.b64decode(value or "") for key, value in (obj.get("data") or {}).items()}
        texts = {key: (value or "").encode() for key, value in (obj.get("data") or {}).items()}
        binary = {key: base64.b64decode(value or "") for key, value in (obj.get("binaryData") or {}).items()}
    except (binascii.Error, ValueError) as error:
        raise Unresolved(f"{obj.get('kind')} {meta.name(obj)} holds a value that is not base64: {error}") from error
    return texts | binary


def container_refs(container: Mapping[str, Any]) -> Iterator[Ref]:
    """The config maps and secrets that a container's environment names."""
    for source in container.get("envFrom") or ():
        if named := source.get("configMapRef"):
            yield Ref("ConfigMap", named.get("name") or "")
        if named := source.get("secretRef"):
            yield Ref("Secret", named.get("name") or "")
    for variable in container.get("env") or ():
        origin = variable.get("valueFrom") or {}
        if named := origin.get("configMapKeyRef"):
            yield Ref("ConfigMap", named.get("name") or "")
        if named := origin.get("secretKeyRef"):
            yield Ref("Secret", named.get("name") or "")


def volume_refs(volume: Mapping[str, Any]) -> Iterator[Ref]:
    """The config maps and secrets that a volume shows."""
    if source := volume.get("configMap"):
        yield Ref("ConfigMap", source.get("name") or "")
    if source := volume.get("secret"):
        yield Ref("Secret", source.get("secretName") or "")
    for part in (volume.get("projected") or {}).get("sources") or ():
        if source := part.get("configMap"):
            yield Ref("ConfigMap", source.get("name") or "")
        if source := part.get("secret"):
            yield Ref("Secret", source.get("name") or "")
