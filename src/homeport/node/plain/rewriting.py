"""Names of the cluster and their ports in what a program is told, replaced by what leads there, for systems where
nothing can be done about the program's own calls. Pure.

That is: ``<name>.<namespace>.svc:<port>`` wherever it stands in the command and in variables (``TF_CONFIG``); an
address of the cluster and a port; names and ports in variables of their own, as ``MASTER_ADDR`` and ``MASTER_PORT`` or
``DB_SERVICE_HOST`` and ``DB_SERVICE_PORT``. What a program makes up itself is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

Place = tuple[str, int]
Lookup = Callable[[str, int, bool], Place | None]
"""Where a host's port is, None for hosts that are not the cluster's; the last: whether it surely is a host."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_QUALIFIED = rf"{_LABEL}(?:\.{_LABEL})*\.svc(?:\.cluster\.local)?\.?"
_ADDRESS = r"\d{1,3}(?:\.\d{1,3}){3}"
_PLACE = re.compile(rf"(?<![\w.-])({_QUALIFIED}|{_ADDRESS}):(\d{{1,5}})(?![\w.-])")
_SHORT = re.compile(rf"(^|[,;/@])({_LABEL}):(\d{{1,5}})(?=$|[,;/])")
_HOST = re.compile(rf"{_QUALIFIED}|{_ADDRESS}|{_LABEL}")
_HOSTS = ("_ADDR", "_ADDRESS", "_HOST", "_IP")
"""How the names of variables end that have a host, beside one of the same beginning that has its port."""
_PLACES = ("_ADDRS", "_HOSTS", "_ENDPOINT", "_ENDPOINTS", "_MASTER", "_SERVER", "_SERVERS")
"""And how those do that have hosts with their ports, as the others may."""


def environment(env: Mapping[str, str], lookup: Lookup) -> dict[str, str]:
    """Variables, with values that lead where they are meant to."""
    found = {name: text(value, lookup, is_sure=name.endswith((*_HOSTS, *_PLACES))) for name, value in env.items()}
    for name, value in env.items():
        ending = next((ending for ending in _HOSTS if name.endswith(ending)), None)
        port = env.get(f"{name.removesuffix(ending)}_PORT", "") if ending is not None else ""
        if port.isdecimal() and _HOST.fullmatch(value) and (place := lookup(value, int(port), True)) is not None:
            found[name], found[f"{name.removesuffix(ending or '')}_PORT"] = place[0], str(place[1])
    return found


def command(argv: Sequence[str], lookup: Lookup) -> list[str]:
    """The words of a command."""
    return [text(word, lookup, is_sure=False) for word in argv]


def text(value: str, lookup: Lookup, *, is_sure: bool) -> str:
    """A value or a word. Short names stand alone, in a list or in a URL; `is_sure`: one that nobody knows yet is a
    host's all the same."""

    def replaced(host: str, port: str, is_sure: bool) -> str:
        place = lookup(host, int(port), is_sure)
        return f"{host}:{port}" if place is None else f"{place[0]}:{place[1]}"

    value = _PLACE.sub(lambda match: replaced(match[1], match[2], True), value)
    return _SHORT.sub(lambda match: match[1] + replaced(match[2], match[3], is_sure), value)
