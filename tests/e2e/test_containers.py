"""A platform whose pods are containers of Docker or Podman, as kubectl sees it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import engines
import pytest
from figures import check_event_files_are_read_on
from machinery import Kubectl, MakeKubectl, RunningPlatform, homeport

from homeport.datadir import DataDir

pytestmark = pytest.mark.slow

_SERVER = "mkdir /www; echo I am $(hostname) > /www/index.html; echo serving; httpd -f -p 8080 -h /www"


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    if reason := engines.missing():
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="homeport-containers-"))
    with engines.service(directory) as path, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{path}")
        made = RunningPlatform(DataDir.at(directory / "data"))
        made.start("--runtime", "docker")
        yield made
        made.stop()
        ended = homeport("down", "--data-dir", made.directory.path)
        assert ended.returncode == 0, ended.stderr
    shutil.rmtree(directory, ignore_errors=True)


def test_pods_services_sessions_and_a_platform_that_is_killed(
    platform: RunningPlatform, make_kubectl: MakeKubectl
) -> None:
    kubectl = make_kubectl(platform)
    server = {"name": "server", "image": engines.IMAGE, "imagePullPolicy": "Never", "args": ["sh", "-c", _SERVER]}
    server |= {"ports": [{"name": "web", "containerPort": 8080}], "readinessProbe": {"httpGet": {"port": "web"}}}
    metadata = {"name": "server", "labels": {"app": "server"}}
    kubectl.create("Pod", "server", metadata=metadata, spec={"containers": [server]})
    kubectl("expose", "pod", "server", "--port=80", "--target-port=web")
    kubectl("wait", "pod/server", "--for=condition=Ready")
    script = "until wget -qO- http://server; do sleep 0.1; done; echo to $FROM_IMAGE; exit 3"
    kubectl("run", "client", f"--image={engines.IMAGE}", "--restart=Never", "--", "sh", "-c", script)
    kubectl("wait", "pod/client", "--for=jsonpath={.status.phase}=Failed")
    assert kubectl("logs", "client") == "I am server\nto yes\n"
    assert ended(kubectl, "client")["exitCode"] == 3
    assert kubectl("exec", "-i", "server", "--", "sh", "-c", "cat; hostname", stdin="typed\n") == "typed\nserver\n"

    platform.kill()
    platform.start("--runtime", "docker")
    assert kubectl("logs", "server") == "serving\n"
    assert kubectl("get", "pod", "server", "-o", "jsonpath={.status.containerStatuses[0].restartCount}") == "0"
    assert kubectl("exec", "server", "--", "wget", "-qO-", "http://server.default.svc.cluster.local") == "I am server\n"

    refused = homeport("up", "-d", "--data-dir", platform.directory.path)
    assert refused.returncode != 0
    kubectl("delete", "pod", "--all", "--grace-period=1")


def ended(kubectl: Kubectl, pod: str) -> dict[str, object]:
    """How a pod's container ended."""
    status = json.loads(kubectl("get", "pod", pod, "-o", "json"))["status"]
    return dict(status["containerStatuses"][0]["state"]["terminated"])


def test_event_files_are_read_on_by_the_next_platform(
    platform: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path
) -> None:
    def restart() -> None:
        platform.kill()
        platform.start("--runtime", "docker")

    kubectl = make_kubectl(platform)
    check_event_files_are_read_on(kubectl, tmp_path, restart, engines.IMAGE, imagePullPolicy="Never")


def test_an_image_that_nobody_has_is_told_with_the_engines_words(
    platform: RunningPlatform, make_kubectl: MakeKubectl
) -> None:
    kubectl = make_kubectl(platform)
    kubectl("run", "missing", "--image=localhost/no-such-image:1", "--image-pull-policy=Never")
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    kubectl("wait", "pod/missing", f"--for=jsonpath={reason}=ErrImageNeverPull")
    kubectl("delete", "pod", "missing", "--grace-period=1")
