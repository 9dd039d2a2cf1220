"""Kernel parameters of a pod's own namespaces, set by its supervisor, which is in them."""

from __future__ import annotations

import contextlib
import os

from homeport.node.sandbox import files, idmap

_DEFAULTS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    # In a user namespace, the ids that exist there.
    "net.ipv4.ping_group_range": "0 {last}",
}
"""As containers have them elsewhere: whoever a container runs as may listen on port 80, and ping. The ports and the
echoes are the pod's own."""
_MOST_GROUPS = 2**31 - 1


def apply(wanted: dict[str, str], *, own_network: bool) -> None:
    """Raises OSError, with the file of the parameter that the kernel does not take."""
    if own_network:
        last = next(group for group in (_MOST_GROUPS, 65535, 0) if idmap.is_mapped("gid", group))
        for name, value in _DEFAULTS.items():
            # A kernel that lacks it, or keeps it to itself.
            with contextlib.suppress(OSError):
                _write(name, value.format(last=last))
    for name, value in wanted.items():
        _write(name, value)


def _write(name: str, value: str) -> None:
    files.write(os.path.join("/proc/sys", *parts(name)), value)


def parts(name: str) -> list[str]:
    """A parameter's path below /proc/sys. As sysctl(8) has it: the first separator, ``.`` or ``/``, is the separator,
    and the other stands for itself in a name (``net.ipv4.conf.eth0/1.rp_filter``)."""
    first = next((character for character in name if character in "./"), ".")
    other = "/" if first == "." else "."
    return [part.replace(other, first) for part in name.split(first) if part not in ("", ".", "..")]
