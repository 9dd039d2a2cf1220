"""Services by the kernel: packets to a front end go to one of its targets, by nftables.

There is no chain or rule per service. A map leads from the front end to a chain for as many targets as it has, which
picks a number, and another map from front end and number to the target. So a change of a service's endpoints is a
change of a few elements of maps, whatever else there is.

Whoever is sent back to itself (a pod that uses a service and is behind it) gets the gateway as the source, as its own
address would never come back to it from outside; everybody else keeps its own.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Mapping

from homeport.node.sandbox import expr, netlink, nft
from homeport.node.sandbox.conntrack import Conntrack, Place
from homeport.node.sandbox.frontends import ANY, PROTOCOLS, Backend, Frontend

TABLE = "homeport-services"
_ONE_REFUSAL, _NAT, _OTHER_REFUSAL, _SOURCE_NAT = -110, -100, -90, 100
_KEY = nft.IP_ADDRESS + nft.PROTOCOL + nft.PORT
_TARGET = nft.IP_ADDRESS + nft.PORT
_FRONTENDS, _TARGETS, _MEMBERS, _CLIENTS = "frontends", "targets", "members", "clients"
_REFUSED, _HAIRPIN, _NODE = "refused", "hairpin", "node-addresses"


def _key(frontend: Frontend) -> bytes:
    return _KEY.pack(
        socket.inet_aton(frontend.address),
        bytes([PROTOCOLS[frontend.protocol]]),
        struct.pack(">H", frontend.port),
    )


def _read_key(register: int, *, node: bool) -> bytes:
    """The front end that the packet is for, into three registers."""
    address = expr.constant(bytes(4), register) if node else expr.ip_destination(register)
    return address + expr.protocol(register + 1) + expr.destination_port(register + 2)


def _numbered(key: bytes, number: int) -> bytes:
    return key + struct.pack("=I", number)


class KernelBalancer:
    """In the network namespace that the caller is in. `gateway` is the node's address there, `services` the network of
    cluster IPs, of which `local` is an address of the node itself. Raises OSError where the kernel lacks something."""

    def __init__(
        self,
        gateway: ipaddress.IPv4Address,
        services: ipaddress.IPv4Network,
        local: ipaddress.IPv4Address,
    ) -> None:
        self._gateway = gateway
        self._services = services
        self._local = local
        self._known: dict[Frontend, Backend] = {}
        self._chains: set[str] = set()
        self._hairpins: dict[str, int] = {}
        self._addresses: frozenset[str] = frozenset()
        self._is_uncertain = False
        self._kernel = nft.Nft()
        self._conntrack = Conntrack()
        self._set_up()

    def _set_up(self) -> None:
        batch = nft.Batch()
        batch.renew(TABLE)
        batch.set(_FRONTENDS, _KEY, value=nft.VERDICT)
        batch.set(_TARGETS, _KEY + nft.NUMBER, value=_TARGET)
        batch.set(_MEMBERS, _KEY + _TARGET)
        batch.set(_CLIENTS, nft.IP_ADDRESS + _KEY, value=_TARGET, dynamic=True)
        batch.set(_REFUSED, _KEY)
        batch.set(_HAIRPIN, nft.IP_ADDRESS + nft.IP_ADDRESS)
        batch.set(_NODE, nft.IP_ADDRESS)
        self._refuse(batch)
        batch.chain("services")
        to_node = expr.ip_destination() + expr.lookup(_NODE)
        batch.rule("services", _read_key(0, node=False), expr.dispatch(_FRONTENDS))
        batch.rule("services", to_node, _read_key(0, node=True), expr.dispatch(_FRONTENDS))
        for name, hook in (("nat-in", nft.PREROUTING), ("nat-out", nft.OUTPUT)):
            batch.base_chain(name, nft.NAT, hook, _NAT)
            batch.rule(name, expr.jump("services"))
        batch.base_chain("back", nft.NAT, nft.POSTROUTING, _SOURCE_NAT)
        batch.rule(
            "back",
            expr.ct_status() + expr.has_bits(expr.CT_DESTINATION_NAT),
            expr.ip_source(0) + expr.ip_destination(1) + expr.lookup(_HAIRPIN),
            expr.constant(self._gateway.packed) + expr.source_nat(0),
        )
        self._kernel.run(batch)
        # A process here gets as far as the rules only if there is a way for its packets.
        route = netlink.Netlink()
        try:
            route.run(
                netlink.rewritten_route(
                    self._services.network_address, self._services.prefixlen, netlink.LOOPBACK, self._gateway
                )
            )
        finally:
            route.close()

    def _refuse(self, batch: nft.Batch) -> None:
        """What has no target is refused before anything is looked up; what is still for a cluster IP afterwards, too:
        nobody has that address, or that port of it."""
        batch.chain("refuse")
        batch.rule("refuse", expr.protocol(), expr.equal(bytes([expr.TCP])), expr.reset())
        batch.rule("refuse", expr.reject())
        mask = self._services.netmask.packed
        is_new = expr.ct_state() + expr.has_bits(expr.CT_NEW)
        for name, hook in (("in", nft.PREROUTING), ("out", nft.OUTPUT)):
            batch.base_chain(f"refuse-{name}", nft.FILTER, hook, _ONE_REFUSAL)
            refused = expr.lookup(_REFUSED)
            to_node = expr.ip_destination() + expr.lookup(_NODE)
            batch.rule(f"refuse-{name}", is_new, _read_key(0, node=False), refused, expr.goto("refuse"))
            batch.rule(f"refuse-{name}", is_new, to_node, _read_key(0, node=True), refused, expr.goto("refuse"))
            batch.base_chain(f"unknown-{name}", nft.FILTER, hook, _OTHER_REFUSAL)
            batch.rule(
                f"unknown-{name}",
                expr.ip_destination() + expr.unequal(self._local.packed),
                expr.masked(mask) + expr.equal(self._services.network_address.packed),
                expr.goto("refuse"),
            )

    def set_addresses(self, addresses: Iterable[str]) -> None:
        """The machine's own addresses, under which node ports can be reached."""
        wanted = frozenset((*addresses, str(self._gateway)))
        batch = nft.Batch()
        batch.use(TABLE)
        batch.drop_elements(_NODE, sorted(socket.inet_aton(old) for old in self._addresses - wanted))
        batch.elements(_NODE, sorted(socket.inet_aton(new) for new in wanted - self._addresses))
        if batch:
            self._kernel.run(batch)
        self._addresses = wanted

    def change(self, changes: Mapping[Frontend, Backend | None]) -> None:
        """Lead these front ends to their targets; None: nowhere any more. Raises OSError; nothing is known then of what
        the kernel has, and the next change writes everything anew."""
        if self._is_uncertain:
            self._start_over()
        try:
            self._change(changes)
        except OSError:
            self._is_uncertain = True
            self._start_over()
            self._change(changes)

    def _start_over(self) -> None:
        """Write all rules anew: somebody has changed them, or half of a large change was made."""
        known, addresses = self._known, self._addresses
        self._set_up()
        self._known, self._chains, self._hairpins, self._addresses = {}, set(), {}, frozenset()
        try:
            self.set_addresses(addresses)
            self._change(known)
        except OSError:
            self._known, self._addresses = known, addresses
            raise
        self._is_uncertain = False

    def _change(self, changes: Mapping[Frontend, Backend | None]) -> None:
        batch = nft.Batch()
        batch.use(TABLE)
        chains, hairpins = set(self._chains), dict(self._hairpins)
        effective = {frontend: backend for frontend, backend in changes.items() if backend != self._known.get(frontend)}
        self._make_chains(batch, effective.values(), effective, chains)
        for frontend, backend in effective.items():
            self._change_one(batch, frontend, self._known.get(frontend), backend)
        self._change_hairpins(batch, effective, hairpins)
        if batch:
            self._kernel.run(batch)
        self._chains, self._hairpins = chains, hairpins
        stale = {frontend: backend for frontend, backend in effective.items() if frontend.protocol == "udp"}
        before = {frontend: self._known.get(frontend) for frontend in stale}
        for frontend, backend in effective.items():
            if backend is None:
                self._known.pop(frontend, None)
            else:
                self._known[frontend] = backend
        self._forget_flows({frontend for frontend, old in before.items() if old is not None})

    def _make_chains(
        self, batch: nft.Batch, backends: Iterable[Backend | None], of: Iterable[Frontend], chains: set[str]
    ) -> None:
        for frontend, backend in zip(of, backends, strict=True):
            if backend is None or not backend.targets:
                continue
            name = _chain(frontend, backend)
            if name not in chains:
                chains.add(name)
                batch.chain(name)
                self._fill_chain(batch, name, frontend, backend)

    def _fill_chain(self, batch: nft.Batch, name: str, frontend: Frontend, backend: Backend) -> None:
        """Registers: the client in 0, the front end from 1 to 3, the number in 4, the target in 5 and 6. What is
        remembered comes into 4 and 5: right behind the front end, as in the keys of members."""
        read = expr.ip_source(0) + _read_key(1, node=frontend.address == ANY)
        pick = expr.random_number(len(backend.targets), 4) + expr.lookup(_TARGETS, 1, into=5)
        act = expr.destination_nat(5, 6)
        if backend.sticky:
            milliseconds = backend.sticky * 1000
            batch.rule(
                name,
                read,
                expr.lookup(_CLIENTS, 0, into=4),
                expr.lookup(_MEMBERS, 1),
                expr.remember(_CLIENTS, 0, 4, milliseconds),
                expr.destination_nat(4, 5),
            )
            act = expr.forget(_CLIENTS, 0, 5) + expr.remember(_CLIENTS, 0, 5, milliseconds) + act
        batch.rule(name, read, pick, act)

    def _change_one(self, batch: nft.Batch, frontend: Frontend, old: Backend | None, new: Backend | None) -> None:
        key = _key(frontend)
        before, after = (each.targets if each is not None else () for each in (old, new))
        dropped = [
            _numbered(key, number)
            for number, target in enumerate(before)
            if number >= len(after) or after[number] != target
        ]
        added = {
            _numbered(key, number): target.packed()
            for number, target in enumerate(after)
            if number >= len(before) or before[number] != target
        }
        verdicts = [
            expr.goto(_chain(frontend, each)) if each is not None and each.targets else None for each in (old, new)
        ]
        if verdicts[0] is not None and verdicts[0] != verdicts[1]:
            batch.drop_elements(_FRONTENDS, [key])
        batch.drop_elements(_TARGETS, dropped)
        batch.elements(_TARGETS, added)
        if verdicts[1] is not None and verdicts[0] != verdicts[1]:
            batch.elements(_FRONTENDS, {key: verdicts[1]})
        members = [
            {key + target.packed() for target in each.targets} if each is not None and each.sticky else set()
            for each in (old, new)
        ]
        batch.drop_elements(_MEMBERS, sorted(members[0] - members[1]))
        batch.elements(_MEMBERS, sorted(members[1] - members[0]))
        refused = [each is not None and not each.targets for each in (old, new)]
        if refused[0] and not refused[1]:
            batch.drop_elements(_REFUSED, [key])
        elif refused[1] and not refused[0]:
            batch.elements(_REFUSED, [key])

    def _change_hairpins(
        self, batch: nft.Batch, changes: Mapping[Frontend, Backend | None], counts: dict[str, int]
    ) -> None:
        for frontend, new in changes.items():
            for backend, step in ((self._known.get(frontend), -1), (new, 1)):
                for target in backend.targets if backend is not None else ():
                    counts[target.address] = counts.get(target.address, 0) + step
        gone = [address for address, count in counts.items() if not count]
        for address in gone:
            del counts[address]
        for make, addresses in (
            (batch.drop_elements, self._hairpins.keys() - counts.keys()),
            (batch.elements, counts.keys() - self._hairpins.keys()),
        ):
            make(_HAIRPIN, sorted(2 * socket.inet_aton(address) for address in addresses))

    def _forget_flows(self, frontends: set[Frontend]) -> None:
        """Of datagrams to targets that have gone."""
        if not frontends:
            return
        right: dict[Place, set[Place]] = {}
        for frontend in frontends:
            backend = self._known.get(frontend)
            targets = {(target.address, target.port) for target in backend.targets} if backend is not None else set()
            addresses = self._addresses if frontend.address == ANY else {frontend.address}
            for address in addresses:
                right.setdefault((address, frontend.port), set()).update(targets)
        self._conntrack.forget_datagrams(lambda sent_to, by: sent_to in right and by not in right[sent_to])

    def close(self) -> None:
        """Take everything away."""
        batch = nft.Batch()
        batch.drop_table(TABLE)
        self._kernel.run(batch)
        self._kernel.close()
        self._conntrack.close()


def _chain(frontend: Frontend, backend: Backend) -> str:
    """The chain for as many targets, of front ends that are found and kept in the same way."""
    kind = "node" if frontend.address == ANY else "address"
    sticky = f"-{backend.sticky}s" if backend.sticky else ""
    return f"{kind}-{len(backend.targets)}{sticky}"
