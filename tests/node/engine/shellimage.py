"""The image that the tests give to engines: busybox, and nothing of a registry."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile

IMAGE = "docker.io/library/shell:1"
_PLACES = ("bin", "etc", "tmp", "root", "usr", "usr/bin", "var", "proc", "dev", "sys", "data")
_USERS = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"


def without_hosts_tools() -> str:
    """Why the image can't be made here; empty if it can."""
    return "" if shutil.which("busybox") else "not installed: busybox (Debian: apt install busybox-static)"


def archive() -> bytes:
    """Its root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for place in _PLACES:
            entry = tarfile.TarInfo(place)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if place == "tmp" else 0o755
            packed.addfile(entry)
        program = shutil.which("busybox")
        assert program is not None
        packed.add(program, "bin/busybox")
        listed = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()
        for name in listed:
            if name != "busybox":
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                packed.addfile(link)
        users = tarfile.TarInfo("etc/passwd")
        users.size = len(_USERS)
        packed.addfile(users, io.BytesIO(_USERS))
    return buffer.getvalue()
