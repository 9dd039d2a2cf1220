"""Routes for gRPC."""

from __future__ import annotations

from typing import Annotated, ClassVar

from homeport.components.gateway.common import (
    MATCH_TYPES,
    NEEDS_PORT,
    PARENT_RULES,
    BackendObjectReference,
    GatewayModel,
    HeaderFilter,
    HeaderName,
    HeaderValue,
    Hostname,
    LocalObjectReference,
    ParentReference,
    RequestMirrorFilter,
    RouteStatus,
    SectionName,
    few_matches,
    not_repeated,
    only_of_type,
    rules,
    with_rules,
)
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import atomic_list, doc, map_list


class GRPCRoute(GatewayModel, frozen=True):
    """Says where gRPC requests go."""

    spec: Annotated[GRPCRouteSpec, doc("Which requests go where.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    status: Annotated[RouteStatus | None, doc("The current state.")] = None


class GRPCRouteSpec(GatewayModel, frozen=True):
    """Which requests go where."""

    parent_refs: Annotated[
        list[ParentReference],
        atomic_list(),
        doc("The gateways that requests come through.", max_items=32, rules=PARENT_RULES),
    ] = []
    hostnames: Annotated[
        list[Hostname], atomic_list(), doc("Only requests for these hosts; all if empty.", max_items=16)
    ] = []
    rules: Annotated[
        list[GRPCRouteRule],
        atomic_list(),
        doc(
            "What becomes of requests, match by match.",
            max_items=16,
            rules=rules(few_matches("(has(self[{0}].matches) ? self[{0}].matches.size() : 0)")),
        ),
    ] = []


_FILTERS = rules(*not_repeated("RequestHeaderModifier", "ResponseHeaderModifier"))


class GRPCRouteRule(GatewayModel, frozen=True):
    """What becomes of some requests."""

    name: Annotated[SectionName | None, doc("Its name.")] = None
    matches: Annotated[
        list[GRPCRouteMatch], atomic_list(), doc("Which requests; one match is enough.", max_items=64)
    ] = []
    filters: Annotated[list[GRPCRouteFilter], atomic_list(), doc("What is changed.", max_items=16, rules=_FILTERS)] = []
    backend_refs: Annotated[list[GRPCBackendRef], atomic_list(), doc("Where they go.", max_items=16)] = []


_SERVICE = r"^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$"
_METHOD = r"^[A-Za-z_][A-Za-z_0-9]*$"


def _exact(name: str, pattern: str) -> tuple[str, str]:
    test = f"(!has(self.type) || self.type == 'Exact') && has(self.{name})"
    return (
        f"{name} must only contain valid characters (matching {pattern})",
        f'{test} ? self.{name}.matches(r"""{pattern}""") : true',
    )


class GRPCMethodMatch(GatewayModel, frozen=True):
    """Methods that match."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(
        (
            "One or both of 'service' or 'method' must be specified",
            "has(self.type) ? has(self.service) || has(self.method) : true",
        ),
        _exact("service", _SERVICE),
        _exact("method", _METHOD),
    )

    type: Annotated[str, doc("How they are compared.", enum=MATCH_TYPES)] = "Exact"
    service: Annotated[str | None, doc("The service; all if absent.", max_length=1024)] = None
    method: Annotated[str | None, doc("The method; all if absent.", max_length=1024)] = None


class GRPCHeaderMatch(GatewayModel, frozen=True):
    """A header that matches."""

    name: Annotated[HeaderName, doc("Its name, in which case does not matter.")]
    value: Annotated[HeaderValue, doc("Its value.")]
    type: Annotated[str, doc("How the value is compared.", enum=MATCH_TYPES)] = "Exact"


class GRPCRouteMatch(GatewayModel, frozen=True):
    """Requests for which all of it holds."""

    method: Annotated[GRPCMethodMatch | None, doc("The method; all if absent.")] = None
    headers: Annotated[list[GRPCHeaderMatch], map_list("name"), doc("Headers.", max_items=16)] = []


_OPTIONS = ("requestHeaderModifier", "responseHeaderModifier", "requestMirror", "extensionRef")


class GRPCRouteFilter(GatewayModel, frozen=True):
    """Something that is done with requests or answers."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(*only_of_type(_OPTIONS))

    type: Annotated[
        str,
        doc(
            "What is done.",
            enum=["ResponseHeaderModifier", "RequestHeaderModifier", "RequestMirror", "ExtensionRef"],
        ),
    ]
    request_header_modifier: Annotated[HeaderFilter | None, doc("Changes the request's headers.")] = None
    response_header_modifier: Annotated[HeaderFilter | None, doc("Changes the answer's headers.")] = None
    request_mirror: Annotated[RequestMirrorFilter | None, doc("Sends the request to a further backend.")] = None
    extension_ref: Annotated[LocalObjectReference | None, doc("An object that says it, of the controller's own.")] = (
        None
    )


class GRPCBackendRef(BackendObjectReference, frozen=True):
    """Where requests go, with what share of them."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(NEEDS_PORT)

    weight: Annotated[
        int, doc("Its share: weight divided by the sum of all weights.", minimum=0, maximum=1_000_000)
    ] = 1
    filters: Annotated[
        list[GRPCRouteFilter], atomic_list(), doc("What is changed for this one only.", max_items=16, rules=_FILTERS)
    ] = []
