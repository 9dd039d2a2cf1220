"""``nvidia.com/gpu``: who has which GPU, and what a container sees of its own. Pure.

A GPU is a whole number of ``nvidia.com/gpu``, and is one container's at a time. Who has it is written down in the pod's
memory before the container starts, so that it is still known when the platform was killed; nothing else keeps account.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from homeport.kube.meta import Object
from homeport.node import resources
from homeport.node.memory import Verdict
from homeport.node.nvml import Gpu
from homeport.node.pod import Role, members

RESOURCE = "nvidia.com/gpu"
Assignment: TypeAlias = Mapping[str, tuple[str, ...]]
"""The uuids of GPUs by container."""
_SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
"""Device files that every program with a GPU needs, whichever it is."""
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


def wanted(pod: Object) -> dict[str, int]:
    """How many GPUs each container asks for, those that ask for none left out."""
    found = {member.name: int(resources.limits(member).get(RESOURCE, 0)) for member in members(pod)}
    return {name: count for name, count in found.items() if count}


def assign(pod: Object, gpus: Sequence[Gpu], taken: Iterable[str]) -> Assignment | Verdict:
    """GPUs for the pod's containers out of those that nobody has; ordinary init containers have ended when the others
    start, and leave theirs to them."""
    numbers = wanted(pod)
    if not numbers:
        return {}
    used = set(taken)
    free = [gpu.uuid for gpu in gpus if gpu.uuid not in used]
    found: dict[str, tuple[str, ...]] = {}
    lasting: set[str] = set()
    for member in members(pod):
        count = numbers.get(member.name, 0)
        usable = [uuid for uuid in free if uuid not in lasting]
        if count > len(usable):
            return Verdict(
                "UnexpectedAdmissionError",
                f"Allocate failed due to requested number of devices unavailable for {RESOURCE}. "
                f"Requested: {count}, Available: {len(usable)}, which is unexpected",
                refuses=True,
            )
        if count:
            found[member.name] = tuple(usable[:count])
        if member.role is not Role.INIT:
            lasting.update(found.get(member.name, ()))
    return found


def of(gpus: Sequence[Gpu], uuids: Iterable[str]) -> tuple[Gpu, ...]:
    """The GPUs of these uuids, as far as they are there."""
    known = {gpu.uuid: gpu for gpu in gpus}
    return tuple(known[uuid] for uuid in uuids if uuid in known)


def environment(own: Sequence[Gpu], *, machine_has_some: bool) -> dict[str, str]:
    """What tells a container's programs which GPUs are theirs."""
    if own:
        return dict.fromkeys(_VISIBLE, ",".join(gpu.uuid for gpu in own))
    # "void" is what NVIDIA's own container runtime takes for "as if there were none", whatever the image says.
    return {"NVIDIA_VISIBLE_DEVICES": "void"} if machine_has_some else {}


def devices(own: Sequence[Gpu], directory: str = "/dev") -> tuple[str, ...]:
    """The device files that a container is to have, those that the machine has."""
    if not own:
        return ()
    names = (*(os.path.basename(gpu.path) for gpu in own), *_SHARED)
    return tuple(path for name in names if os.path.exists(path := f"{directory}/{name}"))


def labels(gpus: Sequence[Gpu]) -> dict[str, str]:
    """Labels of the node, as NVIDIA's feature discovery gives them: workloads choose a product by them."""
    if not gpus:
        return {}
    first = gpus[0]
    return {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.count": str(len(gpus)),
        "nvidia.com/gpu.product": "-".join(first.name.split()),
        "nvidia.com/gpu.memory": str(first.memory >> 20),
    }
