"""Which requests share what: FlowSchemas sort them into priority levels and flows. Pure.

Matching is upstream's (``apiserver/pkg/util/flowcontrol`` rule.go); what a class of requests comes to is worked out
once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from homeport.apiserver.routes import RequestInfo
from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.kube.wire import User

_MOST_KNOWN = 4096
"""Classes of requests that are remembered."""
_LONGEST = 256
"""Characters of the path of a request whose class is remembered: whoever asks makes them up."""
_ACCOUNT = "system:serviceaccount:"
_ALL = "*"


class Level(msgspec.Struct, eq=False):
    """A priority level, and how many of its requests are being worked on."""

    name: str
    uid: str = ""
    exempt: bool = False
    """Its requests wait for their turn only, never for a seat."""
    nominal: int = 0
    """Seats that it has."""
    reserved: int = 0
    """Of these, those that it lends nobody."""
    most: float = math.inf
    """Seats that it can have with those that others lend it."""
    queues: bool = True
    """Whether requests wait for a seat; else they are refused."""
    per_flow: int = 0
    """Requests of one flow that may wait."""
    waiting_most: int = 0
    """Requests that may wait in all."""
    executing: int = 0


class Schema(msgspec.Struct, eq=False):
    """A FlowSchema whose level exists."""

    name: str
    level: Level
    uid: str = ""
    distinguisher: str = ""
    rules: tuple[Mapping[str, Any], ...] = ()
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """What an answer says of where its request was sorted."""
    executing: int = 0
    waiting: int = 0
    dispatched: int = 0

    @property
    def labels(self) -> tuple[str, str]:
        return (self.level.name, self.name)


class Place(NamedTuple):
    """Where a request belongs."""

    schema: Schema
    flow: tuple[str, str]
    """The schema's name, and what tells its flows apart."""


class Classes:
    """Sorts requests by the `schemas`, which come with the lowest precedence first and end with one for all."""

    def __init__(self, schemas: Iterable[Schema]) -> None:
        self.schemas = tuple(schemas)
        self._known: dict[tuple[Any, ...], Place] = {}

    def of(self, user: User, info: RequestInfo) -> Place:
        path = "" if info.is_resource else info.path
        key = (user.name, user.groups, info.verb, info.group, info.resource, info.subresource, info.namespace, path)
        place = self._known.get(key)
        if place is None:
            place = self._sort(user, info)
            if len(info.path) <= _LONGEST:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[key] = place
        return place

    def _sort(self, user: User, info: RequestInfo) -> Place:
        for schema in self.schemas:
            if any(_matches(rule, user, info) for rule in schema.rules):
                break
        else:
            schema = self.schemas[-1]  # for users in no group at all
        value = {"ByUser": user.name, "ByNamespace": info.namespace}.get(schema.distinguisher, "")
        return Place(schema, (schema.name, value))


def _matches(rule: Mapping[str, Any], user: User, info: RequestInfo) -> bool:
    if not any(_is(subject, user) for subject in rule.get("subjects") or ()):
        return False
    if info.is_resource:
        return any(_asks(one, info) for one in rule.get("resourceRules") or ())
    return any(
        _has(one.get("verbs"), info.verb) and any(_covers(url, info.path) for url in one.get("nonResourceURLs") or ())
        for one in rule.get("nonResourceRules") or ()
    )


def _is(subject: Mapping[str, Any], user: User) -> bool:
    match subject.get("kind"):
        case "User":
            return (subject.get("user") or {}).get("name") in (_ALL, user.name)
        case "Group":
            wanted = (subject.get("group") or {}).get("name")
            return wanted == _ALL or wanted in user.groups
        case "ServiceAccount":
            account = subject.get("serviceAccount") or {}
            namespace, _, name = user.name.removeprefix(_ACCOUNT).partition(":")
            known = user.name.startswith(_ACCOUNT) and namespace == account.get("namespace")
            return known and account.get("name") in (_ALL, name)
    return False


def _asks(rule: Mapping[str, Any], info: RequestInfo) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not (
        _has(rule.get("verbs"), info.verb)
        and _has(rule.get("apiGroups"), info.group)
        and _has(rule.get("resources"), resource)
    ):
        return False
    return _has(rule.get("namespaces"), info.namespace) if info.namespace else bool(rule.get("clusterScope"))


def _has(values: Any, value: str) -> bool:
    return bool(values) and (_ALL in values or value in values)


def _covers(url: str, path: str) -> bool:
    return path.startswith(url[:-1]) if url.endswith(_ALL) else path == url


# -- from objects


def levels(objects: Iterable[Object], seats: int, known: Mapping[str, Level]) -> dict[str, Level]:
    """The levels by name; those that are `known` already keep their counts. `seats` are shared out among them."""
    objects = list(objects)
    shares = {meta.name(obj): _shares(obj) for obj in objects}
    total = sum(shares.values())
    found: dict[str, Level] = {}
    for obj in objects:
        name = meta.name(obj)
        level = found[name] = known.get(name) or Level(name)
        spec = meta.spec(obj)
        level.uid = meta.metadata(obj).get("uid") or ""
        level.exempt = spec.get("type") == "Exempt"
        level.nominal = math.ceil(seats * shares[name] / total) if total else 0
        settings = spec.get("exempt" if level.exempt else "limited") or {}
        level.reserved = math.ceil(level.nominal * (100 - (settings.get("lendablePercent") or 0)) / 100)
        borrowing = settings.get("borrowingLimitPercent")
        level.most = math.inf if borrowing is None else level.nominal * (100 + borrowing) / 100
        response = settings.get("limitResponse") or {}
        queuing = response.get("queuing") or {}
        level.queues = level.exempt or response.get("type") == "Queue"
        queues, hand, length = (int(queuing.get(key) or 0) for key in ("queues", "handSize", "queueLengthLimit"))
        # Upstream deals each flow a hand of queues; a flow has a queue of its own here, as long as all in its hand.
        level.per_flow, level.waiting_most = hand * length, queues * length
    return found


def _shares(level: Object) -> int:
    spec = meta.spec(level)
    settings = spec.get("exempt" if spec.get("type") == "Exempt" else "limited") or {}
    shares = settings.get("nominalConcurrencyShares")
    if shares is None:
        shares = 0 if spec.get("type") == "Exempt" else 30
    return int(shares)


def schemas(objects: Iterable[Object], by_name: Mapping[str, Level], known: Mapping[str, Schema]) -> list[Schema]:
    """The schemas in the order in which they are tried; those whose level does not exist have no effect."""

    def precedence(obj: Object) -> tuple[int, str]:
        return int(meta.spec(obj).get("matchingPrecedence") or 1000), meta.name(obj)

    found: list[Schema] = []
    for obj in sorted(objects, key=precedence):
        spec = meta.spec(obj)
        level = by_name.get((spec.get("priorityLevelConfiguration") or {}).get("name") or "")
        if level is None:
            continue
        name = meta.name(obj)
        schema = known.get(name)
        if schema is None or schema.level is not level:
            schema = Schema(name, level)
        schema.uid = meta.metadata(obj).get("uid") or ""
        schema.distinguisher = (spec.get("distinguisherMethod") or {}).get("type") or ""
        schema.rules = tuple(spec.get("rules") or ())
        if schema.uid and level.uid:
            schema.headers = {
                "x-kubernetes-pf-flowschema-uid": schema.uid,
                "x-kubernetes-pf-prioritylevel-uid": level.uid,
            }
        found.append(schema)
    return found
