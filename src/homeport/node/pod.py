"""What the agent reads in a pod's spec: its containers in their roles, its grace period, its class. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from homeport.kube import meta
from homeport.kube.core.pod_defaults import qos_class as qos_class_of
from homeport.kube.meta import Object

TERMINAL = frozenset({"Succeeded", "Failed"})
_REALTIME = re.compile(r"^SIGRT(MIN|MAX)(?:[+-](\d+))?$")


class Role(Enum):
    INIT = "init"
    """Runs once, to its end, before the next."""
    SIDECAR = "sidecar"
    """An init container with ``restartPolicy: Always``: started in order, runs as long as the pod."""
    MAIN = "main"
    EPHEMERAL = "ephemeral"
    """Added to a pod that lives (``kubectl debug``): runs once, whatever the others do, and is no part of the pod's
    conditions and phase."""


ORDERED = frozenset({Role.INIT, Role.SIDECAR})
"""The roles of the containers in ``spec.initContainers``."""


class Member(msgspec.Struct, frozen=True):
    """One container of a pod. `spec` is its part of the manifest."""

    name: str
    role: Role
    spec: Mapping[str, Any]

    @property
    def image(self) -> str:
        return str(self.spec.get("image") or "")

    @property
    def pull_policy(self) -> str:
        return str(self.spec.get("imagePullPolicy") or "IfNotPresent")

    def hook(self, kind: str) -> Mapping[str, Any]:
        """What is to be done at ``postStart`` or ``preStop``; empty for nothing."""
        return (self.spec.get("lifecycle") or {}).get(kind) or {}

    def has_probe(self, field: str) -> bool:
        """Whether there is a ``startupProbe``, ``readinessProbe`` or ``livenessProbe`` that somebody carries out."""
        return bool(self.spec.get(field)) and self.role in (Role.MAIN, Role.SIDECAR)


def members(pod: Object) -> tuple[Member, ...]:
    """Init containers and sidecars in their order, then the main containers in theirs, then the ephemeral ones."""
    spec = meta.spec(pod)
    return (
        *(
            Member(c["name"], Role.SIDECAR if c.get("restartPolicy") == "Always" else Role.INIT, c)
            for c in spec.get("initContainers") or ()
        ),
        *(Member(c["name"], Role.MAIN, c) for c in spec.get("containers") or ()),
        *(Member(c["name"], Role.EPHEMERAL, c) for c in spec.get("ephemeralContainers") or ()),
    )


class ImageVolume(msgspec.Struct, frozen=True):
    """A volume that shows what is in an image."""

    image: str
    pull_policy: str


def image_volumes(pod: Object) -> dict[str, ImageVolume]:
    """By the volumes' names."""
    return {
        volume["name"]: ImageVolume(str(source.get("reference") or ""), str(source.get("pullPolicy") or "IfNotPresent"))
        for volume in meta.spec(pod).get("volumes") or ()
        if (source := volume.get("image")) is not None
    }


def images_of(pod: Object, member: Member) -> dict[str, str]:
    """The images that a container needs, its own first, and by which policy."""
    found = {member.image: member.pull_policy}
    if shown := image_volumes(pod):
        for mount in member.spec.get("volumeMounts") or ():
            if (volume := shown.get(mount.get("name"))) is not None:
                found.setdefault(volume.image, volume.pull_policy)
    return found


def restart_policy(pod: Object) -> str:
    return str(meta.spec(pod).get("restartPolicy") or "Always")


def grace_seconds(pod: Object) -> float:
    """Seconds between SIGTERM and SIGKILL: as the deletion asks, else as the spec says, else 30."""
    for value in (
        meta.metadata(pod).get("deletionGracePeriodSeconds"),
        meta.spec(pod).get("terminationGracePeriodSeconds"),
    ):
        if value is not None:
            return max(float(value), 0.0)
    return 30.0


def stop_signal(member: Member) -> int:
    """The signal that asks the container to end: ``lifecycle.stopSignal``, else SIGTERM."""
    return signal_number(str((member.spec.get("lifecycle") or {}).get("stopSignal") or "SIGTERM"))


def signal_number(name: str) -> int:
    """By its name or, as images may have it, its number; SIGTERM for what is none."""
    if name.isdecimal():
        return int(name) if 0 < int(name) <= signal.SIGRTMAX else signal.SIGTERM
    if base := _REALTIME.match(name):
        offset = int(base[2] or 0)
        return signal.SIGRTMIN + offset if base[1] == "MIN" else signal.SIGRTMAX - offset
    found: int = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", signal.SIGTERM)
    return found


def restarts_by_rule(member: Member, exit_code: int) -> bool:
    """Whether one of ``restartPolicyRules``, which go before the restart policy, starts the container again."""
    for rule in member.spec.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        is_listed = exit_code in (codes.get("values") or ())
        if rule.get("action") == "Restart" and is_listed == (codes.get("operator") != "NotIn"):
            return True
    return False


def full_name(pod: Object) -> str:
    """``name_namespace(uid)``, as the kubelet names a pod in messages."""
    return f"{meta.name(pod)}_{meta.namespace(pod)}({meta.uid(pod)})"


def qos_class(pod: Object) -> str:
    """``Guaranteed``, ``Burstable`` or ``BestEffort``, as the API server had it when the pod was made."""
    return qos_class_of(meta.spec(pod))
