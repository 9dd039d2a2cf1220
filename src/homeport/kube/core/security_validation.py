"""Rules about the security settings of pods and containers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from homeport.kube import field
from homeport.kube.core import rules
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_HIGHEST_ID = 2**31 - 1
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = f"({_SYSCTL_SEGMENT}[\\./])*{_SYSCTL_SEGMENT}"
"""As upstream writes it in its messages."""
_SYSCTL_LENGTH = 253
_IS_SYSCTL = re.compile(_SYSCTL)


def container_security(context: Object, path: str, *, host_users: bool) -> Iterator[FieldError]:
    """`host_users`: the pod is in no user namespace of its own."""
    yield from rules.in_range(f"{path}.runAsUser", context.get("runAsUser"), 0, _HIGHEST_ID)
    yield from rules.in_range(f"{path}.runAsGroup", context.get("runAsGroup"), 0, _HIGHEST_ID)
    yield from _seccomp(context.get("seccompProfile"), f"{path}.seccompProfile")
    if context.get("procMount") == "Unmasked" and host_users:
        yield field.invalid(f"{path}.procMount", "Unmasked", "`hostUsers` must be false to use `Unmasked`")
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            words = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            yield field.invalid(path, context, words)
        if "SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            words = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield field.invalid(path, context, words)


def pod_security(spec: Object, path: str) -> Iterator[FieldError]:
    """Of ``spec.securityContext`` and what it has to fit with."""
    if spec.get("hostPID") and spec.get("shareProcessNamespace"):
        words = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield field.invalid(f"{path}.shareProcessNamespace", spec["shareProcessNamespace"], words)
    context = spec.get("securityContext")
    if not context:
        return
    at = f"{path}.securityContext"
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        yield from rules.in_range(f"{at}.{name}", context.get(name), 0, _HIGHEST_ID)
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        yield from rules.in_range(f"{at}.supplementalGroups[{index}]", group, 0, _HIGHEST_ID)
    yield from _seccomp(context.get("seccompProfile"), f"{at}.seccompProfile")
    yield from _sysctls(context.get("sysctls") or [], f"{at}.sysctls")


def _sysctls(sysctls: list[Object], path: str) -> Iterator[FieldError]:
    seen = set()
    for index, entry in enumerate(sysctls):
        name = str(entry.get("name") or "")
        at = f"{path}[{index}].name"
        if not name:
            yield field.required(at)
        elif len(name) > _SYSCTL_LENGTH or not _IS_SYSCTL.fullmatch(name):
            yield field.invalid(at, name, f"must have at most {_SYSCTL_LENGTH} characters and match regex ^{_SYSCTL}$")
        elif name in seen:
            yield field.duplicate(at, name)
        seen.add(name)


def _seccomp(profile: Object | None, path: str) -> Iterator[FieldError]:
    if not profile:
        return
    at, file = f"{path}.localhostProfile", profile.get("localhostProfile")
    if profile.get("type") == "Localhost":
        if not file:
            yield field.required(at, "must be set when seccomp type is Localhost")
        elif file.startswith("/"):
            yield field.invalid(at, file, "must be a relative path")
        elif ".." in file.split("/"):
            yield field.invalid(at, file, "must not contain '..'")
    elif file is not None:
        yield field.invalid(at, profile, "can only be set when seccomp type is Localhost")
