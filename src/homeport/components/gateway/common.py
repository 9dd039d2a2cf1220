"""What several kinds of the Gateway API have in common: names, references, conditions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, TypeAlias

from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import Int64, Marker, Model, Time, atomic_list, doc, map_list

NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
"""A DNS subdomain."""
_PATH = r"\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+"
TOKEN = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$"
"""The name of a header."""


def _text(low: int, most: int, pattern: str = "") -> Marker:
    keys: JsonSchema = {"maxLength": most}
    if low:
        keys["minLength"] = low
    if pattern:
        keys["pattern"] = pattern
    return Marker(keys)


def rules(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    """CEL rules with what they say where they do not hold."""
    return [{"message": message, "rule": rule} for message, rule in pairs]


def with_rules(*pairs: tuple[str, str], **more: Any) -> JsonSchema:
    return {"x-kubernetes-validations": rules(*pairs), **more}


def only_of_type(names: Iterable[str]) -> list[tuple[str, str]]:
    """Of a filter: what belongs to its type has to be there, and nothing else."""
    pairs = []
    for name in names:
        kind = {"urlRewrite": "URLRewrite", "cors": "CORS"}.get(name, name[0].upper() + name[1:])
        nil = f"filter.{name} must be nil if the filter.type is not {kind}"
        needed = f"filter.{name} must be specified for {kind} filter.type"
        pairs += [
            (nil, f"!(has(self.{name}) && self.type != '{kind}')"),
            (needed, f"!(!has(self.{name}) && self.type == '{kind}')"),
        ]
    return pairs


def not_repeated(*kinds: str) -> list[tuple[str, str]]:
    """Of a list of filters."""
    return [(f"{kind} filter cannot be repeated", f"self.filter(f, f.type == '{kind}').size() <= 1") for kind in kinds]


def few_matches(count: str) -> tuple[str, str]:
    """Of a route's rules; `count`: the number of matches of rule ``{0}``."""
    words = (
        "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route "
        "must be less than 128"
    )
    total = " + ".join(f"(self.size() > {index} ? {count.format(index)} : 0)" for index in range(16))
    return words, f"{total} <= 128"


Group: TypeAlias = Annotated[str, _text(0, 253, f"^$|^{NAME}$")]
KindName: TypeAlias = Annotated[str, _text(1, 63, "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")]
ObjectName: TypeAlias = Annotated[str, _text(1, 253)]
Namespace: TypeAlias = Annotated[str, _text(1, 63, "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
SectionName: TypeAlias = Annotated[str, _text(1, 253, f"^{NAME}$")]
Hostname: TypeAlias = Annotated[str, _text(1, 253, rf"^(\*\.)?{NAME}$")]
PreciseHostname: TypeAlias = Annotated[str, _text(1, 253, f"^{NAME}$")]
ControllerName: TypeAlias = Annotated[str, _text(1, 253, f"^{NAME}{_PATH}$")]
AddressType: TypeAlias = Annotated[str, _text(1, 253, rf"^Hostname|IPAddress|NamedAddress|{NAME}{_PATH}$")]
Port: TypeAlias = Annotated[int, Marker({"minimum": 1, "maximum": 65535})]
HeaderName: TypeAlias = Annotated[str, _text(1, 256, TOKEN)]
HeaderValue: TypeAlias = Annotated[str, _text(1, 4096)]
LabelValue: TypeAlias = Annotated[str, _text(0, 63, r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")]
LongValue: TypeAlias = Annotated[str, _text(0, 4096)]

API_GROUP = "gateway.networking.k8s.io"


class GatewayModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "gateway.networking.v1"


class StateCondition(GatewayModel, frozen=True):
    """One aspect of an object's current state."""

    type: Annotated[
        str, _text(0, 316, rf"^({NAME}/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"), doc("What it is about.")
    ]
    status: Annotated[str, doc("True, False or Unknown.", enum=["True", "False", "Unknown"])]
    last_transition_time: Annotated[Time, doc("When the status last changed.")]
    reason: Annotated[str, _text(1, 1024, r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"), doc("Why, in one word.")]
    message: Annotated[str, _text(0, 32768), doc("Why, for people.")]
    observed_generation: Annotated[Int64 | None, doc("The metadata.generation that this is based on.", minimum=0)] = (
        None
    )


def waiting(*types: str) -> list[JsonSchema]:
    """The conditions of an object that no controller has looked at yet."""
    told = {"lastTransitionTime": "1970-01-01T00:00:00Z", "message": "Waiting for controller", "reason": "Pending"}
    return [{**told, "status": "Unknown", "type": type} for type in types]


class ParentReference(GatewayModel, frozen=True):
    """A gateway, or a listener of one, that a route wants to be reached through."""

    name: Annotated[ObjectName, doc("Its name.")]
    group: Annotated[Group, doc("Its API group.")] = API_GROUP
    kind: Annotated[KindName, doc("Its kind.")] = "Gateway"
    namespace: Annotated[Namespace | None, doc("Its namespace; the route's own if absent.")] = None
    section_name: Annotated[SectionName | None, doc("The name of one of its listeners; all of them if absent.")] = None
    port: Annotated[Port | None, doc("Only listeners of this port.")] = None


_SAME_PLACE = (
    "(((!has(p1.__namespace__) || p1.__namespace__ == '') && (!has(p2.__namespace__) || p2.__namespace__ == '')) || "
    "(has(p1.__namespace__) && has(p2.__namespace__) && p1.__namespace__ == p2.__namespace__))"
)
_SAME_PARENT = f"p1.group == p2.group && p1.kind == p2.kind && p1.name == p2.name && {_SAME_PLACE}"
_NO_SECTION = "(!has({0}.sectionName) || {0}.sectionName == '')"
_FIRST, _SECOND = _NO_SECTION.format("p1"), _NO_SECTION.format("p2")
PARENT_RULES = rules(
    (
        "sectionName must be specified when parentRefs includes 2 or more references to the same parent",
        f"self.all(p1, self.all(p2, {_SAME_PARENT} ? ({_FIRST} == {_SECOND}) : true))",
    ),
    (
        "sectionName must be unique when parentRefs includes 2 or more references to the same parent",
        f"self.all(p1, self.exists_one(p2, {_SAME_PARENT} && (({_FIRST} && {_SECOND}) || "
        "(has(p1.sectionName) && has(p2.sectionName) && p1.sectionName == p2.sectionName))))",
    ),
)


class RouteParentStatus(GatewayModel, frozen=True):
    """What has become of a route at one of its parents."""

    parent_ref: Annotated[ParentReference, doc("The parent.")]
    controller_name: Annotated[ControllerName, doc("Who looks after the parent.")]
    conditions: Annotated[
        list[StateCondition],
        map_list("type"),
        doc("The state, aspect by aspect.", min_items=1, max_items=8),
    ]


class RouteStatus(GatewayModel, frozen=True):
    """What has become of a route."""

    parents: Annotated[list[RouteParentStatus], atomic_list(), doc("Its state at each parent.", max_items=32)]


class LocalObjectReference(GatewayModel, frozen=True):
    """An object in the same namespace."""

    group: Annotated[Group, doc("Its API group; empty for the core group.")]
    kind: Annotated[KindName, doc("Its kind.")]
    name: Annotated[ObjectName, doc("Its name.")]


class ObjectReference(GatewayModel, frozen=True):
    """An object, perhaps in another namespace."""

    group: Annotated[Group, doc("Its API group; empty for the core group.")]
    kind: Annotated[KindName, doc("Its kind.")]
    name: Annotated[ObjectName, doc("Its name.")]
    namespace: Annotated[Namespace | None, doc("Its namespace; the same one if absent.")] = None


class SecretObjectReference(GatewayModel, frozen=True):
    """A secret, or something like it, perhaps in another namespace."""

    name: Annotated[ObjectName, doc("Its name.")]
    group: Annotated[Group, doc("Its API group; empty for the core group.", default="")] = ""
    kind: Annotated[KindName, doc("Its kind.")] = "Secret"
    namespace: Annotated[Namespace | None, doc("Its namespace; the same one if absent.")] = None


_NEEDS_PORT = (
    "Must have port for Service reference",
    "(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true",
)


class BackendObjectReference(GatewayModel, frozen=True):
    """Where requests go, most often a service."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(_NEEDS_PORT)

    name: Annotated[ObjectName, doc("Its name.")]
    group: Annotated[Group, doc("Its API group; empty for the core group.", default="")] = ""
    kind: Annotated[KindName, doc("Its kind.")] = "Service"
    namespace: Annotated[Namespace | None, doc("Its namespace, which has to grant it; the route's own if absent.")] = (
        None
    )
    port: Annotated[Port | None, doc("The port; a service needs one.")] = None


class Header(GatewayModel, frozen=True):
    """A header and its value."""

    name: Annotated[HeaderName, doc("The header's name, in which case does not matter.")]
    value: Annotated[HeaderValue, doc("The header's value.")]


class HeaderFilter(GatewayModel, frozen=True):
    """Changes headers."""

    set: Annotated[list[Header], map_list("name"), doc("Headers to set, whatever they were.", max_items=16)] = []
    add: Annotated[list[Header], map_list("name"), doc("Headers to add to those that are there.", max_items=16)] = []
    remove: Annotated[
        list[str],
        Marker({"x-kubernetes-list-type": "set"}),
        doc("The names of headers to take away.", max_items=16),
    ] = []


class Fraction(GatewayModel, frozen=True):
    """A share of something."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(
        ("numerator must be less than or equal to denominator", "self.numerator <= self.denominator")
    )

    numerator: Annotated[int, doc("How many.", minimum=0)]
    denominator: Annotated[int, doc("Of how many.", minimum=1)] = 100


class RequestMirrorFilter(GatewayModel, frozen=True):
    """Sends requests to a further backend, whose answers nobody reads."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(
        (
            "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter",
            "!(has(self.percent) && has(self.fraction))",
        )
    )

    backend_ref: Annotated[BackendObjectReference, doc("The further backend.")]
    percent: Annotated[
        int | None, doc("The share of requests, in per cent; all if absent.", minimum=0, maximum=100)
    ] = None
    fraction: Annotated[Fraction | None, doc("The share of requests; all if absent.")] = None


NEEDS_PORT = _NEEDS_PORT
MATCH_TYPES = ["Exact", "RegularExpression"]
