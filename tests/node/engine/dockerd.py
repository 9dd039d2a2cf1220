"""A Docker of the tests' own: its images and containers lie in a directory of its own, nothing is fetched."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shellimage import IMAGE, archive, without_hosts_tools

_PATH = "/usr/sbin:/usr/local/sbin:/sbin"
"""Where daemons are, which are on nobody's path but root's."""


_CONTAINERD = """
version = 2
root = "{0}/containerd"
state = "{0}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{0}/containerd.sock"
"""


def missing() -> str:
    """Why no daemon can be started here; empty if it can."""
    if os.geteuid() != 0:
        return "Docker's daemon is started as root here"
    needed = [name for name in ("dockerd", "containerd", "runc") if _which(name) is None]
    return f"not installed: {', '.join(needed)} (Debian: apt install docker.io)" if needed else without_hosts_tools()


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PATH}")


class Daemon:
    """A daemon in `directory`, with one image, :data:`shellimage.IMAGE`, which has busybox."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._options = options
        self.directory = directory
        self.socket = directory / "docker.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Return once it answers."""
        if self._containerd is None:
            # One of its own, as where Docker is a service: a daemon that is killed would take its child along.
            settings = self.directory / "containerd.toml"
            settings.write_text(_CONTAINERD.format(self.directory))
            self._containerd = self._begin("containerd", "--config", str(settings))
            self._until_there(self.directory / "containerd.sock", self._containerd)
        # It leaves the machine's network alone: pods have ours.
        options = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]
        options += ["--data-root", str(self.directory / "data"), "--exec-root", str(self.directory / "exec")]
        options += ["--pidfile", str(self.directory / "docker.pid"), "--host", f"unix://{self.socket}"]
        options += self._options
        # The images are small, and copies of them work on every file system.
        self._process = self._begin("dockerd", *options, "--containerd", str(self.directory / "containerd.sock"))
        self._until_there(self.socket, self._process)

    def _begin(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        program = _which(name)
        assert program is not None
        environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{_PATH}"}
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen([program, *arguments], env=environment, stdout=log, stderr=log)

    def _until_there(self, path: Path, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while not _answers(path) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)

    def kill(self) -> None:
        """As the kernel kills it when memory runs out. Its containers go on until it is started again."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)
        if self._containerd is not None:
            self._containerd.terminate()
            self._containerd.wait(60)
            self._containerd = None
        self._end_shims()
        # It leaves its network namespaces mounted for its next life, and one that was killed its images' place.
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for place in reversed([mount for mount in mounts if mount.startswith(f"{self.directory}/")]):
            subprocess.run(["umount", place], capture_output=True)

    def _end_shims(self) -> None:
        """Those of containers that the daemon had begun to make when it was killed: it does not know them when it is
        back (Docker 20.10), and who has only its socket can't end them. They hold nothing of a pod: their processes and
        groups go with the pod's group."""
        for place in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if os.fsencode(f"{self.directory}/containerd.sock") in (place / "cmdline").read_bytes():
                    os.kill(int(place.name), signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def ask(self, path: str, **query: object) -> Any:
        """What the daemon says. Raises OSError while it does not."""
        text = "&".join(f"{name}={quote(json.dumps(value))}" for name, value in query.items())
        answer = self.send(f"GET {path}?{text} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise OSError(head.decode())
        return json.loads(body)

    def send(self, request: bytes) -> bytes:
        """One request, and all of its answer. Raises OSError."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(self.socket))
            client.sendall(request)
            answer = b""
            while part := client.recv(65536):
                answer += part
        return answer

    def make_image(self) -> None:
        """As ``docker import`` does."""
        name, _, tag = IMAGE.rpartition(":")
        body = archive()
        query = f"fromSrc=-&repo={name}&tag={tag}&changes=CMD%20%5B%22sh%22%5D&changes=ENV%20FROM_IMAGE%3Dyes"
        head = f"POST /images/create?{query} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/x-tar\r\n"
        answer = self.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert b" 200 " in answer.partition(b"\r\n")[0], answer


@contextlib.contextmanager
def daemon(directory: Path, *options: str) -> Iterator[Daemon]:
    made = Daemon(directory, *options)
    try:
        made.start()
        made.make_image()
        yield made
    finally:
        made.stop()


@contextlib.contextmanager
def service(directory: Path) -> Iterator[str]:
    """The socket of a daemon."""
    with daemon(directory) as made:
        yield str(made.socket)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
