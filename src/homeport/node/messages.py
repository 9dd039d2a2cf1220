"""Specs as they travel to the helpers, and states as they come back: plain JSON (:mod:`homeport.node.sandbox.spec`)."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any

from homeport.node.runtime import ContainerSpec, ContainerState, ImageRoot, Limits, Mount, SandboxSpec, Security
from homeport.node.sandbox import spec
from homeport.node.sandbox.layout import ENVIRONMENT


def state_from(value: Mapping[str, Any]) -> ContainerState:
    known = {key: field for key, field in value.items() if key in ContainerState.__dataclass_fields__}
    return ContainerState(**{**known, "ids": tuple(known.get("ids") or ())})


def fields(value: Limits | Security) -> dict[str, Any]:
    """As ``dataclasses.asdict``, which copies whatever it finds."""
    return {field: getattr(value, field) for field in value.__dataclass_fields__}


def pod_message(wanted: SandboxSpec) -> dict[str, Any]:
    """The spec as :func:`homeport.node.sandbox.spec.pod_from` reads it."""
    return {
        **{field: getattr(wanted, field) for field in spec.Pod._fields},
        "hosts": dict(wanted.hosts),
        "limits": fields(wanted.limits),
        "memory": [dataclasses.astuple(volume) for volume in wanted.memory],
        "sysctls": dict(wanted.sysctls),
    }


def _mounts(mounts: tuple[Mount, ...]) -> list[list[Any]]:
    return [_mount(mount) for mount in mounts]


def _mount(mount: Mount) -> list[Any]:
    entry: list[Any] = [mount.source, mount.target, mount.read_only, mount.sub_path, mount.device]
    if mount.image is not None or mount.follows:
        # Only then: a supervisor of before knows nothing of them.
        entry += [_tree(mount.image), mount.follows]
    return entry


def _tree(image: ImageRoot | None) -> list[Any] | None:
    """What an image has of its own, as :class:`homeport.node.sandbox.spec.ImageTree` has it."""
    if image is None:
        return None
    environment = [[image.environment, ENVIRONMENT]] if image.environment is not None else []
    return [list(image.layers), [*environment, *([file.source, file.target] for file in image.files)]]


def container_message(container: ContainerSpec) -> dict[str, Any]:
    """The spec as :func:`homeport.node.sandbox.spec.container_from` reads it."""
    image = container.image
    return {
        "name": container.name,
        "attempt": container.attempt,
        "argv": list(container.argv),
        "env": dict(container.env),
        "cwd": container.cwd,
        "environment": image.environment,
        "interpreter": image.interpreter,
        "files": _mounts(image.files),
        "image_layers": list(image.layers),
        "machine": image.machine,
        "mounts": _mounts(container.mounts),
        "log_path": container.log_path,
        "uid": container.uid,
        "gid": container.gid,
        "groups": list(container.groups),
        "user": container.user,
        "only_these_groups": container.only_these_groups,
        "security": {
            **fields(container.security),
            "capabilities": sorted(container.security.capabilities),
            "seccomp": base64.b64encode(container.security.seccomp).decode(),
        },
        "read_only_root": container.read_only_root,
        "termination_message_path": container.termination_message_path,
        "stdin": container.stdin,
        "stdin_once": container.stdin_once,
        "tty": container.tty,
        "keeps_writes": container.keeps_writes,
        "limits": fields(container.limits),
        "oom_score": container.oom_score,
        "devices": list(container.devices),
        "target": container.target,
        "warm": "",
        "log_bytes": container.log_bytes,
        "log_files": container.log_files,
    }
