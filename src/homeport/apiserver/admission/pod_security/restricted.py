"""What pods may not do at the level ``restricted``: all but what hardened pods need. Pure.

Checks and words are upstream's (``pod-security-admission/policy``).
"""

from __future__ import annotations

from homeport.apiserver.admission.pod_security import baseline
from homeport.apiserver.admission.pod_security.pod import (
    Pod,
    Violation,
    added_capabilities,
    containers,
    plural,
    quoted,
    setters,
)


def escalation(pod: Pod) -> Violation | None:
    names = [name for name, context in pod.contexts() if context.get("allowPrivilegeEscalation") is not False]
    words = f"{containers(names)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", words) if names else None


def few_capabilities(pod: Pod) -> Violation | None:
    keeping = [
        name for name, context in pod.contexts() if "ALL" not in ((context.get("capabilities") or {}).get("drop") or ())
    ]
    adding, added = added_capabilities(pod, ("NET_BIND_SERVICE",))
    words = []
    if keeping:
        words.append(f'{containers(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        more = quoted(added)
        words.append(f"{containers(adding)} must not include {more} in securityContext.capabilities.add")
    return Violation("unrestricted capabilities", "; ".join(words)) if words else None


_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)


def volumes(pod: Pod) -> Violation | None:
    names, types = [], set()
    for volume in pod.spec.get("volumes") or ():
        sources = {key for key, value in volume.items() if key != "name" and value is not None}
        if not sources & _VOLUMES:
            names.append(str(volume.get("name")))
            types.add(min(sources, default="unknown"))
    if not names:
        return None
    words = (
        f"{plural('volume', 'volumes', names)} {quoted(names)} {plural('uses', 'use', names)} "
        f"{plural('restricted volume type', 'restricted volume types', types)} {quoted(sorted(types))}"
    )
    return Violation("restricted volume types", words)


def non_root(pod: Pod) -> Violation | None:
    reason = "runAsNonRoot != true"
    pod_too, names = pod.of_all(lambda context: context.get("runAsNonRoot") is False)
    if pod_too or names:
        return Violation(reason, f"{setters(pod_too, names)} must not set securityContext.runAsNonRoot=false")
    if pod.context.get("runAsNonRoot"):
        return None
    names = [name for name, context in pod.contexts() if context.get("runAsNonRoot") is None]
    words = f"pod or {containers(names)} must set securityContext.runAsNonRoot=true"
    return Violation(reason, words) if names else None


def not_user_0(pod: Pod) -> Violation | None:
    pod_too, names = pod.of_all(lambda context: context.get("runAsUser") == 0)
    return Violation("runAsUser=0", f"{setters(pod_too, names)} must not set runAsUser=0") if pod_too or names else None


def seccomp_set(pod: Pod) -> Violation | None:
    wrong = baseline.seccomp(pod)
    if wrong is not None or pod.context.get("seccompProfile") is not None:
        return wrong
    names = [name for name, context in pod.contexts() if context.get("seccompProfile") is None]
    words = (
        f'pod or {containers(names)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    )
    return Violation("seccompProfile", words) if names else None
