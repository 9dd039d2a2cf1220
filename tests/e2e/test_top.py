"""``kubectl top``, by every kubectl there is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from machinery import Kubectl


@pytest.fixture(scope="module")
def pod(any_kubectl: Kubectl) -> Iterator[str]:
    """A container that takes as much of a processor as it gets."""
    any_kubectl("run", "busy", "--image=python", "--restart=Never", "--command", "--", "python3", "-c", "while 1: pass")
    any_kubectl("wait", "--for=condition=Ready", "pod/busy", "--timeout=60s")
    yield "busy"
    any_kubectl("delete", "pod", "busy", "--wait=false", "--grace-period=0")


def test_top_of_pods_and_nodes(any_kubectl: Kubectl, pod: str) -> None:
    lines = str(any_kubectl("top", "pod", pod, "--containers", "--no-headers")).split()
    assert lines[:2] == ["busy", "busy"]
    assert int(lines[2].removesuffix("m")) > 50
    assert re.fullmatch(r"[1-9]\d*Mi", lines[3])
    assert str(any_kubectl("top", "pods", "--sort-by=cpu", "-A")).splitlines()[1].split()[1] == "busy"
    header, line = str(any_kubectl("top", "node")).splitlines()
    assert header.split()[0] == "NAME"
    assert re.fullmatch(r"\d+%", line.split()[2])
