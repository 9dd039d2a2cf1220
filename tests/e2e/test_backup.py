"""`homeport backup` and `homeport restore` on a platform whose node runs pods."""

from __future__ import annotations

from pathlib import Path

import pytest
from machinery import MakeKubectl, RunningPlatform, homeport
from scenes import pod

SCRIPT = "echo it runs; exec sleep 1000"


@pytest.mark.slow
@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_the_node_follows_a_restoration(
    platform: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path, running: bool
) -> None:
    """A pod that was deleted since is started again, one that was created since ends, one that was there goes on."""
    kubectl = make_kubectl(platform)
    data = ("--data-dir", platform.directory.path)
    for name in ("there", "deleted"):
        kubectl("apply", "-f", "-", stdin=pod(name, SCRIPT, restart="Always"))
    kubectl("wait", "--for=condition=Ready", "--timeout=30s", "pod/there", "pod/deleted")
    done = homeport("backup", tmp_path / "backup.db", *data)
    assert done.returncode == 0, done.stderr
    kubectl("delete", "pod", "deleted", "--timeout=30s")
    kubectl("apply", "-f", "-", stdin=pod("created", SCRIPT))
    kubectl("wait", "--for=condition=Ready", "--timeout=30s", "pod/created")
    uid = kubectl("get", "pod", "created", "-o", "jsonpath={.metadata.uid}")
    there = kubectl("get", "pod", "there", "-o", "jsonpath={.status.containerStatuses[0].containerID}")
    if not running:
        platform.stop()
    done = homeport("restore", tmp_path / "backup.db", *data)
    assert done.returncode == 0, done.stderr
    if not running:
        platform.start()
    assert "not found" in kubectl("get", "pod", "created", check=False)
    restarted = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
    kubectl("wait", restarted, "--timeout=30s", "pod/deleted")
    kubectl("wait", "--for=condition=Ready", "--timeout=30s", "pod/deleted")
    assert kubectl("logs", "deleted").strip() == "it runs"
    assert kubectl("get", "pod", "there", "-o", "jsonpath={.status.containerStatuses[0].containerID}") == there
    assert kubectl("logs", "there").strip() == "it runs", "it was not started a second time"
    left = platform.directory.node / "pods" / uid
    for _ in range(100):
        if not left.exists():
            break
        kubectl("get", "--raw", "/readyz")  # takes a moment
    assert not left.exists(), "of the pod that is no more nothing is left on the node"
