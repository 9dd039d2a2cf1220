"""The platform where nothing is that only Linux has (macOS): a Python from which that was taken away."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machinery import Kubectl, MakeKubectl, RunningPlatform

from homeport.datadir import DataDir

sys.path.insert(0, str(Path(__file__).parents[1] / "node" / "plain"))

import elsewhere

pytestmark = pytest.mark.slow
_COUNTING = "i=0; while true; do echo $i; i=$((i+1)); sleep 0.2; done"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[RunningPlatform]:
    python = elsewhere.make(tmp_path)
    made = RunningPlatform(DataDir.at(tmp_path / "data"), program=(python, "-m", "homeport"))
    made.start("--runtime", "plain")
    try:
        yield made
    finally:
        if made.process is not None:
            made.stop()
        subprocess.run([*made.program, "down", "--data-dir", made.directory.path], check=True, timeout=60)
        left = processes(str(made.directory.node))
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left


def processes(word: str, *more: str) -> list[int]:
    """Those that have the words among their arguments."""
    lines = subprocess.run(("ps", "-A", "-ww", "-o", "pid=,args="), capture_output=True, text=True, check=True).stdout
    found = (line.split(None, 1) for line in lines.splitlines() if all(w in line for w in (word, *more)))
    return [int(pid) for pid, text in found if not text.startswith("ps ")]


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_pods_life(platform: RunningPlatform, make_kubectl: MakeKubectl) -> None:
    kubectl = make_kubectl(platform)
    kubectl("run", "one", "--image=homeport/base", "--restart=Always", "--command", "--", "sh", "-c", _COUNTING)
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=60s", timeout=90)
    assert kubectl("exec", "one", "--", "sh", "-c", "echo $HOSTNAME; exit 0").strip() == "one"
    with following(kubectl) as lines:
        assert [next(lines), next(lines)] == ["0", "1"]  # as they are written
    assert kubectl("top", "pod", "one", "--no-headers").split()[0] == "one"

    # The platform is killed, and finds the pod again.
    platform.kill()
    platform.start("--runtime", "plain")
    written = kubectl("logs", "one").split()
    assert written == [str(number) for number in range(len(written))]
    until(lambda: len(kubectl("logs", "one").split()) > len(written))
    assert kubectl("get", "pod", "one", "-o", "jsonpath={.status.containerStatuses[0].restartCount}") == "0"

    # So does it find that a supervisor was killed, whose containers nobody else ends here.
    (supervisor,) = processes(str(platform.directory.node), "plain-pod")
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: kubectl("get", "pod", "one", "-o", "jsonpath={.status.containerStatuses[0].restartCount}") == "1")
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=60s", timeout=90)
    assert len(processes(_COUNTING)) == 1
    kubectl("delete", "pod", "one", "--grace-period=1")
    assert not processes(_COUNTING)


@contextlib.contextmanager
def following(kubectl: Kubectl) -> Iterator[Iterator[str]]:
    process = kubectl.start("logs", "one", "--follow")
    assert process.stdout is not None
    try:
        yield (line.rstrip("\n") for line in process.stdout)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


REPLICA = """
import json, os, socket, threading, time
config = json.loads(os.environ["TF_CONFIG"])
kind, index = config["task"]["type"], config["task"]["index"]
everybody = [address for group in config["cluster"].values() for address in group]
listener = socket.create_server(("0.0.0.0", int(config["cluster"][kind][index].rsplit(":", 1)[1])))

def serve():
    while True:
        connection, _ = listener.accept()
        connection.sendall(f"{kind}-{index}".encode())
        connection.close()

def ask(address):
    host, port = address.rsplit(":", 1)
    while True:
        try:
            with socket.create_connection((host, int(port)), 5) as connection:
                return connection.recv(100).decode()
        except OSError:
            time.sleep(0.1)

threading.Thread(target=serve, daemon=True).start()
print(sorted(map(ask, everybody)), flush=True)
while kind == "ps" or not os.path.exists(os.environ["ENOUGH"]):
    time.sleep(0.1)
"""
CLIENT = """
import os, urllib.request
for url in (os.environ["DATA"], "http://%s:%s/" % (os.environ["WEB_SERVICE_HOST"], os.environ["WEB_SERVICE_PORT"])):
    print(urllib.request.urlopen(url, timeout=10).status)
"""


def test_replicas_of_a_job_with_one_port_number(
    platform: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path
) -> None:
    """As TensorFlow does it: each listens at its own port of ``TF_CONFIG``, at any address, and asks all others."""
    kubectl = make_kubectl(platform)
    container = {"name": "tensorflow", "image": "python:3.11", "command": ["python", "-c", REPLICA]}
    container["env"] = [{"name": "ENOUGH", "value": str(tmp_path / "enough")}]
    replicas = {"template": {"spec": {"containers": [container]}}}
    specs = {"PS": {"replicas": 1, **replicas}, "Worker": {"replicas": 3, **replicas}}
    job = {"apiVersion": "kubeflow.org/v1", "kind": "TFJob", "metadata": {"name": "ring"}}
    job["spec"] = {"successPolicy": "AllWorkers", "tfReplicaSpecs": specs}
    kubectl("apply", "-f", "-", stdin=json.dumps(job))
    everybody = str(["ps-0", "worker-0", "worker-1", "worker-2"])
    for name in ("ring-worker-0", "ring-worker-1", "ring-worker-2"):
        until(lambda name=name: kubectl("logs", name, check=False).strip() == everybody)
    (tmp_path / "enough").touch()
    kubectl("wait", "--for=condition=Succeeded", "tfjob/ring", "--timeout=60s", timeout=90)


def test_a_service(platform: RunningPlatform, make_kubectl: MakeKubectl) -> None:
    kubectl = make_kubectl(platform)
    for name in ("web-0", "web-1"):  # each thinks that it has the port
        command = ["python", "-m", "http.server", "--bind", "0.0.0.0", "8000"]
        if name == "web-1":
            command = ["sh", "-c", "python -m http.server $(echo 0.0.0.0:8000 | cut -d: -f2)"]
        probe = {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1}
        container = {"name": "main", "image": "python:3.11", "command": command, "readinessProbe": probe}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}}}
        kubectl("apply", "-f", "-", stdin=json.dumps(pod | {"spec": {"containers": [container]}}))
        kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=90s", timeout=120)
    kubectl("apply", "-f", "-", stdin=json.dumps(SERVICE))
    until(lambda: len(kubectl("get", "endpoints", "web", "-o", "jsonpath={.subsets[*].addresses[*].ip}").split()) == 2)
    container = {"name": "main", "image": "python:3.11", "command": ["python", "-c", CLIENT]}
    container["env"] = [{"name": "DATA", "value": "http://web:80/"}]
    spec = {"restartPolicy": "OnFailure", "containers": [container]}
    client = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": spec}
    kubectl("apply", "-f", "-", stdin=json.dumps(client))
    until(lambda: kubectl("get", "pod", "client", "-o", "jsonpath={.status.phase}") == "Succeeded")
    assert kubectl("logs", "client").split() == ["200", "200"]


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]},
}
