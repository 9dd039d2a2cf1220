"""Jobs that tell of their training, and what their status says of it."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from machinery import Kubectl
from scenes import IMAGE

from homeport.node import tfevents


def status(kubectl: Kubectl, job: str, good: Callable[[Any], bool], seconds: float = 60) -> Any:
    """The status of a job once it is `good`."""
    end = time.monotonic() + seconds
    while not good(found := json.loads(kubectl("get", job, "-o", "json")).get("status") or {}):
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return found


def apply(kubectl: Kubectl, directory: Path, *manifests: Any) -> None:
    file = directory / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    kubectl("apply", "-f", str(file))


def pod(script: str, container: str, image: str = IMAGE) -> Any:
    main = {"name": container, "image": image, "command": ["sh", "-c", script]}
    return {"spec": {"terminationGracePeriodSeconds": 1, "containers": [main]}}


def pytorchjob(name: str, script: str, annotation: str = "", image: str = IMAGE) -> Any:
    master = {"replicas": 1, "restartPolicy": "Never", "template": pod(script, "pytorch", image)}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name, "annotations": {"homeport.dev/metrics": annotation}},
        "spec": {"pytorchReplicaSpecs": {"Master": master}},
    }


def values(status: Any) -> dict[str, str]:
    return {each["name"]: each["value"] for each in status.get("trainingMetrics") or ()}


def check_event_files_are_read_on(
    kubectl: Kubectl, directory: Path, restart: Callable[[], None], image: str = IMAGE, **container: Any
) -> None:
    """Event files on a claim are read while their program runs, after `restart` of the platform too."""
    first, second = (printed(record(step, loss)) for step, loss in ((1, 0.5), (2, 0.25)))
    script = f"""
    printf '{first}' > /logs/events.out.tfevents.1.host
    until [ -e /logs/on ]; do sleep 0.1; done
    printf '{second}' >> /logs/events.out.tfevents.1.host
    until [ -e /logs/off ]; do sleep 0.1; done
    """
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "board-logs"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    job = pytorchjob("board-kept", script, "off", image)
    job["metadata"]["annotations"]["homeport.dev/tensorboard-dir"] = "/logs"
    spec = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    spec["containers"][0] |= {"volumeMounts": [{"name": "logs", "mountPath": "/logs"}], **container}
    spec["volumes"] = [{"name": "logs", "persistentVolumeClaim": {"claimName": "board-logs"}}]
    apply(kubectl, directory, claim, job)
    status(kubectl, "pytorchjob/board-kept", lambda found: values(found) == {"step": "1", "loss": "0.5"})
    restart()
    kubectl("exec", "board-kept-master-0", "--", "touch", "/logs/on")
    running = status(kubectl, "pytorchjob/board-kept", lambda found: values(found) == {"step": "2", "loss": "0.25"})
    assert running["conditions"][-1]["type"] == "Running"
    kubectl("exec", "board-kept-master-0", "--", "touch", "/logs/off")
    ended = status(kubectl, "pytorchjob/board-kept", lambda found: found["conditions"][-1]["type"] == "Succeeded")
    assert values(ended) == {"step": "2", "loss": "0.25"}
    kubectl("delete", "pytorchjob/board-kept", "pvc/board-logs")


def record(step: int, loss: float) -> bytes:
    """A record of an event file, as TensorBoard's writers write it: a scalar of a step."""
    value = b"\x0a\x04loss\x15" + struct.pack("<f", loss)
    event = b"\x09" + struct.pack("<d", float(step)) + b"\x10" + bytes([step]) + b"\x2a" + bytes([len(value) + 2])
    event += b"\x0a" + bytes([len(value)]) + value
    length = struct.pack("<Q", len(event))
    return length + struct.pack("<I", tfevents._masked(length)) + event + struct.pack("<I", tfevents._masked(event))


def printed(data: bytes) -> str:
    """The argument of ``printf`` that comes to these bytes."""
    return "".join(f"\\{byte:03o}" for byte in data)
