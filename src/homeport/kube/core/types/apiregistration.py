"""Which server answers for which part of the API (apiregistration.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from homeport.kube.core.types.bases import ApiregistrationV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema.fields import Bytes, Time, doc, map_list


class APIService(ApiregistrationV1, frozen=True):
    """Who answers for a version of an API group."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[APIServiceSpec | None, doc("The group, the version and the server.")] = None
    status: Annotated[APIServiceStatus | None, doc("The current state.")] = None


class APIServiceSpec(ApiregistrationV1, frozen=True):
    """Who answers for a version of an API group."""

    group_priority_minimum: Annotated[
        int, doc("Rank of the group among all groups, 1 to 20000; the highest comes first.")
    ]
    version_priority: Annotated[int, doc("Rank of the version in its group, 1 to 1000; the highest comes first.")]
    service: Annotated[ServiceReference | None, doc("The service that answers; without one this server does.")] = None
    group: Annotated[str, doc("The API group.")] = ""
    version: Annotated[str, doc("The version.")] = ""
    insecure_skip_tls_verify: Annotated[bool, doc("Whether the service's certificate is not checked.")] = msgspec.field(
        name="insecureSkipTLSVerify", default=False
    )
    ca_bundle: Annotated[Bytes, doc("Certificates in PEM that the service's certificate is checked with.")] = ""


class ServiceReference(ApiregistrationV1, frozen=True):
    """A service that answers for a part of the API."""

    namespace: Annotated[str, doc("Namespace of the service.")] = ""
    name: Annotated[str, doc("Name of the service.")] = ""
    port: Annotated[int, doc("Port of the service.")] = 443


class APIServiceStatus(ApiregistrationV1, frozen=True):
    """Whether the server can be reached."""

    conditions: Annotated[list[APIServiceCondition], doc("The current state, aspect by aspect."), map_list("type")] = []


class APIServiceCondition(ApiregistrationV1, frozen=True):
    """One aspect of an API service's state."""

    type: Annotated[str, doc("What the condition is about, in CamelCase.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why it changed, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why it changed, in words.")] = ""
