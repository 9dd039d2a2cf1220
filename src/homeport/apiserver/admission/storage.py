"""DefaultStorageClass, PersistentVolumeClaimResize and StorageObjectInUseProtection: which class a claim gets, whether
it may grow, and that claims and volumes in use outlive their deletion.

Upstream: ``plugin/pkg/admission/storage``.
"""

from __future__ import annotations

import msgspec

from homeport.apiserver.admission.attributes import CREATE, UPDATE, Attributes, Operation
from homeport.apiserver.admission.plugin import Plugin
from homeport.apiserver.context import Api
from homeport.kube import meta
from homeport.kube.core.claims import CLAIM_PROTECTION, FORMER_CLASS, VOLUME_PROTECTION, default_class
from homeport.kube.core.pod_resources import of_container
from homeport.kube.errors import Forbidden, object_details
from homeport.kube.meta import Object, name, spec, status
from homeport.store.protocol import Key

_CLAIMS = "/persistentvolumeclaims"
_CLASSES = "storage.k8s.io/storageclasses"
_VOLUMES = "/persistentvolumes"


class DefaultStorageClass(Plugin):
    name = "DefaultStorageClass"

    def __init__(self, api: Api) -> None:
        self._store = api.store

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        return key == _CLAIMS and operation == CREATE and not subresource

    def mutate(self, attributes: Attributes) -> Object | None:
        claim = attributes.object
        if claim is None or not isinstance(claim.get("spec"), dict):
            return claim
        # An empty class is a wish, too: for a volume without one.
        if claim["spec"].get("storageClassName") is not None or FORMER_CLASS in meta.annotations(claim):
            return claim
        default = self._default()
        return claim if default is None else {**claim, "spec": {**claim["spec"], "storageClassName": name(default)}}

    def _default(self) -> Object | None:
        return default_class(msgspec.json.decode(record.value) for record in self._store.heads(_CLASSES, ""))


class StorageObjectInUseProtection(Plugin):
    """What needs the finalizers is kept by a controller (:mod:`homeport.components.system.storage.protection`)."""

    name = "StorageObjectInUseProtection"

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        return key in (_CLAIMS, _VOLUMES) and operation == CREATE and not subresource

    def mutate(self, attributes: Attributes) -> Object | None:
        obj = attributes.object
        described = obj.get("metadata") if obj is not None else None
        if obj is None or not isinstance(described, dict):
            return obj
        finalizer = CLAIM_PROTECTION if attributes.served.key == _CLAIMS else VOLUME_PROTECTION
        present = described.get("finalizers") or []
        if not isinstance(present, list) or finalizer in present:
            return obj
        return {**obj, "metadata": {**described, "finalizers": [*present, finalizer]}}


class PersistentVolumeClaimResize(Plugin):
    name = "PersistentVolumeClaimResize"

    def __init__(self, api: Api) -> None:
        self._store = api.store

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        return key == _CLAIMS and operation == UPDATE and not subresource

    def validate(self, attributes: Attributes) -> None:
        new, old = attributes.object, attributes.old
        if new is None or old is None:
            return
        before, after = (of_container(spec(claim), "requests").get("storage") for claim in (old, new))
        if before is None or after is None or after <= before:
            return
        why = ""
        if status(old).get("phase") != "Bound":
            why = "Only bound persistent volume claims can be expanded"
        elif not self._may_grow(new):
            why = (
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                "support resize"
            )
        if why:
            raise Forbidden(
                f'persistentvolumeclaims "{attributes.name}" is forbidden: {why}',
                details=object_details("", "persistentvolumeclaims", attributes.name),
            )

    def _may_grow(self, claim: Object) -> bool:
        wanted = meta.annotations(claim).get(FORMER_CLASS) or spec(claim).get("storageClassName") or ""
        record = self._store.head(Key(_CLASSES, "", wanted)) if wanted else None
        return record is not None and bool(msgspec.json.decode(record.value).get("allowVolumeExpansion"))
