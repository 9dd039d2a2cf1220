"""A Podman service of the tests' own: its images and containers lie in a directory of its own, nothing is fetched."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import shellimage
from shellimage import without_hosts_tools

from homeport.node.sandbox import idmap

_ENGINES_FILE = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
"""What Podman needs where there is no systemd."""


def ranges() -> bool:
    """Whether this user has ids beside its own."""
    return all(idmap.read_ranges(path) for path in ("/etc/subuid", "/etc/subgid"))


def missing() -> str:
    """Why no service can be started here; empty if it can."""
    if os.geteuid() != 0 and not ranges():
        return "an ordinary user's Podman needs a range of ids (/etc/subuid, /etc/subgid)"
    needed = [name for name in ("podman", "runc") if shutil.which(name) is None]
    return f"not installed: {', '.join(needed)} (Debian: apt install podman runc)" if needed else without_hosts_tools()


@contextlib.contextmanager
def service(directory: Path) -> Iterator[str]:
    """The socket of a service with one image, :data:`shellimage.IMAGE`, which has busybox."""
    storage, engines, path = directory / "storage.conf", directory / "containers.conf", directory / "podman.sock"
    storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{directory}/graph"\nrunroot = "{directory}/run"\n')
    engines.write_text(_ENGINES_FILE)
    environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(engines)}
    if os.geteuid() != 0:
        (directory / "own").mkdir(mode=0o700)
        environment |= {"HOME": str(directory), "XDG_RUNTIME_DIR": str(directory / "own")}
    archive = directory / "shell.tar"
    archive.write_bytes(shellimage.archive())
    podman = ["podman", "--log-level=error"]
    subprocess.run(
        [*podman, "import", "--change", 'CMD ["sh"]', "--change", "ENV FROM_IMAGE=yes", str(archive), shellimage.IMAGE],
        env=environment,
        check=True,
        capture_output=True,
    )
    process = subprocess.Popen(
        [*podman, "system", "service", "--time=0", f"unix://{path}"],
        env=environment,
        cwd=directory,  # where its monitors note what has run out of memory
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while not _answers(path) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        yield str(path)
    finally:
        subprocess.run([*podman, "rm", "--all", "--force", "--time=0"], env=environment, capture_output=True)
        _end_monitors(directory)
        process.terminate()
        process.wait(30)
        _end_pause(directory / "own")
        # Podman leaves its storage mounted for the next command.
        subprocess.run(["umount", str(directory / "graph" / "overlay")], capture_output=True)


def _end_pause(place: Path) -> None:
    """What keeps an ordinary user's namespaces for the next command."""
    for path in place.glob("**/pause.pid"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(path.read_text()), signal.SIGKILL)


def _end_monitors(directory: Path) -> None:
    """Podman's monitors of commands outlive their containers by five minutes."""
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if os.fsencode(f"{directory}/") in (place / "cmdline").read_bytes() and (
                place / "comm"
            ).read_text().startswith("conmon"):
                os.kill(int(place.name), signal.SIGKILL)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
