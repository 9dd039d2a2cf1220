"""What a machine can do for plain processes: the doctor's checks that concern nobody else."""

from __future__ import annotations

import platform
import shutil

from homeport.node.check import Check
from homeport.node.plain import blocks, notify

_SHARED = (
    "TF_CONFIG, MASTER_ADDR and MASTER_PORT, addresses of services in commands and variables lead there; what a "
    "program looks up by itself does not. "
)


def addresses() -> Check:
    """Whether pods have some, and all ports: tried."""
    return found_addresses(has_calls=notify.can_watch(), has_loopback=blocks.has_loopback())


def found_addresses(*, has_calls: bool, has_loopback: bool) -> Check:
    """`has_calls`: the kernel hands system calls over; `has_loopback`: all of 127.0.0.0/8 is the machine's."""
    if has_calls and has_loopback:
        return Check("Addresses", "ok", "plain processes have addresses, services and names all the same")
    system = "Linux 5.6, and nobody else who has them already," if has_loopback else "Linux"
    return Check(
        "Addresses",
        "warn",
        "all plain processes have the machine's one, and find one another by ports of it",
        f"{_SHARED}A port that a program insists on can be used once. {system} hands the system calls over that name "
        "addresses: there each pod has its own (a virtual machine will do).",
    )


def elsewhere() -> list[Check]:
    """Of a system that is not Linux."""
    found = [
        Check(
            "Kernel",
            "warn",
            f"{platform.system()} {platform.release()}",
            "Pods are plain processes here, which share the machine's files. Linux keeps them apart: a virtual machine "
            "has it.",
        ),
        addresses(),
        Check(
            "Limits",
            "warn",
            "none of the kernel's",
            "A container's memory is looked at every now and then, and it is ended if it has too much. It has all "
            "processors.",
        ),
        Check(
            "Strays",
            "warn",
            "nobody adopts processes that lose their parents",
            "What a container leaves is found by its session and by the variable HOMEPORT_CONTAINER. A program that "
            "leaves the one and has not the other, as those of the system itself, may run on.",
        ),
    ]
    if shutil.which("ps", path="/bin:/usr/bin") is None:
        found.append(Check("ps", "fail", "not in /bin or /usr/bin", "It tells which processes there are: install it."))
    return found
