"""DefaultStorageClass and PersistentVolumeClaimResize: which class a claim gets, and whether it may grow.

Upstream: ``plugin/pkg/admission/storage``.
"""

from __future__ import annotations

import msgspec

from homeport.apiserver.admission.attributes import CREATE, UPDATE, Attributes, Operation
from homeport.apiserver.admission.plugin import Plugin
from homeport.apiserver.context import Api
from homeport.kube import meta
from homeport.kube.core.pod_resources import of_container
from homeport.kube.errors import Forbidden, object_details
from homeport.kube.meta import Object, metadata, name, spec, status
from homeport.store.protocol import Key

_CLAIMS = "/persistentvolumeclaims"
_CLASSES = "storage.k8s.io/storageclasses"
_IS_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


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
        if claim["spec"].get("storageClassName") is not None or _OLD_CLASS in meta.annotations(claim):
            return claim
        default = self._default()
        return claim if default is None else {**claim, "spec": {**claim["spec"], "storageClassName": name(default)}}

    def _default(self) -> Object | None:
        """The newest of the default classes, the first by name of equally old ones."""
        classes = (msgspec.json.decode(record.value) for record in self._store.heads(_CLASSES, ""))
        found = sorted((each for each in classes if _is_default(each)), key=name)
        return max(found, key=lambda each: str(metadata(each).get("creationTimestamp")), default=None)


def _is_default(storage_class: Object) -> bool:
    return any(meta.annotations(storage_class).get(key) == "true" for key in _IS_DEFAULT)


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
        wanted = meta.annotations(claim).get(_OLD_CLASS) or spec(claim).get("storageClassName") or ""
        record = self._store.head(Key(_CLASSES, "", wanted)) if wanted else None
        return record is not None and bool(msgspec.json.decode(record.value).get("allowVolumeExpansion"))
