"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from machinery import KUBECTL_VERSIONS, Kubectl, MakeKubectl, RunningPlatform, fetch_kubectl, make_platform


@pytest.fixture(scope="session")
def shared_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """One platform for all tests that leave it as they found it."""
    yield from make_platform(tmp_path_factory.mktemp("platform") / "data")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[RunningPlatform]:
    """A platform of the test's own, which it may kill."""
    yield from make_platform(tmp_path / "data")


@pytest.fixture(scope="session")
def kubectl_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where kubectl keeps its cache of discovery documents."""
    return tmp_path_factory.mktemp("kubectl")


@pytest.fixture(scope="session", params=KUBECTL_VERSIONS)
def any_kubectl(
    request: pytest.FixtureRequest, shared_platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory
) -> Kubectl:
    """Every version in turn, each in a namespace of its own."""
    version: str = request.param
    home = tmp_path_factory.mktemp("kubectl")
    namespace = f"kubectl-{version.replace('.', '-')}"
    kubectl = Kubectl(fetch_kubectl(version), version, shared_platform.kubeconfig, home)
    kubectl.create("Namespace", namespace)
    return Kubectl(kubectl.binary, version, kubectl.kubeconfig, home, namespace)


@pytest.fixture
def make_kubectl(kubectl_home: Path) -> MakeKubectl:
    """``make_kubectl(platform)``: the newest version, for a platform of the test's own."""

    def make(platform: RunningPlatform, namespace: str = "default") -> Kubectl:
        version = KUBECTL_VERSIONS[-1]
        return Kubectl(fetch_kubectl(version), version, platform.kubeconfig, kubectl_home, namespace)

    return make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)
