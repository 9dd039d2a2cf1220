"""What a pod's volumes of persistent volume claims are on this machine.

A claim is bound to a volume; of volumes this node has directories of its own: ``local`` and ``hostPath``. The words are
the kubelet's (``pkg/kubelet/volumemanager``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from homeport.client.client import Client
from homeport.kube import core, meta
from homeport.kube.core import claims as rules
from homeport.kube.errors import NotFound
from homeport.kube.meta import Object
from homeport.node.references import Ref, Unresolved

SUPPORTED = ("hostPath", "local")
_COMMON = frozenset(
    {"accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
     "storageClassName", "volumeAttributesClassName", "volumeMode"}
)  # fmt: skip


class Claimed(msgspec.Struct, frozen=True):
    """A claim's volume as this machine has it."""

    path: str
    type: str = ""
    """A hostPath's type of file."""
    must_exist: bool = True


async def resolve(client: Client, pod: Object, claim_name: str, *, is_ephemeral: bool) -> Claimed:
    """What a pod's claim is on this machine; `is_ephemeral`: it has to be the pod's own. Raises Unresolved, which says
    what it waits for, and what the API raises."""
    place = meta.namespace(pod)
    title = f"{place}/{claim_name}"
    ref = Ref("PersistentVolumeClaim", claim_name)
    try:
        claim = await client.get(core.PERSISTENT_VOLUME_CLAIM.resource, claim_name, place)
    except NotFound:
        text = f'failed to fetch PVC from API server: persistentvolumeclaims "{claim_name}" not found'
        raise _unresolved(title, text, ref) from None
    if is_ephemeral:
        try:
            rules.check_owner(pod, claim)
        except rules.NotOwner as error:
            raise Unresolved(str(error), ref) from error
    if meta.is_deleting(claim):
        raise _unresolved(title, f"can't start pod because PVC {title} is being deleted", ref)
    bound, phase = meta.spec(claim).get("volumeName") or "", meta.status(claim).get("phase") or ""
    if phase != "Bound" or not bound:
        text = f'PVC {title} has non-bound phase ("{phase}") or empty pvc.Spec.VolumeName ("{bound}")'
        raise _unresolved(title, text, ref)
    try:
        volume = await client.get(core.PERSISTENT_VOLUME.resource, bound)
    except NotFound:
        text = f'failed to fetch PV {bound} from API server: persistentvolumes "{bound}" not found'
        raise _unresolved(title, text, ref) from None
    if rules.claim_ref(volume).get("uid") != meta.uid(claim):
        text = f"invalid PV {bound} in PVC {title}: its claimRef is not this claim's"
        raise _unresolved(title, text, ref)
    return source(volume)


def source(volume: Object) -> Claimed:
    """Where a persistent volume is on this machine. Raises Unresolved for one that it can't have."""
    spec: Mapping[str, Any] = meta.spec(volume)
    if rules.mode(volume) == "Block":
        raise Unresolved(
            f"persistent volume {meta.name(volume)} has volumeMode Block: this node has no block devices to give; "
            "use volumeMode Filesystem"
        )
    if local := spec.get("local"):
        return Claimed(str(local.get("path") or ""))
    if host_path := spec.get("hostPath"):
        return Claimed(str(host_path.get("path") or ""), str(host_path.get("type") or ""), must_exist=False)
    kinds = sorted(key for key in spec if key not in _COMMON and spec[key] is not None)
    raise Unresolved(
        f"persistent volume {meta.name(volume)} is of type {', '.join(kinds) or 'none'}, which this node does not "
        f"support; it has {' and '.join(SUPPORTED)}"
    )


def _unresolved(title: str, text: str, waits_for: Ref) -> Unresolved:
    return Unresolved(f"error processing PVC {title}: {text}", waits_for)
