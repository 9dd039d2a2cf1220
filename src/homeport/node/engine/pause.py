"""The program of the infrastructure containers, which does nothing: a static executable of some two hundred bytes.

It sets the signal for ended children to be ignored, so that the kernel reaps those that it inherits when containers
share their process namespace, and waits for signals for ever. As process 1 of its namespace it ends by SIGKILL only.
"""

from __future__ import annotations

import io
import struct
import tarfile

_LOAD_ADDRESS = 0x400000
_HEADER, _PROGRAM_HEADER = 64, 56

# rt_sigaction(SIGCHLD, {SIG_IGN, SA_NOCLDWAIT}, 0, 8), then pause() again and again. The structure follows the code.
_CODE = {
    "x86_64": bytes.fromhex(
        "b80d000000"  # mov eax, 13 (rt_sigaction)
        "bf11000000"  # mov edi, 17 (SIGCHLD)
        "488d3519000000"  # lea rsi, [rip + 25] (the structure)
        "31d2"  # xor edx, edx
        "41ba08000000"  # mov r10d, 8
        "0f05"  # syscall
        "b822000000"  # mov eax, 34 (pause)
        "0f05"  # syscall
        "ebf7"  # back to the pause
        "909090909090"  # nop, up to the structure
    ),
    "aarch64": struct.pack(
        "<16I",
        0xD28010C8,  # mov x8, 134 (rt_sigaction)
        0xD2800220,  # mov x0, 17 (SIGCHLD)
        0x100001C1,  # adr x1, +56 (the structure)
        0xD2800002,  # mov x2, 0
        0xD2800103,  # mov x3, 8
        0xD4000001,  # svc 0
        0xD2800928,  # mov x8, 73 (ppoll)
        0xD2800000,  # mov x0, 0
        0xD2800001,  # mov x1, 0
        0xD2800002,  # mov x2, 0
        0xD2800003,  # mov x3, 0
        0xD2800004,  # mov x4, 0
        0xD4000001,  # svc 0
        0x17FFFFF9,  # back to the ppoll
        0xD503201F,  # nop
        0xD503201F,  # nop
    ),
}
_MACHINE = {"x86_64": 62, "aarch64": 183}
_IGNORE, _NO_CHILD_WAIT = 1, 2
_ACTION = struct.pack("<QQQQ", _IGNORE, _NO_CHILD_WAIT, 0, 0)
NAMES = {"amd64": "x86_64", "arm64": "aarch64", "x86_64": "x86_64", "aarch64": "aarch64"}
"""Of machines, as engines call them and as the kernel does."""


def program(machine: str) -> bytes:
    """The executable for ``x86_64`` or ``aarch64``. Raises KeyError for others."""
    content = _CODE[machine] + _ACTION
    entry = _LOAD_ADDRESS + _HEADER + _PROGRAM_HEADER
    size = _HEADER + _PROGRAM_HEADER + len(content)
    identification = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack(
        "<HHIQQQIHHHHHH", 2, _MACHINE[machine], 1, entry, _HEADER, 0, 0, _HEADER, _PROGRAM_HEADER, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 0x1000)
    return identification + header + segment + content


def root(machine: str, directories: tuple[str, ...]) -> bytes:
    """A tar archive with the program at ``/pause``, and directories to mount something on."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in directories:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        content = program(machine)
        entry = tarfile.TarInfo("pause")
        entry.size, entry.mode = len(content), 0o755
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
