"""Requests for certificates (certificates.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated, Literal

from homeport.kube.core.types.bases import CertificatesV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema.fields import Bytes, Time, atomic_list, doc, map_list


class CertificateSigningRequest(CertificatesV1, frozen=True):
    """Asks for a certificate."""

    spec: Annotated[CertificateSigningRequestSpec, doc("The certificate that is asked for. It can't be changed.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    status: Annotated[CertificateSigningRequestStatus | None, doc("What has become of the request.")] = None


class CertificateSigningRequestSpec(CertificatesV1, frozen=True):
    """The certificate that is asked for, and who asks."""

    request: Annotated[Bytes, doc("The request in PEM (PKCS #10).")]
    signer_name: Annotated[str, doc("Who shall sign, such as kubernetes.io/kube-apiserver-client.")]
    expiration_seconds: Annotated[int | None, doc("Seconds that the certificate shall be good for, at least 600.")] = (
        None
    )
    usages: Annotated[
        list[
            Literal[
                "any",
                "cert sign",
                "client auth",
                "code signing",
                "content commitment",
                "crl sign",
                "data encipherment",
                "decipher only",
                "digital signature",
                "email protection",
                "encipher only",
                "ipsec end system",
                "ipsec tunnel",
                "ipsec user",
                "key agreement",
                "key encipherment",
                "microsoft sgc",
                "netscape sgc",
                "ocsp signing",
                "s/mime",
                "server auth",
                "signing",
                "timestamping",
            ]
        ],
        doc("What the certificate is for."),
        atomic_list(),
    ] = []
    username: Annotated[str, doc("Who asks; set by the server.")] = ""
    uid: Annotated[str, doc("UID of who asks; set by the server.")] = ""
    groups: Annotated[list[str], doc("Groups of who asks; set by the server."), atomic_list()] = []
    extra: Annotated[dict[str, list[str]], doc("What else is known of who asks; set by the server.")] = {}


class CertificateSigningRequestStatus(CertificatesV1, frozen=True):
    """What has become of a request."""

    conditions: Annotated[
        list[CertificateSigningRequestCondition],
        doc("Whether the request is approved, denied or failed."),
        map_list("type", patch=None),
    ] = []
    certificate: Annotated[Bytes, doc("The certificate in PEM.")] = ""


class CertificateSigningRequestCondition(CertificatesV1, frozen=True):
    """Says that a request is approved, denied or failed."""

    type: Annotated[str, doc("Approved, Denied or Failed.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    reason: Annotated[str, doc("Why it changed, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why it changed, in words.")] = ""
    last_update_time: Annotated[Time | None, doc("When the condition was last looked at.")] = None
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
