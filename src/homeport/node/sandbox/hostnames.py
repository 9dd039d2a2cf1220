"""The machine's own names (/etc/hosts), which pods' names are looked up in as the machine's are."""

from __future__ import annotations

import ipaddress
import os

_MOST_BYTES = 1 << 20


class HostNames:
    """Names of the machine's hosts file, but for those of its loopback, where pods would only find themselves."""

    def __init__(self, path: str = "/etc/hosts") -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._names: dict[str, tuple[str, ...]] = {}

    def addresses(self, name: str) -> tuple[str, ...]:
        """Of a name in lower case; none if it is not there. The file is read again when it has changed."""
        try:
            status = os.stat(self._path)
        except OSError:
            return ()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp != self._stamp:
            self._stamp, self._names = stamp, self._read()
        return self._names.get(name, ())

    def _read(self) -> dict[str, tuple[str, ...]]:
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                return parse(file.read(_MOST_BYTES))
        except OSError:
            return {}


def parse(text: str) -> dict[str, tuple[str, ...]]:
    """Name -> addresses of hosts(5) text."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        try:
            value = ipaddress.ip_address(address)
        except ValueError:
            continue
        if value.is_loopback or value.is_multicast or value.is_unspecified or value.is_link_local:
            continue
        for name in names:
            found.setdefault(name.lower().rstrip("."), []).append(str(value))
    return {name: tuple(dict.fromkeys(addresses)) for name, addresses in found.items()}
