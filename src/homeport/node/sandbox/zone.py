"""What the cluster's DNS knows, as Kubernetes' own DNS answers it: pure.

A name has texts: an address alone, or ``CNAME target``, ``SRV port target``, ``PTR target``, ``TXT text``. AAAA of a
name that has only IPv4 addresses is NOERROR without records, so that resolvers don't try another search domain; a
name of the cluster's domain that doesn't exist is NXDOMAIN at once.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from homeport.node.sandbox import dns
from homeport.node.sandbox.dns import ANY, CNAME, NAME_ERROR, NOERROR, PTR, SRV, TXT, A, Query, Record, encode_name

_SCHEMA = "1.1.0"
"""The version of the Kubernetes DNS specification, as ``dns-version`` says it."""
_MOST_ALIASES = 8
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Found(NamedTuple):
    """The answer to a question."""

    code: int
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    target: str = ""
    """The last alias leads to this name, which is somebody else's to answer."""


class Zone:
    def __init__(self, domain: str, networks: Iterable[Network], server: str) -> None:
        """`server` is the name server's own address. Addresses of `networks` have no names but those known here."""
        self._domain = domain
        self._records: dict[str, list[Record]] = {}
        self._raw: dict[str, tuple[str, ...]] = {}
        self._parents: dict[str, int] = {}
        self._reverse: tuple[str, ...] = ()
        self.close_networks(networks)
        name = f"ns.dns.{domain}"
        # "hostmaster", serial and times as any resolver accepts; the last is how long "no such name" may be kept.
        data = encode_name(name) + encode_name(f"hostmaster.{domain}")
        self._soa = Record(dns.SOA, data + struct.pack(">5I", 1, 7200, 1800, 86400, dns.TTL), domain)
        self._own = {
            domain: [self._soa, Record(dns.NS, encode_name(name), domain)],
            name: [_address(server)],
            f"dns-version.{domain}": [Record(TXT, bytes([len(_SCHEMA)]) + _SCHEMA.encode())],
        }
        for own in (name, f"dns-version.{domain}"):
            self._count(own, 1)

    def close_networks(self, networks: Iterable[Network]) -> None:
        """Set whose addresses have no names but those known here."""
        self._reverse = tuple(_reverse_domain(network) for network in networks)

    @property
    def records(self) -> Mapping[str, tuple[str, ...]]:
        return self._raw

    def set(self, name: str, texts: Iterable[str]) -> None:
        """Raises ValueError for what is no text of a record."""
        name, texts = _clean(name), tuple(texts)
        weight = 100 // max(sum(text.startswith("SRV ") for text in texts), 1)
        parsed = [_parse(text, weight) for text in texts]
        self.remove(name)
        self._raw[name], self._records[name] = texts, parsed
        self._count(name, 1)

    def remove(self, name: str) -> None:
        """No error if it is not there."""
        name = _clean(name)
        if self._raw.pop(name, None) is not None:
            del self._records[name]
            self._count(name, -1)

    def clear(self) -> None:
        for name in list(self._raw):
            self.remove(name)

    def _count(self, name: str, step: int) -> None:
        """The names above exist as long as one below does."""
        for parent in _parents(name):
            self._parents[parent] = self._parents.get(parent, 0) + step
            if not self._parents[parent]:
                del self._parents[parent]

    def find(self, query: Query) -> Found | None:
        """None if the name is somebody else's to answer."""
        answers: list[Record] = []
        name, seen = query.name, set[str]()
        while True:
            records = self._known(name)
            if records is None:
                if not answers:
                    return self._nothing(name)
                if not self._is_own(name):
                    return Found(NOERROR, tuple(answers), target=name)
                nothing = self._nothing(name) or Found(NAME_ERROR)
                return nothing._replace(answers=tuple(answers))
            alias = next((record for record in records if record.kind == CNAME), None)
            if alias is None or query.kind in (CNAME, ANY):
                matching = _in_turn([r for r in records if query.kind in (r.kind, ANY)], query.number)
                # The question's own name is pointed to in the answer; one that an alias leads to is written.
                found = [record._replace(owner=name if answers else "") for record in matching]
                authority = () if found else (self._soa,)
                return Found(NOERROR, (*answers, *found), authority, self._targets(found))
            answers.append(alias._replace(owner=name if answers else ""))
            seen.add(name)
            name = _read_name(alias.data)
            if name in seen or len(seen) >= _MOST_ALIASES:
                return Found(dns.SERVER_FAILURE)

    def _known(self, name: str) -> list[Record] | None:
        return self._records.get(name) or self._own.get(name) or ([] if name in self._raw else None)

    def _is_own(self, name: str) -> bool:
        return any(name == domain or name.endswith(f".{domain}") for domain in (self._domain, *self._reverse))

    def _nothing(self, name: str) -> Found | None:
        if name in self._parents:
            return Found(NOERROR, authority=(self._soa,))
        return Found(NAME_ERROR, authority=(self._soa,)) if self._is_own(name) else None

    def _targets(self, found: list[Record]) -> tuple[Record, ...]:
        """The addresses of services' hosts, so that nobody has to ask for them."""
        names = dict.fromkeys(_read_name(record.data[6:]) for record in found if record.kind == SRV)
        return tuple(
            record._replace(owner=name)
            for name in names
            for record in self._records.get(name, ())
            if record.kind in (A, dns.AAAA)
        )


def _in_turn(records: list[Record], number: int) -> list[Record]:
    """Askers take the first: let it be another one each time."""
    if len(records) < 2:
        return records
    turn = number % len(records)
    return records[turn:] + records[:turn]


def _clean(name: str) -> str:
    return name.lower().rstrip(".")


def _address(text: str) -> Record:
    value = ipaddress.ip_address(text)
    return Record(A if value.version == 4 else dns.AAAA, value.packed)


def _parse(text: str, weight: int) -> Record:
    kind, _, rest = text.partition(" ")
    if kind == "CNAME":
        return Record(CNAME, encode_name(_clean(rest)))
    if kind == "PTR":
        return Record(PTR, encode_name(_clean(rest)))
    if kind == "TXT":
        data = rest.encode()
        return Record(
            TXT, b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
        )
    if kind == "SRV":
        port, _, target = rest.partition(" ")
        return Record(SRV, struct.pack(">3H", 0, weight, int(port)) + encode_name(_clean(target)))
    return _address(text)


def _read_name(data: bytes) -> str:
    """A name that was written whole."""
    labels, offset = [], 0
    while length := data[offset]:
        labels.append(data[offset + 1 : offset + 1 + length].decode())
        offset += 1 + length
    return ".".join(labels)


def _reverse_domain(network: Network) -> str:
    """The domain of the network's addresses, up to the whole label."""
    step, name = (8, "in-addr.arpa") if network.version == 4 else (4, "ip6.arpa")
    labels = network.network_address.reverse_pointer.removesuffix(f".{name}").split(".")
    kept = labels[len(labels) - network.prefixlen // step :]
    return ".".join((*kept, name))


def _parents(name: str) -> list[str]:
    """The names above that have at least two labels: those above are not the cluster's to speak of."""
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(1, len(labels) - 1)]
