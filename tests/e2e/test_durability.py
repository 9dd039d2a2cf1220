"""The platform is killed at the worst moment. Nothing that was promised may be lost."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from machinery import MakeKubectl, RunningPlatform, read_rest, read_until, start_homeport
from scenes import tfjob

LINES = 120
COUNTING = f"for i in $(seq {LINES}); do echo line $i; sleep 0.05; done"


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


def test_stopping_and_starting_keeps_pods_and_the_kubeconfig(
    platform: RunningPlatform, make_kubectl: MakeKubectl
) -> None:
    kubectl = make_kubectl(platform)
    kubectl("apply", "-f", "-", stdin=tfjob("stays", "sleep 300", workers=1))
    kubectl("wait", "--for=condition=Running", "--timeout=30s", "tfjob/stays")
    before = platform.kubeconfig.read_text()
    started = kubectl("get", "pod", "stays-worker-0", "-o", "jsonpath={.status.containerStatuses[0].state.running}")
    platform.stop()
    platform.start()
    assert platform.kubeconfig.read_text() == before
    after = kubectl("get", "pod", "stays-worker-0", "-o", "jsonpath={.status.containerStatuses[0].state.running}")
    assert after == started
