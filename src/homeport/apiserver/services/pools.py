"""A range of numbers, and who has which of them."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Hashable


class Taken(Exception):
    """Somebody else has the number."""


class Outside(Exception):
    """The number is not one of the range; the text says what upstream's allocator says."""


class Full(Exception):
    """Every number of the range has somebody."""


class Pool:
    """`size` numbers from `first` on. Those in the first `reserved` places are given to whoever asks for one of them by
    number; who does not care gets one of them only when nothing else is left (upstream: KEP-3070, KEP-3668)."""

    def __init__(self, first: int, size: int, reserved: int) -> None:
        self._first = first
        self._size = size
        self._reserved = reserved
        self._holders: dict[int, dict[Hashable, int]] = {}
        """Of a number in use: who has it, and how often. There are several where a store holds duplicates from before
        addresses were given out; somebody has it more than once while being written anew."""

    def holds(self, number: int) -> bool:
        return 0 <= number - self._first < self._size

    def take(self, number: int, holder: Hashable) -> None:
        """Raises Taken if anybody else has it. To be given back as often as it was taken."""
        if self._holders.get(number, {}).keys() - {holder}:
            raise Taken
        self.note(number, holder)

    def note(self, number: int, holder: Hashable) -> None:
        """As `take`, whoever else has it."""
        holders = self._holders.setdefault(number, {})
        holders[holder] = holders.get(holder, 0) + 1

    def pick(self, holder: Hashable) -> int:
        """Any free number. Raises Full."""
        for first, size in (
            (self._first + self._reserved, self._size - self._reserved),
            (self._first, self._reserved),
        ):
            start = secrets.randbelow(size) if size > 0 else 0
            for step in range(size):
                number = first + (start + step) % size
                if number not in self._holders:
                    self.note(number, holder)
                    return number
        raise Full

    def give_back(self, number: int, holder: Hashable) -> None:
        """No error if `holder` does not have it."""
        holders = self._holders.get(number, {})
        if holder not in holders:
            return
        holders[holder] -= 1
        if not holders[holder]:
            del holders[holder]
        if not holders:
            del self._holders[number]


def _reserved(size: int, divisor: int, most: int) -> int:
    """How many numbers at the beginning of a range are kept for those who ask for them by number."""
    if size <= 16:
        return 0
    return min(most, max(16, size // divisor))


class AddressPool(Pool):
    """The addresses of a network, without the network's own and the broadcast address."""

    def __init__(self, network: ipaddress.IPv4Network) -> None:
        self.network = network
        size = max(0, network.num_addresses - 2)
        super().__init__(int(network.network_address) + 1, size, _reserved(size, 16, 256))

    def number_of(self, address: str) -> int:
        """Raises Outside."""
        value = ipaddress.ip_address(address)
        if value.version != self.network.version or value not in self.network:
            raise Outside("the provided network does not match the current range")
        if not self.holds(int(value)):
            words = f"the provided IP ({value}) is not in the valid range."
            raise Outside(f"{words} The range of valid IPs is {self.network}")
        return int(value)


class PortPool(Pool):
    """The ports from `first` to `last`."""

    def __init__(self, first: int, last: int) -> None:
        self._text = f"{first}-{last}"
        size = last - first + 1
        super().__init__(first, size, _reserved(size, 32, 128))

    def check(self, port: int) -> None:
        """Raises Outside."""
        if not self.holds(port):
            words = f"provided port is not in the valid range. The range of valid ports is {self._text}"
            raise Outside(words)
