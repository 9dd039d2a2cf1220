"""A pytest plug-in for kr8s' own test suite: the fixtures that it takes from elsewhere, the cluster first of all."""

import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kr8s._portforward import PortForward
from ports import free_port


class Cluster:
    """What kr8s' fixtures use of pytest-kind's cluster."""

    def __init__(self) -> None:
        self.kubeconfig_path = Path(os.environ["KUBECONFIG"])
        self.kubectl_path = Path(os.environ["KUBECTL"])

    def kubectl(self, *arguments: str) -> str:
        done = subprocess.run([self.kubectl_path, *arguments], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="session")
def k8s_cluster() -> Cluster:
    return Cluster()


@pytest.fixture(autouse=True)
def ports_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """kr8s asks whether somebody listens, and takes a port that some connection of this machine has then."""
    monkeypatch.setattr(PortForward, "_find_available_port", lambda _: free_port())


@pytest.fixture
def ensure_gc() -> Iterator[None]:
    """Classes that a test makes are gone before the next one looks for them."""
    gc.collect()
    yield
    gc.collect()
