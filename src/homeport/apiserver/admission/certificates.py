"""Who asks for a certificate, and who may decide (upstream: the strategies of certificates.k8s.io and the plug-ins
``CertificateApproval``, ``CertificateSigning`` and ``CertificateSubjectRestriction``)."""

from __future__ import annotations

from base64 import b64decode
from typing import ClassVar

from homeport.apiserver.admission.attributes import CREATE, UPDATE, Attributes, Operation
from homeport.apiserver.admission.plugin import Plugin, refusal
from homeport.apiserver.authz import MASTERS, Authorizer, forbidden
from homeport.apiserver.routes import RequestInfo
from homeport.kube import der, meta
from homeport.kube.field import quote
from homeport.kube.meta import Object

_GROUP = "certificates.k8s.io"
_KEY = f"{_GROUP}/certificatesigningrequests"
_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_VERBS = {"approval": "approve", "status": "sign"}
"""What a write of a subresource takes, on the request's signer."""
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


class CertificateSubjectRestriction(Plugin):
    """No client certificate makes its owner a master of the cluster."""

    name: ClassVar[str] = "CertificateSubjectRestriction"

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        return key == _KEY and operation == CREATE and not subresource

    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden."""
        spec = meta.spec(attributes.object or {})
        if spec.get("signerName") != _CLIENT_SIGNER:
            return
        try:
            request = der.parse_request(der.unwrap(b64decode(spec.get("request") or ""), "CERTIFICATE REQUEST"))
        except ValueError as error:
            raise refusal(attributes, f"failed to parse CSR: {error}") from error
        if MASTERS in request.organizations:
            raise refusal(attributes, f"use of {_CLIENT_SIGNER} signer with {MASTERS} group is not allowed")


class CertificateApproval(Plugin):
    """Who decides on a request needs the verb ``approve`` on its signer, and who signs it the verb ``sign``."""

    name: ClassVar[str] = "CertificateApproval"

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        return key == _KEY and operation == UPDATE and subresource in _VERBS

    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden."""
        new, old = attributes.object or {}, attributes.old or {}
        verb = _VERBS[attributes.subresource]
        if verb == "sign" and meta.status(new) == meta.status(old):
            return
        signer = str(meta.spec(old).get("signerName") or "")
        for wanted in (signer, signer.partition("/")[0] + "/*"):
            asked = RequestInfo(verb, "", True, _GROUP, "*", "signers", "", wanted)
            if self._authorizer.authorize(attributes.user, asked).allowed:
                return
        words = f"user not permitted to {verb} requests with signerName {quote(signer)}"
        raise forbidden(_GROUP, attributes.served.resource.plural, attributes.name, words)
