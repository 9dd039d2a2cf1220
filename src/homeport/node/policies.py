"""What network policies allow, pod by pod. Pure.

The rules are those of networking.k8s.io/v1: a pod that a policy selects for a direction is isolated in it, and then
only what some policy that selects it allows goes through. Traffic of the node itself (probes, name resolution, the API
server, what comes through the machine's ports) is never held up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from homeport.kube import meta, selector
from homeport.kube.meta import Object

Direction = Literal["ingress", "egress"]
Range = tuple[int, int]
"""IPv4 addresses as numbers, from the first to the last."""
_EVERY_PORT = (0, 65535)


class PodFacts(msgspec.Struct, frozen=True):
    """What matters of a pod that has an address of its own."""

    namespace: str
    labels: Mapping[str, str]
    address: str
    ports: tuple[tuple[str, str, int], ...] = ()
    """Name, protocol, number."""


class Port(msgspec.Struct, frozen=True, order=True):
    protocol: str
    first: int
    last: int


class Rule(msgspec.Struct, frozen=True, order=True):
    """Allows what is from (or to) any of the peers and to any of the ports."""

    peers: tuple[Range, ...] | None = None
    """None: everybody."""
    ports: tuple[Port, ...] | None = None
    """None: everything, of all protocols."""


class Allowed(msgspec.Struct, frozen=True):
    """Of a pod; None where it is not isolated."""

    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None


def pod_facts(pod: Object, address: str) -> PodFacts | None:
    """None for a pod without an address of its own: one on the machine's network."""
    spec = meta.spec(pod)
    if not address or spec.get("hostNetwork"):
        return None
    ports = tuple(
        (port["name"], port.get("protocol") or "TCP", port["containerPort"])
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        for port in container.get("ports") or ()
        if port.get("name")
    )
    return PodFacts(meta.namespace(pod), meta.labels(pod), address, ports)


def allowed(
    policies: Sequence[Object], pods: Sequence[PodFacts], namespaces: Mapping[str, Mapping[str, str]]
) -> dict[str, Allowed]:
    """What holds for each pod that some policy selects, by its address. `namespaces`: name -> labels."""
    found: dict[str, dict[Direction, list[Rule]]] = {}
    for policy in policies:
        spec, namespace = meta.spec(policy), meta.namespace(policy)
        selected = _Peers(pods, namespaces, namespace)
        targets = selected.of_selector(spec.get("podSelector") or {})
        for direction in _directions(spec):
            compiled = [_Rule(entry, direction, selected) for entry in spec.get(direction) or ()]
            for pod in targets:
                rules = found.setdefault(pod.address, {}).setdefault(direction, [])
                for rule in compiled:
                    rules.extend(rule.of(pod))
    return {address: Allowed(**{d: _tidy(rules) for d, rules in known.items()}) for address, known in found.items()}


def _tidy(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """In one order, each once; nothing else where everything is allowed."""
    once = set(rules)
    return (Rule(),) if Rule() in once else tuple(sorted(once, key=repr))


def _directions(spec: Mapping[str, Any]) -> list[Direction]:
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    known: tuple[tuple[str, Direction], ...] = (("Ingress", "ingress"), ("Egress", "egress"))
    return [direction for name, direction in known if name in types]


class _Peers:
    """The pods that selectors of one policy mean."""

    def __init__(self, pods: Sequence[PodFacts], namespaces: Mapping[str, Mapping[str, str]], namespace: str) -> None:
        self.pods = pods
        self._namespaces = namespaces
        self._namespace = namespace

    def of_selector(self, pod_selector: Object | None, namespace_selector: Object | None = None) -> list[PodFacts]:
        wanted = selector.from_label_selector(pod_selector or {})
        if namespace_selector is None:
            names = {self._namespace}
        else:
            of_namespace = selector.from_label_selector(namespace_selector)
            names = {name for name, labels in self._namespaces.items() if of_namespace.matches(labels)}
        return [pod for pod in self.pods if pod.namespace in names and wanted.matches(pod.labels)]


class _Rule:
    """One entry of ``ingress`` or ``egress``."""

    def __init__(self, entry: Mapping[str, Any], direction: Direction, peers: _Peers) -> None:
        self._direction = direction
        entries = entry.get("from" if direction == "ingress" else "to") or ()
        self._pods: list[PodFacts] = []
        self._blocks: list[Range] = []
        for peer in entries:
            if block := peer.get("ipBlock"):
                self._blocks += ranges(block["cidr"], block.get("except") or ())
            else:
                self._pods += peers.of_selector(peer.get("podSelector"), peer.get("namespaceSelector"))
        self._is_any = not entries
        self._everybody = peers.pods
        wanted = entry.get("ports") or ()
        self._numbered = [port for port in wanted if not isinstance(port.get("port"), str)]
        self._named = [port for port in wanted if isinstance(port.get("port"), str)]
        self._addresses = None if self._is_any else merged((*self._blocks, *(_single(p.address) for p in self._pods)))

    def of(self, pod: PodFacts) -> Iterable[Rule]:
        """What the entry allows `pod`, which the policy selects."""
        if not self._numbered and not self._named:
            yield Rule(self._addresses)
            return
        ports = [_numbered(port) for port in self._numbered]
        if self._direction == "ingress":
            ports += _of_name(self._named, pod)
        if ports:
            yield Rule(self._addresses, tuple(sorted(set(ports))))
        if self._direction == "egress" and self._named:
            # A name means what each pod at the other end means by it.
            for peer in self._everybody if self._is_any else self._pods:
                if found := _of_name(self._named, peer):
                    yield Rule((_single(peer.address),), tuple(sorted(set(found))))


def _numbered(port: Mapping[str, Any]) -> Port:
    protocol = port.get("protocol") or "TCP"
    if port.get("port") is None:
        return Port(protocol, *_EVERY_PORT)
    return Port(protocol, int(port["port"]), int(port.get("endPort") or port["port"]))


def _of_name(wanted: Iterable[Mapping[str, Any]], pod: PodFacts) -> list[Port]:
    named = [(port["port"], port.get("protocol") or "TCP") for port in wanted]
    return [Port(protocol, number, number) for name, protocol, number in pod.ports if (name, protocol) in named]


# Addresses.


def _single(address: str) -> Range:
    number = int(ipaddress.IPv4Address(address))
    return number, number


def ranges(cidr: str, excluded: Iterable[str]) -> list[Range]:
    """A block without its exceptions; nothing of IPv6, which no pod here has."""
    network = ipaddress.ip_network(cidr, strict=False)
    if network.version == 6:
        return []
    left = [(int(network.network_address), int(network.broadcast_address))]
    for text in excluded:
        hole = ipaddress.ip_network(text, strict=False)
        if hole.version == 6:
            continue
        first, last = int(hole.network_address), int(hole.broadcast_address)
        pieces: list[Range] = []
        for begin, end in left:
            if last < begin or first > end:
                pieces.append((begin, end))
                continue
            if begin < first:
                pieces.append((begin, first - 1))
            if end > last:
                pieces.append((last + 1, end))
        left = pieces
    return left


def merged(parts: Iterable[Range]) -> tuple[Range, ...]:
    """In order, without overlaps."""
    found: list[Range] = []
    for first, last in sorted(parts):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def message(wanted: Mapping[str, Allowed]) -> dict[str, Any]:
    """As the network helper reads it: the distinct lists of rules, and which of them each pod has."""
    lists: dict[tuple[Rule, ...], int] = {}

    def number(rules: tuple[Rule, ...] | None) -> int | None:
        return None if rules is None else lists.setdefault(rules, len(lists))

    pods = {address: [number(known.ingress), number(known.egress)] for address, known in sorted(wanted.items())}
    return {"pods": pods, "lists": [[_wire(rule) for rule in rules] for rules in lists]}


def _wire(rule: Rule) -> list[Any]:
    ports = None if rule.ports is None else [[port.protocol, port.first, port.last] for port in rule.ports]
    return [None if rule.peers is None else [list(part) for part in rule.peers], ports]
