"""How a pod resolves names, as the kubelet decides it of ``dnsPolicy`` and ``dnsConfig``. Pure.

Rules and limits: pkg/kubelet/network/dns in kubernetes/kubernetes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from homeport.kube import meta
from homeport.kube.meta import Object

_MOST_SERVERS, _MOST_SEARCHES, _MOST_SEARCH_CHARACTERS = 3, 32, 2048


class Resolver(msgspec.Struct, frozen=True):
    """The parts of a resolv.conf(5)."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse(text: str) -> Resolver:
    """Of several lines of searches or options the last one counts, as for the C library."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values:
            servers.append(values[0])
        elif keyword == "search":
            searches = tuple(value if value == "." else value.rstrip(".") for value in values)
        elif keyword == "options":
            options = tuple(values)
    return Resolver(tuple(servers), searches, options)


def resolver(pod: Object, machine: Resolver, *, server: str, domain: str) -> tuple[Resolver, list[str]]:
    """What the pod's resolv.conf says, and what to warn of (``DNSConfigForming``).

    `machine` is the machine's own; `server` the cluster's name server (empty: the pod can't reach it, and has the
    machine's), `domain` its domain.
    """
    spec = meta.spec(pod)
    policy, on_host = spec.get("dnsPolicy") or "ClusterFirst", bool(spec.get("hostNetwork"))
    if policy == "None":
        base = Resolver()
    elif policy == "Default" or not server or (policy == "ClusterFirst" and on_host):
        base = machine if on_host else _reachable(machine, server)
    else:
        own = (f"{meta.namespace(pod)}.svc.{domain}", f"svc.{domain}", domain)
        base = Resolver((server,), _once(own, machine.searches), ("ndots:5",))
    return _fitting(_with_config(base, spec.get("dnsConfig") or {}))


def _reachable(machine: Resolver, server: str) -> Resolver:
    """A resolver on the machine's loopback is none for a pod: the cluster's asks it on the pod's behalf."""
    servers = (server if _is_loopback(address) else address for address in machine.nameservers)
    return Resolver(_once(servers) or (server,), machine.searches, machine.options)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _with_config(base: Resolver, config: dict[str, Any]) -> Resolver:
    options = dict(option.partition(":")[::2] for option in base.options)
    for option in config.get("options") or ():
        options[option["name"]] = option.get("value") or ""
    return Resolver(
        _once(base.nameservers, config.get("nameservers") or ()),
        _once(base.searches, config.get("searches") or ()),
        tuple(f"{name}:{value}" if value else name for name, value in options.items()),
    )


def _fitting(wanted: Resolver) -> tuple[Resolver, list[str]]:
    servers, searches, warnings = wanted.nameservers[:_MOST_SERVERS], wanted.searches[:_MOST_SEARCHES], []
    while len(" ".join(searches)) > _MOST_SEARCH_CHARACTERS:
        searches = searches[:-1]
    if searches != wanted.searches:
        warnings.append(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "
            + " ".join(searches)
        )
    if servers != wanted.nameservers:
        warnings.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
            + " ".join(servers)
        )
    return Resolver(servers, searches, wanted.options), warnings


def _once(*parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for part in parts for value in part))


def aliases(entries: Sequence[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """``hostAliases`` by address."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        found[entry["ip"]] = _once(found.get(entry["ip"], ()), entry.get("hostnames") or ())
    return found
