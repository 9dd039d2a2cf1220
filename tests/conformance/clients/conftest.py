"""One platform for all clients, with the images that their own tests name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from machinery import KUBECTL_VERSIONS, Kubectl, RunningPlatform, fetch_kubectl, make_platform

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def clients_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    data = tmp_path_factory.mktemp("clients") / "data"
    shutil.copytree(HERE / "images", data / "images")
    for platform in make_platform(data):
        # Every cluster has pods of its own in there; some clients' tests count on it.
        kubectl = Kubectl(fetch_kubectl(KUBECTL_VERSIONS[-1]), KUBECTL_VERSIONS[-1], platform.kubeconfig, data)
        kubectl("--namespace=kube-system", "run", "pause", "--image=registry.k8s.io/pause:3.10")
        yield platform


@pytest.fixture(scope="session")
def newest_kubectl() -> Path:
    return fetch_kubectl(KUBECTL_VERSIONS[-1])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)
