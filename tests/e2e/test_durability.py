"""The platform is killed at the worst moment. Nothing that was promised may be lost."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

from machinery import Kubectl, MakeKubectl, RunningPlatform, homeport, read_rest, read_until, start_homeport
from scenes import tfjob

LINES = 120
COUNTING = f"for i in $(seq {LINES}); do echo line $i; sleep 0.05; done"
TICKING = "trap 'exit 0' TERM; i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.05; done"
GATED = f"until [ -e /gate/open ]; do sleep 0.05; done; for i in $(seq {LINES}); do echo line $i; done; exit 7"
ENDING = f"echo line 0; {GATED}"


def test_a_job_and_its_log_survive_kill_9(platform: RunningPlatform, tmp_path: Path) -> None:
    """`homeport run` follows while the platform is killed and started again: each line comes once, in order."""
    file = tmp_path / "job.yaml"
    file.write_text(tfjob("counting", COUNTING, workers=2, restart="OnFailure"))
    following = start_homeport("run", file, "--data-dir", platform.directory.path)
    lines = read_until(following, "line 20")
    platform.kill()
    lines += read_until(following, "does not answer")
    platform.start()
    rest, code = read_rest(following)
    lines += rest
    assert code == 0, "\n".join(lines)
    for worker in range(2):
        told = [line.partition("] ")[2] for line in lines if line.startswith(f"[worker-{worker}] line")]
        assert told == [f"line {n}" for n in range(1, LINES + 1)]
    assert "the platform is back" in lines


def test_following_goes_on_when_the_platform_comes_back_on_another_port(
    platform: RunningPlatform, tmp_path: Path
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(tfjob("moving", COUNTING, workers=1))
    following = start_homeport("run", file, "--data-dir", platform.directory.path)
    lines = read_until(following, "line 10")
    before = platform.directory.endpoint()
    assert before is not None
    platform.kill()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((before.host, before.port))
        other.listen()
        platform.start()
        after = platform.directory.endpoint()
        assert after is not None
        assert after.port != before.port
        rest, code = read_rest(following)
    assert code == 0, "\n".join(lines + rest)
    told = [line.partition("] ")[2] for line in lines + rest if line.startswith("[worker-0] line")]
    assert told == [f"line {n}" for n in range(1, LINES + 1)]


def test_a_job_ends_while_the_platform_is_away(platform: RunningPlatform, make_kubectl: MakeKubectl) -> None:
    kubectl = make_kubectl(platform)
    script = "for i in $(seq 60); do echo line $i; sleep 0.02; done; exit 0"
    kubectl("apply", "-f", "-", stdin=tfjob("away", script, workers=2, restart="OnFailure"))
    kubectl("wait", "--for=condition=Running", "--timeout=30s", "tfjob/away")
    uids = kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}")
    platform.kill()
    threading.Event().wait(3)  # long enough for the workers to end: nobody is there to tell
    platform.start()
    kubectl("wait", "--for=condition=Succeeded", "--timeout=30s", "tfjob/away")
    for worker in range(2):
        assert kubectl("logs", f"away-worker-{worker}").splitlines() == [f"line {n}" for n in range(1, 61)]
    assert kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}") == uids
    restarts = kubectl("get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[0].restartCount}")
    assert restarts == "0 0"


def test_every_acknowledged_write_is_there(platform: RunningPlatform, make_kubectl: MakeKubectl) -> None:
    kubectl = make_kubectl(platform)
    acknowledged: list[str] = []
    enough, killed = threading.Event(), threading.Event()

    def write(writer: int) -> None:
        for number in range(40):
            name = f"w{writer}-{number}"
            said = kubectl.create("ConfigMap", name, data={"n": "1"})
            if "created" in said:
                acknowledged.append(name)
            if len(acknowledged) >= 15:
                enough.set()
            if killed.is_set():
                return

    writers = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for writer in writers:
        writer.start()
    came = enough.wait(timeout=60)
    platform.kill()
    killed.set()
    for writer in writers:
        writer.join()
    platform.start()
    stored = kubectl("get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}").split()
    assert came, "writes are not acknowledged"
    assert set(acknowledged) <= set(stored)


def test_down_and_sigterm_keep_pods_for_the_next_up(
    platform: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path
) -> None:
    """One goes on, and one ends while nobody is there to see it."""
    kubectl = make_kubectl(platform)
    gate = tmp_path / "gate"
    gate.mkdir()
    for name, script in (("stays", TICKING), ("ends", ENDING)):
        kubectl("apply", "-f", "-", stdin=gated_pod(name, script, gate))
    kubectl("wait", "--for=condition=Ready", "--timeout=30s", "pod/stays", "pod/ends")
    stays, ends, credentials = read(kubectl, "stays"), read(kubectl, "ends"), platform.kubeconfig.read_text()
    process, ticks = seen_by_supervisor(platform, stays)["pid"], len(kubectl("logs", "stays").splitlines())
    down = homeport("down", "--keep-pods", "--data-dir", platform.directory.path)
    assert (down.returncode, down.stdout) == (0, "stopped\n"), down.stderr
    platform.stop()  # it has ended; this reaps it
    assert homeport("status", "--data-dir", platform.directory.path).returncode == 1
    (gate / "open").touch()
    until = time.monotonic() + 30
    while (end := seen_by_supervisor(platform, ends))["phase"] != "exited":
        assert time.monotonic() < until, end
        time.sleep(0.05)  # only the file tells, as nothing of the platform runs

    platform.start()
    assert platform.kubeconfig.read_text() == credentials
    kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "--timeout=30s", "pod/ends")
    after = read(kubectl, "ends")
    (status,) = after["status"]["containerStatuses"]
    assert after["metadata"]["uid"] == ends["metadata"]["uid"]
    assert (status["state"]["terminated"]["exitCode"], status["restartCount"]) == (7, 0)
    assert kubectl("logs", "ends").splitlines() == [f"line {n}" for n in range(LINES + 1)]

    def goes_on() -> None:
        after = read(kubectl, "stays")
        assert after["status"]["containerStatuses"] == stays["status"]["containerStatuses"]
        assert after["status"]["podIP"] == stays["status"]["podIP"]
        assert seen_by_supervisor(platform, stays)["pid"] == process
        assert kubectl("exec", "stays", "--", "echo", "reached") == "reached\n"
        told = kubectl("logs", "stays").splitlines()
        assert len(told) > ticks
        assert told == [f"tick {n}" for n in range(len(told))]

    goes_on()
    platform.stop()  # SIGTERM, as a service manager sends it
    platform.start()
    assert platform.kubeconfig.read_text() == credentials
    goes_on()


def gated_pod(name: str, script: str, gate: Path) -> str:
    """A pod that sees the machine's directory `gate` as /gate."""
    mounts = [{"name": "gate", "mountPath": "/gate"}]
    container = {"name": "main", "image": "homeport/base", "command": ["sh", "-c", script], "volumeMounts": mounts}
    volumes = [{"name": "gate", "hostPath": {"path": str(gate)}}]
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def read(kubectl: Kubectl, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", "pod", name, "-o", "json"))
    return found


def seen_by_supervisor(platform: RunningPlatform, pod: dict[str, Any]) -> dict[str, Any]:
    """What the pod's supervisor has written of its container, whether or not a platform runs."""
    file = platform.directory.node / "pods" / pod["metadata"]["uid"] / "state.json"
    found: dict[str, Any] = json.loads(file.read_text())["containers"]["main"]
    return found
