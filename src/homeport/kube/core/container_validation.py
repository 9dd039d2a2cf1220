"""Rules of containers (upstream: ``pkg/apis/core/validation``), without those that need the pod's other containers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from homeport.kube import field, names
from homeport.kube.core import rules
from homeport.kube.core.resource_validation import validate_resources
from homeport.kube.core.security_validation import container_security
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_RESOURCE_FIELDS = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_HUGE_PAGE_FIELDS = ("limits.hugepages-", "requests.hugepages-")
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_HOOKS = frozenset({"lifecycle", "livenessProbe", "readinessProbe", "startupProbe"})


class PodFacts(msgspec.Struct, frozen=True):
    """What a container's rules have to know of its pod."""

    volumes: Mapping[str, Object] = {}
    host_users: bool = True
    claims: frozenset[str] = frozenset()
    grace_period: int | None = None
    restart_policy: str | None = None


def validate_container(container: Object, path: str, pod: PodFacts) -> Iterator[FieldError]:
    """Rules for containers of every sort."""
    yield from rules.needed(f"{path}.name", container.get("name"), names.dns1123_label)
    if not container.get("image"):
        yield field.required(f"{path}.image")
    if container.get("ports"):
        yield from rules.remembered(_ports, container["ports"], f"{path}.ports")
    if container.get("env"):
        yield from _env(container["env"], f"{path}.env")
    if container.get("envFrom"):
        yield from _env_from(container["envFrom"], f"{path}.envFrom")
    if container.get("volumeMounts"):
        yield from _volume_mounts(container, f"{path}.volumeMounts", pod)
    if container.get("volumeDevices"):
        yield from _volume_devices(container, f"{path}.volumeDevices", pod)
    if container.get("resources"):
        yield from _resources(container["resources"], f"{path}.resources", pod)
    if container.get("resizePolicy"):
        yield from _resize_policy(container, f"{path}.resizePolicy", pod)
    if container.get("securityContext"):
        yield from container_security(
            container["securityContext"], f"{path}.securityContext", host_users=pod.host_users
        )


def _resources(resources: Object, path: str, pod: PodFacts) -> Iterable[FieldError]:
    if resources.get("claims"):
        return validate_resources(resources, path, set(pod.claims))
    return rules.remembered(validate_resources, resources, path)


def validate_hooks(container: Object, path: str, pod: PodFacts) -> Iterator[FieldError]:
    """Lifecycle and probes, of containers that may have them."""
    if _HOOKS.isdisjoint(container):
        return
    lifecycle = container.get("lifecycle") or {}
    for name in ("postStart", "preStop"):
        if lifecycle.get(name) is not None:
            yield from _handler(lifecycle[name], f"{path}.lifecycle.{name}", pod)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is not None:
            yield from _probe(probe, f"{path}.{name}", pod)
            if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
                yield field.invalid(f"{path}.{name}.successThreshold", probe["successThreshold"], "must be 1")
            if name == "readinessProbe" and probe.get("terminationGracePeriodSeconds") is not None:
                at = f"{path}.{name}.terminationGracePeriodSeconds"
                yield field.invalid(at, probe["terminationGracePeriodSeconds"], "must not be set for readinessProbes")


def _ports(ports: list[Object], path: str) -> Iterator[FieldError]:
    seen = set()
    for index, port in enumerate(ports):
        at = f"{path}[{index}]"
        name = port.get("name")
        if name:
            wrong = list(rules.checked(f"{at}.name", name, names.port_name))
            yield from wrong
            if not wrong and name in seen:
                yield field.duplicate(f"{at}.name", name)
            seen.add(name)
        if not port.get("containerPort"):
            yield field.required(f"{at}.containerPort")
        else:
            yield from rules.port(f"{at}.containerPort", port["containerPort"])
        if port.get("hostPort"):
            yield from rules.port(f"{at}.hostPort", port["hostPort"])


_MOST_VARIABLES = 1024
_LONGEST_VARIABLE = 256
_variables: set[str] = set()
"""Names of variables that were found to be right: all replicas of a job have the same ones."""


def _env(variables: list[Object], path: str) -> Iterator[FieldError]:
    for index, variable in enumerate(variables):
        name, source = variable.get("name"), variable.get("valueFrom")
        if source is None and name in _variables:
            continue
        if name and source is None and rules.follows(name, names.env_name):
            if len(name) <= _LONGEST_VARIABLE:
                if len(_variables) >= _MOST_VARIABLES:
                    _variables.clear()
                _variables.add(name)
            continue
        at = f"{path}[{index}]"
        yield from rules.needed(f"{at}.name", name, names.env_name)
        if source is not None:
            yield from _env_source(variable, source, f"{at}.valueFrom")


def _env_source(variable: Object, source: Object, path: str) -> Iterator[FieldError]:
    kinds = [kind for kind in _ENV_SOURCES if source.get(kind) is not None]
    for kind in kinds:
        at = f"{path}.{kind}"
        if kind == "fieldRef":
            yield from validate_field_ref(source[kind], at, _ENV_FIELDS)
        elif kind == "resourceFieldRef":
            yield from validate_resource_ref(source[kind], at)
        elif kind == "fileKeyRef":
            yield from _file_key(source[kind], at)
        else:
            yield from rules.checked(f"{at}.name", source[kind].get("name", ""), names.dns1123_subdomain)
            yield from rules.needed(f"{at}.key", source[kind].get("key"), names.config_key)
    if not kinds:
        words = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        yield field.invalid(path, "", words)
    elif variable.get("value"):
        yield field.invalid(path, "", "may not be specified when `value` is not empty")
    elif len(kinds) > 1:
        yield field.invalid(path, "", "may not have more than one field specified at a time")


def _file_key(selector: Object, path: str) -> Iterator[FieldError]:
    """A variable in a file of a volume."""
    yield from rules.needed(f"{path}.key", selector.get("key"), names.env_name)
    yield from rules.needed(f"{path}.volumeName", selector.get("volumeName"), names.dns1123_label)
    file = selector.get("path")
    if not file:
        yield field.required(f"{path}.path")
    elif file.startswith("/"):
        yield field.invalid(f"{path}.path", file, "must be a relative path")
    elif ".." in file.split("/"):
        yield field.invalid(f"{path}.path", file, "must not contain '..'")
    elif file.startswith(".."):
        yield field.invalid(f"{path}.path", file, "must not start with '..'")


def _env_from(sources: list[Object], path: str) -> Iterator[FieldError]:
    for index, source in enumerate(sources):
        at = f"{path}[{index}]"
        if source.get("prefix"):
            yield from rules.checked(f"{at}.prefix", source["prefix"], names.env_name)
        kinds = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
        for kind in kinds:
            yield from rules.needed(f"{at}.{kind}.name", source[kind].get("name"), names.dns1123_subdomain)
        if not kinds:
            yield field.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(kinds) > 1:
            yield field.invalid(path, "", "may not have more than one field specified at a time")


def validate_field_ref(selector: Object, path: str, allowed: tuple[str, ...]) -> Iterator[FieldError]:
    """A field of the pod, such as ``metadata.name`` or ``metadata.labels['app']``."""
    value = selector.get("fieldPath")
    if not value:
        yield field.required(f"{path}.fieldPath")
        return
    if selector.get("apiVersion", "v1") != "v1":
        words = f"error converting fieldPath: unsupported pod version: {selector['apiVersion']}"
        yield field.invalid(f"{path}.fieldPath", value, words)
        return
    name, bracket, rest = value.partition("['")
    if bracket and rest.endswith("']"):
        if name not in ("metadata.annotations", "metadata.labels"):
            yield field.invalid(path, name, "does not support subscript")
            return
        key = rest.removesuffix("']")
        yield from rules.checked(path, key.lower() if name == "metadata.annotations" else key, names.qualified_name)
    elif value not in allowed:
        yield field.not_supported(f"{path}.fieldPath", value, sorted(allowed))


def validate_resource_ref(selector: Object, path: str, *, in_volume: bool = False) -> Iterator[FieldError]:
    """An amount of a container's resources, such as ``limits.cpu``."""
    resource = selector.get("resource")
    if in_volume and not selector.get("containerName"):
        yield field.required(f"{path}.containerName")
    elif not resource:
        yield field.required(f"{path}.resource")
    elif resource not in _RESOURCE_FIELDS and not resource.startswith(_HUGE_PAGE_FIELDS):
        yield field.not_supported(f"{path}.resource", resource, _RESOURCE_FIELDS)


def _volume_mounts(container: Object, path: str, pod: PodFacts) -> Iterator[FieldError]:
    devices = container.get("volumeDevices") or ()
    device_names = {device.get("name") for device in devices}
    device_paths = {device.get("devicePath") for device in devices}
    seen = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        name, target = mount.get("name"), mount.get("mountPath")
        if name in pod.volumes and target and target not in seen and not devices and _PARTICULAR.isdisjoint(mount):
            seen.add(target)
            continue
        at = f"{path}[{index}]"
        if not name:
            yield field.required(f"{at}.name")
        if name not in pod.volumes:
            yield field.not_found(f"{at}.name", name or "")
        if not target:
            yield field.required(f"{at}.mountPath")
        if target in seen:
            yield field.invalid(f"{at}.mountPath", target, "must be unique")
        seen.add(target)
        if name in device_names:
            yield field.invalid(f"{at}.name", name, "must not already exist in volumeDevices")
        if target in device_paths:
            yield field.invalid(f"{at}.mountPath", target, "must not already exist as a path in volumeDevices")
        yield from _sub_paths(mount, at)
        yield from _mounts_below(container, mount, at)


_PARTICULAR = frozenset({"subPath", "subPathExpr", "mountPropagation", "recursiveReadOnly"})
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")


def _mounts_below(container: Object, mount: Object, path: str) -> Iterator[FieldError]:
    """What becomes of mounts in a volume."""
    propagation, recursive = mount.get("mountPropagation"), mount.get("recursiveReadOnly")
    if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        words = "Bidirectional mount propagation is available only to privileged containers"
        yield field.forbidden(f"{path}.mountPropagation", words)
    at = f"{path}.recursiveReadOnly"
    if recursive is not None and recursive not in _RECURSIVE:
        yield field.not_supported(at, recursive, _RECURSIVE)
    elif recursive in ("Enabled", "IfPossible"):
        if not mount.get("readOnly"):
            yield field.forbidden(at, "may only be specified when readOnly is true")
        if propagation not in (None, "None"):
            yield field.forbidden(at, "may only be specified when mountPropagation is None or not specified")


def _sub_paths(mount: Object, path: str) -> Iterator[FieldError]:
    for name in ("subPath", "subPathExpr"):
        value = mount.get(name)
        if not value:
            continue
        if value.startswith("/"):
            yield field.invalid(f"{path}.{name}", value, "must be a relative path")
        if ".." in value.split("/"):
            yield field.invalid(f"{path}.{name}", value, "must not contain '..'")
    if mount.get("subPath") and mount.get("subPathExpr"):
        words = "subPathExpr and subPath are mutually exclusive"
        yield field.invalid(f"{path}.subPathExpr", mount["subPathExpr"], words)


def _volume_devices(container: Object, path: str, pod: PodFacts) -> Iterator[FieldError]:
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    for index, device in enumerate(container.get("volumeDevices") or ()):
        at = f"{path}[{index}]"
        name, target = device.get("name", ""), device.get("devicePath", "")
        volume = pod.volumes.get(name)
        if not name:
            yield field.required(f"{at}.name")
        if name in seen_names:
            yield field.invalid(f"{at}.name", name, "must be unique")
        if volume is None:
            yield field.not_found(f"{at}.name", name)
        elif "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
            words = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield field.invalid(f"{at}.name", name, words)
        if not target:
            yield field.required(f"{at}.devicePath")
        if target in seen_paths:
            yield field.invalid(f"{at}.devicePath", target, "must be unique")
        if ".." in target.split("/"):
            yield field.invalid(f"{at}.devicePath", target, "can not contain backsteps ('..')")
        seen_names.add(name)
        seen_paths.add(target)


def _resize_policy(container: Object, path: str, pod: PodFacts) -> Iterator[FieldError]:
    seen = set()
    for index, policy in enumerate(container.get("resizePolicy") or ()):
        resource, restart = policy.get("resourceName"), policy.get("restartPolicy")
        if resource in seen:
            yield field.duplicate(f"{path}[{index}]", resource)
        seen.add(resource)
        if resource not in ("cpu", "memory"):
            yield field.not_supported(path, resource, ("cpu", "memory"))
        if restart not in ("NotRequired", "RestartContainer"):
            yield field.not_supported(path, restart, ("NotRequired", "RestartContainer"))
        elif pod.restart_policy == "Never" and restart != "NotRequired":
            yield field.invalid(path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'")


def _probe(probe: Object, path: str, pod: PodFacts) -> Iterator[FieldError]:
    yield from _handler(probe, path, pod)
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        yield from rules.not_negative(f"{path}.{name}", probe.get(name))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        yield field.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0")


def _handler(handler: Object, path: str, pod: PodFacts) -> Iterator[FieldError]:
    kinds = [kind for kind in _HANDLERS if handler.get(kind) is not None]
    if not kinds:
        yield field.required(path, "must specify a handler type")
        return
    for extra in kinds[1:]:
        yield field.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    kind = kinds[0]
    action, at = handler[kind], f"{path}.{kind}"
    if kind == "exec":
        if not action.get("command"):
            yield field.required(f"{at}.command")
    elif kind == "sleep":
        grace, seconds = pod.grace_period, action.get("seconds", 0)
        if grace is not None and not 0 <= seconds <= grace:
            words = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
            yield field.invalid(at, seconds, words)
    else:
        yield from rules.port(f"{at}.port", action["port"])
        for header in action.get("httpHeaders") or ():
            yield from rules.checked(f"{at}.httpHeaders", header.get("name", ""), names.http_header_name)
