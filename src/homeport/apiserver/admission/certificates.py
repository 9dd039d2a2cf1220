"""Who asks for a certificate, and who may decide (upstream: the strategies of certificates.k8s.io and the plug-ins
``CertificateApproval`` and ``CertificateSigning``)."""

from __future__ import annotations

from typing import ClassVar

from homeport.apiserver.admission.attributes import CREATE, Attributes, Operation
from homeport.apiserver.admission.plugin import Plugin
from homeport.kube.meta import Object

_KEY = "certificates.k8s.io/certificatesigningrequests"
_IDENTITY = ("username", "uid", "groups", "extra")


class CertificateRequester(Plugin):
    """A request says who made it: what a client writes there does not count."""

    name: ClassVar[str] = "CertificateRequester"

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        return key == _KEY and operation == CREATE and not subresource

    def mutate(self, attributes: Attributes) -> Object | None:
        obj = attributes.object
        spec = (obj or {}).get("spec")
        if obj is None or not isinstance(spec, dict):
            return obj
        user = attributes.user
        spec = {name: value for name, value in spec.items() if name not in _IDENTITY}
        spec["username"] = user.name
        if user.uid:
            spec["uid"] = user.uid
        if user.groups:
            spec["groups"] = list(user.groups)
        if user.extra:
            spec["extra"] = {name: list(values) for name, values in user.extra.items()}
        return {**obj, "spec": spec}
