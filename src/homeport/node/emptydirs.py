"""The pod's own empty directories: which of them are memory, how large, and what they may hold on the disk.

The rules are the kubelet's (``pkg/volume/emptydir``, feature SizeMemoryBackedVolumes).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from homeport.kube import meta, quantity
from homeport.kube.errors import HomeportError
from homeport.kube.meta import Object
from homeport.node.resources import pod_limits
from homeport.node.runtime import MemoryVolume


def empty_dirs(pod: Object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(name, source) of each."""
    for volume in meta.spec(pod).get("volumes") or ():
        if volume.get("emptyDir") is not None:
            yield volume["name"], volume["emptyDir"]


def is_memory(source: Mapping[str, Any]) -> bool:
    return source.get("medium") == "Memory"


def size_limit(source: Mapping[str, Any]) -> int:
    """Bytes; 0: none."""
    return quantity.whole(source.get("sizeLimit") or 0)


def memory_volumes(pod: Object, directory: Path, available: int) -> tuple[MemoryVolume, ...]:
    """Those that the sandbox makes, in the pod's directory of volumes. Each holds as much as its limit says, at most
    what the pod may use; without either `available`, the bytes of memory that the node has for pods."""
    most = int(pod_limits(pod).get("memory", 0)) or available
    group = (meta.spec(pod).get("securityContext") or {}).get("fsGroup")
    return tuple(
        MemoryVolume(str(directory / name), min(size_limit(source) or most, most), group)
        for name, source in empty_dirs(pod)
        if is_memory(source)
    )


def set_up(directory: Path, source: Mapping[str, Any]) -> None:
    """Make the place of one, on which what is memory is mounted by the sandbox, for the pod alone to see. A runtime
    that can't do that leaves it a directory of the disk."""
    medium = source.get("medium") or ""
    if medium not in ("", "Memory"):
        raise HomeportError(f'storage medium "{medium}" is not supported by this node; it has the disk and Memory')
    if directory.is_dir():
        return
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    os.chmod(directory, 0o777)
