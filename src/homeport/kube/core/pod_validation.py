"""Rules of pods and pod templates that a schema can't express (upstream: ``pkg/apis/core/validation``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from homeport.kube import field, names
from homeport.kube.core import rules
from homeport.kube.core.container_validation import PodFacts, validate_container, validate_hooks
from homeport.kube.core.placement_validation import validate_placement
from homeport.kube.core.resource_validation import validate_pod_resources
from homeport.kube.core.security_validation import pod_security
from homeport.kube.core.volume_validation import validate_volumes
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_MAX_DEADLINE = 2**31 - 1
_NAMESERVERS = 3
_SEARCHES = 32
_SEARCH_CHARACTERS = 2048
_INIT_ONLY_ALWAYS = "may not be set for init containers without restartPolicy=Always"
_NOT_EPHEMERAL = "cannot be set for an Ephemeral Container"
_EPHEMERAL_FORBIDDEN = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy")
_UPDATE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_pod(new: Object, old: Object | None) -> Iterator[FieldError]:
    """Errors of a pod that is created, or changed from `old`."""
    spec = new.get("spec") or {}
    if old is None:
        if spec.get("ephemeralContainers"):
            yield field.forbidden("spec.ephemeralContainers", "cannot be set on create")
        yield from validate_pod_spec(spec, "spec")
        yield from _image_volumes(spec)
        return
    before = old.get("spec") or {}
    if spec == before:
        return  # a change of metadata or status: what is stored already is not judged again
    yield from validate_pod_spec(spec, "spec")
    yield from _update(spec, before)


def validate_pod_template(new: Object, old: Object | None) -> Iterator[FieldError]:
    """Errors of a ``PodTemplate`` object."""
    return validate_template(new.get("template") or {}, "template")


def validate_template(template: Object, path: str) -> Iterator[FieldError]:
    """Errors of the pod template at `path` of some object; defaults need not be set."""
    metadata = template.get("metadata") or {}
    yield from rules.labels(f"{path}.metadata.labels", metadata.get("labels"))
    for key in metadata.get("annotations") or ():
        yield from rules.checked(f"{path}.metadata.annotations", key.lower(), names.qualified_name)
    spec = template.get("spec") or {}
    yield from validate_pod_spec(spec, f"{path}.spec")
    if spec.get("ephemeralContainers"):
        words = "ephemeral containers not allowed in pod template"
        yield field.forbidden(f"{path}.spec.ephemeralContainers", words)


def validate_pod_spec(spec: Object, path: str) -> Iterator[FieldError]:
    """Errors of the pod spec at `path`."""
    volumes = spec.get("volumes") or []
    pod = PodFacts(
        volumes={volume["name"]: volume for volume in volumes if volume.get("name")},
        claims=frozenset(claim["name"] for claim in spec.get("resourceClaims") or () if claim.get("name")),
        grace_period=spec.get("terminationGracePeriodSeconds"),
        restart_policy=spec.get("restartPolicy"),
        host_users=spec.get("hostUsers") is not False,
    )
    yield from validate_volumes(volumes, f"{path}.volumes")
    yield from _containers(spec.get("containers") or [], f"{path}.containers", pod)
    if spec.get("initContainers"):
        yield from _init_containers(spec, f"{path}.initContainers", pod)
    if spec.get("ephemeralContainers"):
        yield from _ephemeral_containers(spec, f"{path}.ephemeralContainers", pod)
    yield from _names(spec, path)
    if spec.get("resources"):
        yield from validate_pod_resources(spec, f"{path}.resources")
    if spec.get("resourceClaims"):
        yield from _claims(spec["resourceClaims"], f"{path}.resourceClaims")
    if spec.get("nodeSelector"):
        yield from rules.labels(f"{path}.nodeSelector", spec["nodeSelector"])
    yield from rules.in_range(f"{path}.activeDeadlineSeconds", spec.get("activeDeadlineSeconds"), 1, _MAX_DEADLINE)
    yield from pod_security(spec, path)
    yield from _dns(spec, path)
    if spec.get("hostAliases"):
        yield from _host_aliases(spec["hostAliases"], f"{path}.hostAliases")
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        at = f"{path}.readinessGates[{index}].conditionType"
        yield from rules.checked(at, gate.get("conditionType", ""), names.qualified_name)
    yield from validate_placement(spec, path)


def _containers(containers: list[Object], path: str, pod: PodFacts) -> Iterator[FieldError]:
    if not containers:
        yield field.required(path)
        return
    for index, container in enumerate(containers):
        at = f"{path}[{index}]"
        yield from validate_container(container, at, pod)
        yield from validate_hooks(container, at, pod)
    yield from rules.distinct(path, containers)
    yield from _host_ports(containers, path)


def _init_containers(spec: Object, path: str, pod: PodFacts) -> Iterator[FieldError]:
    taken = {container.get("name") for container in spec.get("containers") or ()}
    for index, container in enumerate(spec.get("initContainers") or ()):
        at = f"{path}[{index}]"
        yield from validate_container(container, at, pod)
        policy = container.get("restartPolicy")
        if policy not in (None, "Always", "Never", "OnFailure"):
            yield field.not_supported(f"{at}.restartPolicy", policy, ("Always", "Never", "OnFailure"))
        name = container.get("name")
        if name in taken:
            yield field.duplicate(f"{at}.name", name)
        elif name:
            taken.add(name)
        yield from _host_ports([container], path)
        if policy == "Always":
            yield from validate_hooks(container, at, pod)
            continue
        for hook in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if container.get(hook) is not None:
                yield field.forbidden(f"{at}.{hook}", _INIT_ONLY_ALWAYS)


def _ephemeral_containers(spec: Object, path: str, pod: PodFacts) -> Iterator[FieldError]:
    others = {c.get("name") for kind in ("containers", "initContainers") for c in spec.get(kind) or ()}
    taken = set(others)
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        at = f"{path}[{index}]"
        yield from validate_container(container, at, pod)
        name, target = container.get("name"), container.get("targetContainerName")
        if name in taken:
            yield field.duplicate(f"{at}.name", name)
        taken.add(name)
        if target and target not in others:
            yield field.not_found(f"{at}.targetContainerName", target)
        for forbidden in _EPHEMERAL_FORBIDDEN:
            if container.get(forbidden):
                yield field.forbidden(f"{at}.{forbidden}", _NOT_EPHEMERAL)
        if any((container.get("resources") or {}).values()):
            yield field.forbidden(f"{at}.resources", _NOT_EPHEMERAL)


def _host_ports(containers: Iterable[Object], path: str) -> Iterator[FieldError]:
    seen = set()
    for index, container in enumerate(containers):
        for place, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            text = f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if text in seen:
                yield field.duplicate(f"{path}[{index}].ports[{place}].hostPort", text)
            seen.add(text)


_NAMES = (
    ("serviceAccountName", names.dns1123_subdomain),
    ("nodeName", names.dns1123_subdomain),
    ("priorityClassName", names.dns1123_subdomain),
    ("runtimeClassName", names.dns1123_subdomain),
    ("hostname", names.dns1123_label),
    ("subdomain", names.dns1123_label),
    ("schedulerName", names.qualified_name),
)


def _names(spec: Object, path: str) -> Iterator[FieldError]:
    for name, rule in _NAMES:
        value = spec.get(name)
        if value and not rules.follows(value, rule):
            yield from rules.checked(f"{path}.{name}", value, rule)


def _claims(claims: list[Object], path: str) -> Iterator[FieldError]:
    for index, claim in enumerate(claims):
        at = f"{path}[{index}]"
        yield from rules.needed(f"{at}.name", claim.get("name"), names.dns1123_label)
        sources = [claim[name] for name in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(name)]
        if not sources:
            words = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            yield field.invalid(at, claim, words)
        elif len(sources) > 1:
            words = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            yield field.invalid(at, claim, words)
    yield from rules.distinct(path, claims)


def _dns(spec: Object, path: str) -> Iterator[FieldError]:
    config = spec.get("dnsConfig")
    if not config and spec.get("dnsPolicy") != "None":
        return
    at = f"{path}.dnsConfig"
    if spec.get("dnsPolicy") == "None":
        if config is None:
            yield field.required(at, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.get("nameservers"):
            words = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield field.required(f"{at}.nameservers", words)
            return
    if not config:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > _NAMESERVERS:
        yield field.invalid(f"{at}.nameservers", servers, f"must not have more than {_NAMESERVERS} nameservers")
    for index, server in enumerate(servers):
        yield from rules.ip_address(f"{at}.nameservers[{index}]", server)
    if len(searches) > _SEARCHES:
        yield field.invalid(f"{at}.searches", searches, f"must not have more than {_SEARCHES} search paths")
    if len(" ".join(searches)) > _SEARCH_CHARACTERS:
        words = f"must not have more than {_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        yield field.invalid(f"{at}.searches", searches, words)
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            yield field.required(f"{at}.options[{index}]", "must not be empty")


def _host_aliases(aliases: list[Object], path: str) -> Iterator[FieldError]:
    for index, alias in enumerate(aliases):
        yield from rules.ip_address(f"{path}[{index}].ip", alias.get("ip", ""))
        for hostname in alias.get("hostnames") or ():
            yield from rules.checked(f"{path}[{index}].hostnames", hostname, names.dns1123_subdomain)


def _image_volumes(spec: Object) -> Iterator[FieldError]:
    """Of a pod; in a template the reference may be missing, for somebody else to fill in."""
    for index, volume in enumerate(spec.get("volumes") or ()):
        if volume.get("image") is not None and not volume["image"].get("reference"):
            yield field.required(f"spec.volumes[{index}].image.reference")


def _update(spec: Object, before: Object) -> Iterator[FieldError]:
    """What of a stored pod may change: images, a deadline, further tolerations, fewer scheduling gates; and its node,
    once."""
    for kind in ("containers", "initContainers"):
        new, old = spec.get(kind) or (), before.get(kind) or ()
        if len(new) != len(old):
            yield field.forbidden(f"spec.{kind}", "pod updates may not add or remove containers")
            return
        for index, container in enumerate(new):
            if not container.get("image"):
                yield field.required(f"spec.{kind}[{index}].image")
    deadline, former = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if deadline is None and former is not None:
        yield field.invalid(
            "spec.activeDeadlineSeconds", deadline, "must not update from a positive integer to nil value"
        )
    elif deadline is not None and former is not None and deadline > former:
        words = "must be less than or equal to previous value"
        yield field.invalid("spec.activeDeadlineSeconds", deadline, words)
    kept = spec.get("tolerations") or []
    for toleration in before.get("tolerations") or ():
        if not any(_same_toleration(toleration, other) for other in kept):
            words = "existing toleration can not be modified except its tolerationSeconds"
            yield field.forbidden("spec.tolerations", words)
            break
    gates = [gate.get("name") for gate in before.get("schedulingGates") or ()]
    if any(gate.get("name") not in gates for gate in spec.get("schedulingGates") or ()):
        yield field.forbidden("spec.schedulingGates", "only deletion is allowed, but found new scheduling gates")
    changed = _changed(spec, before)
    if changed:
        yield field.forbidden("spec", f"{_UPDATE}\nchanged: {', '.join(changed)}")


def _same_toleration(one: Object, other: Object) -> bool:
    names_of = (one.keys() | other.keys()) - {"tolerationSeconds"}
    return all(one.get(name) == other.get(name) for name in names_of)


_FREE = frozenset({"activeDeadlineSeconds", "tolerations", "schedulingGates"})


def _changed(spec: Object, before: Object) -> list[str]:
    """Paths of the fields that differ and may not."""
    found = []
    for name in sorted(spec.keys() | before.keys()):
        new, old = spec.get(name), before.get(name)
        if new == old or name in _FREE:
            continue
        if name in ("containers", "initContainers"):
            for index, (one, other) in enumerate(zip(new or (), old or (), strict=True)):
                found += [
                    f"spec.{name}[{index}].{part}"
                    for part in sorted(one.keys() | other.keys())
                    if part != "image" and one.get(part) != other.get(part)
                ]
        elif not _may_change(name, new, old):
            found.append(f"spec.{name}")
    return found


def _may_change(name: str, new: Any, old: Any) -> bool:
    if name == "nodeName":
        return not old  # the pod is being bound
    if name == "terminationGracePeriodSeconds":
        return bool(new == 1 and old is not None and old < 0)
    return False
