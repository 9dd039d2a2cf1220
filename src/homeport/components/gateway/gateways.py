"""Gateways: where requests come in."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from homeport.components.gateway.common import (
    API_GROUP,
    NAME,
    AddressType,
    ControllerName,
    GatewayModel,
    Group,
    Hostname,
    KindName,
    LabelValue,
    LocalObjectReference,
    LongValue,
    Namespace,
    ObjectName,
    ObjectReference,
    Port,
    SecretObjectReference,
    SectionName,
    StateCondition,
    rules,
    waiting,
    with_rules,
)
from homeport.kube.core.types.meta import LabelSelector, ObjectMeta
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import atomic_list, doc, map_list


class GatewayClass(GatewayModel, frozen=True):
    """A kind of gateways, and who looks after them."""

    spec: Annotated[GatewayClassSpec, doc("Who looks after the class.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    status: Annotated[
        GatewayClassStatus | None, doc("The current state.", default={"conditions": waiting("Accepted")})
    ] = None


class GatewayClassSpec(GatewayModel, frozen=True):
    """Who looks after a class of gateways."""

    controller_name: Annotated[
        ControllerName,
        doc(
            "The controller, such as example.com/gateway. Can't be changed.",
            rules=rules(("field is immutable", "self == oldSelf")),
        ),
    ]
    parameters_ref: Annotated[ParametersReference | None, doc("An object with what the controller wants to know.")] = (
        None
    )
    description: Annotated[str | None, doc("The class in a few words.", max_length=64)] = None


class ParametersReference(GatewayModel, frozen=True):
    """An object with a controller's parameters."""

    group: Annotated[Group, doc("Its API group; empty for the core group.")]
    kind: Annotated[KindName, doc("Its kind.")]
    name: Annotated[ObjectName, doc("Its name.")]
    namespace: Annotated[Namespace | None, doc("Its namespace, if it has one.")] = None


class GatewayClassStatus(GatewayModel, frozen=True):
    """What has become of a class."""

    conditions: Annotated[
        list[StateCondition],
        map_list("type"),
        doc("The state, aspect by aspect.", max_items=8, default=waiting("Accepted")),
    ] = []
    supported_features: Annotated[
        list[SupportedFeature], map_list("name"), doc("What the controller can do.", max_items=64)
    ] = []


class SupportedFeature(GatewayModel, frozen=True):
    """Something that a controller can do."""

    name: Annotated[str, doc("Its name.")]


class Gateway(GatewayModel, frozen=True):
    """Addresses and ports at which requests come in."""

    spec: Annotated[GatewaySpec, doc("Where requests come in.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    status: Annotated[
        GatewayStatus | None, doc("The current state.", default={"conditions": waiting("Accepted", "Programmed")})
    ] = None


def _unique_addresses(kind: str) -> tuple[str, str]:
    other = "self.exists_one(a2, a2.type == a1.type && has(a2.value) && a2.value == a1.value)"
    return f"{kind} values must be unique", f"self.all(a1, a1.type == '{kind}' && has(a1.value) ? {other} : true)"


_SAME_HOST = (
    "(has(l1.hostname) && has(l2.hostname) ? l1.hostname == l2.hostname : !has(l1.hostname) && !has(l2.hostname))"
)
_LISTENER_RULES = rules(
    (
        "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
        "self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP'] ? !has(l.tls) : true)",
    ),
    (
        "tls mode must be Terminate for protocol HTTPS",
        "self.all(l, (l.protocol == 'HTTPS' && has(l.tls)) ? (l.tls.mode == '' || l.tls.mode == 'Terminate') : true)",
    ),
    (
        "tls mode must be set for protocol TLS",
        "self.all(l, (l.protocol == 'TLS' ? has(l.tls) && has(l.tls.mode) && l.tls.mode != '' : true))",
    ),
    (
        "hostname must not be specified for protocols ['TCP', 'UDP']",
        "self.all(l, l.protocol in ['TCP', 'UDP'] ? (!has(l.hostname) || l.hostname == '') : true)",
    ),
    ("Listener name must be unique within the Gateway", "self.all(l1, self.exists_one(l2, l1.name == l2.name))"),
    (
        "Combination of port, protocol and hostname must be unique for each listener",
        f"self.all(l1, self.exists_one(l2, l1.port == l2.port && l1.protocol == l2.protocol && {_SAME_HOST}))",
    ),
)


class GatewaySpec(GatewayModel, frozen=True):
    """Where requests come in, and who may route them."""

    gateway_class_name: Annotated[ObjectName, doc("The class.")]
    listeners: Annotated[
        list[Listener],
        map_list("name"),
        doc("What is listened to.", min_items=1, max_items=64, rules=_LISTENER_RULES),
    ]
    addresses: Annotated[
        list[GatewaySpecAddress],
        atomic_list(),
        doc(
            "The addresses that are wanted; the controller chooses if absent.",
            max_items=16,
            rules=rules(_unique_addresses("IPAddress"), _unique_addresses("Hostname")),
        ),
    ] = []
    infrastructure: Annotated[
        GatewayInfrastructure | None, doc("Marks of everything that is made for the gateway.")
    ] = None
    allowed_listeners: Annotated[AllowedListeners | None, doc("Whose sets of listeners may join the gateway.")] = None
    tls: Annotated[GatewayTLSConfig | None, doc("TLS for the gateway as a whole.")] = None


_IP: JsonSchema = {
    "oneOf": [
        {
            "properties": {
                "type": {"enum": ["IPAddress"]},
                "value": {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
            }
        },
        {"properties": {"type": {"not": {"enum": ["IPAddress"]}}}},
    ]
}
_HOST = rf"^(\*\.)?{NAME}$"


class GatewaySpecAddress(GatewayModel, frozen=True):
    """An address that is wanted."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(
        (
            f"Hostname value must be empty or contain only valid characters (matching {_HOST})",
            f'self.type == \'Hostname\' ? (!has(self.value) || self.value.matches(r"""{_HOST}""")) : true',
        ),
        **_IP,
    )

    type: Annotated[AddressType, doc("IPAddress, Hostname or a type of the controller's own.")] = "IPAddress"
    value: Annotated[str | None, doc("The address; one of the controller's choice if absent.", max_length=253)] = None


class GatewayStatusAddress(GatewayModel, frozen=True):
    """An address at which a gateway is reached."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(
        (
            f"Hostname value must only contain valid characters (matching {_HOST})",
            f'self.type == \'Hostname\' ? self.value.matches(r"""{_HOST}""") : true',
        ),
        **_IP,
    )

    value: Annotated[str, doc("The address.", min_length=1, max_length=253)]
    type: Annotated[AddressType, doc("IPAddress, Hostname or a type of the controller's own.")] = "IPAddress"


_KEY = rf"^({NAME}/)?([A-Za-z0-9][-A-Za-z0-9_.]{{0,61}})?[A-Za-z0-9]$"
_FORM = "an optional DNS subdomain prefix followed by a required name segment of up to 63 characters."


def _keys(what: str) -> list[dict[str, str]]:
    prefix = f"If specified, the {what.lower()} key's prefix must be a DNS subdomain not longer than 253 characters"
    return rules(
        (f"{what} keys must be in the form of {_FORM}", f'self.all(key, key.matches(r"""{_KEY}"""))'),
        (f"{prefix} in total.", 'self.all(key, key.split("/")[0].size() < 253)'),
    )


class GatewayInfrastructure(GatewayModel, frozen=True):
    """Marks of what a controller makes for a gateway."""

    labels: Annotated[dict[str, LabelValue], doc("Labels of it.", max_properties=8, rules=_keys("Label"))] = {}
    annotations: Annotated[
        dict[str, LongValue], doc("Annotations of it.", max_properties=16, rules=_keys("Annotation"))
    ] = {}
    parameters_ref: Annotated[LocalObjectReference | None, doc("An object with what the controller wants to know.")] = (
        None
    )


class AllowedListeners(GatewayModel, frozen=True):
    """Whose sets of listeners may join a gateway."""

    namespaces: Annotated[ListenerNamespaces | None, doc("Of which namespaces.", default={"from": "None"})] = None


class ListenerNamespaces(GatewayModel, frozen=True):
    """Namespaces whose sets of listeners may join a gateway."""

    from_: Annotated[
        str,
        doc("None, Same, All, or Selector: those that the selector matches.", enum=["All", "Selector", "Same", "None"]),
    ] = msgspec.field(name="from", default="None")
    selector: Annotated[LabelSelector | None, doc("The labels of namespaces.")] = None


class Listener(GatewayModel, frozen=True):
    """A port at which requests come in."""

    name: Annotated[SectionName, doc("Its name, by which routes refer to it.")]
    port: Annotated[Port, doc("The port.")]
    protocol: Annotated[
        str,
        doc(
            "HTTP, HTTPS, TLS, TCP, UDP or a protocol of the controller's own.",
            min_length=1,
            max_length=255,
            pattern=rf"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|{NAME}\/[A-Za-z0-9]+$",
        ),
    ]
    hostname: Annotated[Hostname | None, doc("Only requests for this host, or for all below *.example.com.")] = None
    tls: Annotated[ListenerTLSConfig | None, doc("TLS, for HTTPS and TLS.")] = None
    allowed_routes: Annotated[
        AllowedRoutes | None, doc("Which routes may attach.", default={"namespaces": {"from": "Same"}})
    ] = None


class ListenerTLSConfig(GatewayModel, frozen=True):
    """What becomes of TLS connections."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(
        (
            "certificateRefs or options must be specified when mode is Terminate",
            "self.mode == 'Terminate' ? size(self.certificateRefs) > 0 || size(self.options) > 0 : true",
        )
    )

    mode: Annotated[str, doc("Terminate ends TLS here, Passthrough does not.", enum=["Terminate", "Passthrough"])] = (
        "Terminate"
    )
    certificate_refs: Annotated[
        list[SecretObjectReference], atomic_list(), doc("The secrets that hold certificates.", max_items=64)
    ] = []
    options: Annotated[dict[str, LongValue], doc("Options of the controller's own.", max_properties=16)] = {}


class AllowedRoutes(GatewayModel, frozen=True):
    """Which routes may attach to a listener."""

    namespaces: Annotated[RouteNamespaces | None, doc("Of which namespaces.", default={"from": "Same"})] = None
    kinds: Annotated[
        list[RouteGroupKind], atomic_list(), doc("Of which kinds; those that fit the protocol if empty.", max_items=8)
    ] = []


class RouteNamespaces(GatewayModel, frozen=True):
    """Namespaces whose routes may attach."""

    from_: Annotated[
        str, doc("Same, All, or Selector: those that the selector matches.", enum=["All", "Selector", "Same"])
    ] = msgspec.field(name="from", default="Same")
    selector: Annotated[LabelSelector | None, doc("The labels of namespaces.")] = None


class RouteGroupKind(GatewayModel, frozen=True):
    """A kind of routes."""

    kind: Annotated[KindName, doc("The kind.")]
    group: Annotated[Group, doc("Its API group.")] = API_GROUP


class GatewayTLSConfig(GatewayModel, frozen=True):
    """TLS for a gateway as a whole."""

    backend: Annotated[GatewayBackendTLS | None, doc("Towards backends.")] = None
    frontend: Annotated[FrontendTLSConfig | None, doc("Towards clients.")] = None


class GatewayBackendTLS(GatewayModel, frozen=True):
    """How a gateway shows itself to backends."""

    client_certificate_ref: Annotated[SecretObjectReference | None, doc("The secret with its certificate.")] = None


class FrontendTLSConfig(GatewayModel, frozen=True):
    """What is asked of clients."""

    default: Annotated[TLSConfig, doc("On all ports that have nothing else.")]
    per_port: Annotated[
        list[TLSPortConfig],
        map_list("port"),
        doc(
            "On single ports.",
            max_items=64,
            rules=rules(
                (
                    "Port for TLS configuration must be unique within the Gateway",
                    "self.all(t1, self.exists_one(t2, t1.port == t2.port))",
                )
            ),
        ),
    ] = []


class TLSConfig(GatewayModel, frozen=True):
    """What is asked of clients."""

    validation: Annotated[FrontendTLSValidation | None, doc("How their certificates are checked.")] = None


class TLSPortConfig(GatewayModel, frozen=True):
    """What is asked of clients on a port."""

    port: Annotated[Port, doc("The port.")]
    tls: Annotated[TLSConfig, doc("What is asked.")]


class FrontendTLSValidation(GatewayModel, frozen=True):
    """How clients' certificates are checked."""

    ca_certificate_refs: Annotated[
        list[ObjectReference], atomic_list(), doc("Where the authorities' certificates are.", min_items=1, max_items=16)
    ] = msgspec.field(name="caCertificateRefs")
    mode: Annotated[
        str,
        doc("What becomes of clients without a valid one.", enum=["AllowValidOnly", "AllowInsecureFallback"]),
    ] = "AllowValidOnly"


class GatewayStatus(GatewayModel, frozen=True):
    """What has become of a gateway."""

    addresses: Annotated[list[GatewayStatusAddress], atomic_list(), doc("Where it is reached.", max_items=16)] = []
    conditions: Annotated[
        list[StateCondition],
        map_list("type"),
        doc("The state, aspect by aspect.", max_items=8, default=waiting("Accepted", "Programmed")),
    ] = []
    listeners: Annotated[list[ListenerStatus], map_list("name"), doc("Its listeners.", max_items=64)] = []
    attached_listener_sets: Annotated[int | None, doc("How many sets of listeners have joined.")] = None


class ListenerStatus(GatewayModel, frozen=True):
    """What has become of a listener."""

    name: Annotated[SectionName, doc("Its name.")]
    attached_routes: Annotated[int, doc("How many routes are attached.")]
    conditions: Annotated[list[StateCondition], map_list("type"), doc("The state, aspect by aspect.", max_items=8)]
    supported_kinds: Annotated[list[RouteGroupKind], atomic_list(), doc("Which routes may attach.", max_items=8)] = []
