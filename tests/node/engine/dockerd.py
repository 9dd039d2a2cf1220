"""A Docker of the tests' own: its images and containers lie in a directory of its own, nothing is fetched."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from shellimage import IMAGE, archive, without_hosts_tools

_PATH = "/usr/sbin:/usr/local/sbin:/sbin"
"""Where daemons are, which are on nobody's path but root's."""


def missing() -> str:
    """Why no daemon can be started here; empty if it can."""
    if os.geteuid() != 0:
        return "Docker's daemon is started as root here"
    needed = [name for name in ("dockerd", "containerd", "runc") if _which(name) is None]
    return f"not installed: {', '.join(needed)} (Debian: apt install docker.io)" if needed else without_hosts_tools()


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PATH}")


@contextlib.contextmanager
def service(directory: Path) -> Iterator[str]:
    """The socket of a daemon with one image, :data:`shellimage.IMAGE`, which has busybox."""
    path, program = directory / "docker.sock", _which("dockerd")
    assert program is not None
    # It leaves the machine's network alone: pods have ours.
    options = ["--iptables=false", "--ip6tables=false", "--bridge=none"]
    options += ["--data-root", str(directory / "data"), "--exec-root", str(directory / "exec")]
    options += ["--pidfile", str(directory / "docker.pid"), "--host", f"unix://{path}"]
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{_PATH}"}
    with (directory / "docker.log").open("ab") as log:
        # The images are small, and copies of them work on every file system.
        process = subprocess.Popen([program, *options, "--storage-driver=vfs"], env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not _answers(path) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        _import(path)
        yield str(path)
    finally:
        process.terminate()
        process.wait(60)
        # It leaves its network namespaces mounted for its next life.
        for place in (directory / "exec" / "netns").glob("*"):
            subprocess.run(["umount", str(place)], capture_output=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def _import(path: Path) -> None:
    """Make the image, as ``docker import`` does."""
    name, _, tag = IMAGE.rpartition(":")
    body = archive()
    query = f"fromSrc=-&repo={name}&tag={tag}&changes=CMD%20%5B%22sh%22%5D&changes=ENV%20FROM_IMAGE%3Dyes"
    head = f"POST /images/create?{query} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/x-tar\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = b""
        while part := client.recv(65536):
            answer += part
    assert b" 200 " in answer.partition(b"\r\n")[0], answer
