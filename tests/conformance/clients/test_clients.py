"""Programs that were written for Kubernetes, as they are released, against a platform as users start it.

Each client has an environment of its own, and its checks (``drivers/``) run there: they import nothing of ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from environments import python_with
from machinery import RunningPlatform

HERE = Path(__file__).parent
PYTEST = ("pytest>=8.4", "pytest-asyncio>=1.1", "pytest-timeout>=2.4")


@dataclass(frozen=True)
class Client:
    """A client and what is run with it."""

    name: str
    requirements: tuple[str, ...]
    tests: tuple[str, ...]
    """Drivers of ours, or ``package:folder`` for tests that the client ships."""
    options: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    """Tests of a shipped suite that are not run; each with its reason where the client is declared."""


KR8S_LEFT_OUT = (
    # It bets that no answer is there within 10 µs of asking.
    "test_api_timeout",
    # It counts on there being one resource named pods; metrics.k8s.io has another.
    "(test_api_resources and not resources_cache)",
    # Its start() returns once a port is chosen, which may be before anybody listens there.
    "test_pod_port_forward_start_stop",
)

CLIENTS = (
    Client("kubernetes-35", ("kubernetes==35.0.0",), ("drive_kubernetes.py",)),
    Client("kubernetes-37", ("kubernetes==37.0.2",), ("drive_kubernetes.py",)),
    Client("kubernetes-asyncio", ("kubernetes-asyncio==36.1.0",), ("drive_asyncio.py",)),
    Client("lightkube", ("lightkube==1.0.1", "lightkube-models==1.37.0.8"), ("drive_lightkube.py",)),
    Client("kopf", ("kopf==1.45.2",), ("drive_kopf.py",)),
    Client("kubeflow-training", ("kubeflow-training==1.9.4", "kubernetes==35.0.0"), ("drive_training.py",)),
    Client("kubeflow", ("kubeflow==0.5.0", "kubernetes==35.0.0"), ("drive_trainer.py",)),
    Client("kubeflow-katib", ("kubeflow-katib==0.19.0", "kubernetes==35.0.0", "setuptools<81"), ("drive_katib.py",)),
    Client("kserve", ("kserve==0.21.0", "kubernetes==35.0.0"), ("drive_kserve.py",)),
    Client(
        "kr8s",
        # The next httpx-ws wraps errors in groups, which kr8s 0.20.15 does not expect.
        ("kr8s==0.20.15", "httpx-ws==0.8.2", "trio", "lightkube", "kubernetes==35.0.0", "kubernetes-asyncio"),
        ("kr8s:tests",),
        ("-p", "kr8s_cluster"),
        KR8S_LEFT_OUT,
    ),
)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_client(client: Client, clients_platform: RunningPlatform, newest_kubectl: Path, tmp_path: Path) -> None:
    python = python_with(client.name, *client.requirements, *PYTEST)
    tests = [_path(python, name, tmp_path) for name in client.tests]
    left_out = " and ".join(f"not {name}" for name in client.leave_out)
    done = subprocess.run(
        [
            *(str(python), "-m", "pytest", "-q", "-ra", "--tb=short", "-p", "no:cacheprovider"),
            *("-o", "asyncio_mode=auto", "--timeout=120", "--rootdir", str(tmp_path), "-c", os.devnull),
            *client.options,
            *(("-k", left_out) if left_out else ()),
            *tests,
        ],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        cwd=tmp_path,
        env={
            "PATH": f"{newest_kubectl.parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "KUBECONFIG": str(clients_platform.kubeconfig),
            "KUBECTL": str(newest_kubectl),
            "PYTHONPATH": f"{HERE}:{HERE / 'drivers'}:{HERE.parents[1] / 'shared'}",
        },
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


def _path(python: Path, name: str, place: Path) -> str:
    package, shipped, folder = name.partition(":")
    if shipped:
        (installed,) = python.parents[1].glob(f"lib/python*/site-packages/{package}")
        return str(installed / folder)
    # A copy, out of reach of this suite's own settings.
    shutil.copytree(HERE / "drivers", place / "drivers", dirs_exist_ok=True)
    return str(place / "drivers" / name)
