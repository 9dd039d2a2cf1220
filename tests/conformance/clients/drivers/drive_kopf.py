"""kopf: an operator that keeps finalizers, patches the status, and posts events, on a resource made while it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

OPERATOR = """
import kopf

@kopf.on.create("{group}", "v1", "boats")
def created(body, spec, patch, **_):
    patch.status["built"] = spec["sails"]
    kopf.info(body, reason="Built", message="All sails are set.")
    return {{"done": True}}

@kopf.on.update("{group}", "v1", "boats", field="spec.sails")
def changed(old, new, patch, **_):
    patch.status["built"] = new

@kopf.on.delete("{group}", "v1", "boats")
def deleted(name, logger, **_):
    logger.info("%s is taken apart", name)
"""


def kubectl(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    done = subprocess.run(
        [os.environ["KUBECTL"], *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=60
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def eventually(what: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)
    return found


def test_an_operator_follows_its_objects(tmp_path: Path) -> None:
    group = f"{uuid.uuid4().hex[:8]}.example.com"
    operator = tmp_path / "operator.py"
    operator.write_text(OPERATOR.format(group=group))
    log = (tmp_path / "log").open("w+")
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "--all-namespaces", "--verbose", str(operator)]
    running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        kubectl("apply", "-f", "-", stdin=yaml.safe_dump(definition(group)))
        kubectl("wait", "--for=condition=Established", f"crd/boats.{group}", "--timeout=20s")
        boat = {"apiVersion": f"{group}/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": {"sails": 2}}
        kubectl("apply", "-f", "-", stdin=yaml.safe_dump(boat))
        path = "jsonpath={.status.built}"
        eventually(lambda: kubectl("get", f"boats.{group}", "b", "-o", path) == "2")
        finalizers = kubectl("get", f"boats.{group}", "b", "-o", "jsonpath={.metadata.finalizers}")
        assert "kopf.zalando.org" in finalizers
        kubectl("patch", f"boats.{group}", "b", "--type=merge", "-p", '{"spec":{"sails":3}}')
        eventually(lambda: kubectl("get", f"boats.{group}", "b", "-o", path) == "3")
        of_boat = "--field-selector=involvedObject.name=b,involvedObject.kind=Boat"
        eventually(lambda: "All sails are set" in kubectl("get", "events", of_boat))
        kubectl("delete", f"boats.{group}", "b", "--timeout=20s")
        log.seek(0)
        assert "b is taken apart" in log.read()
    except BaseException:
        log.seek(0)
        print(log.read()[-5000:])
        raise
    finally:
        running.terminate()
        running.wait(20)
        kubectl("delete", f"crd/boats.{group}", "--wait=false", check=False)


def definition(group: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"boats.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat"},
            "versions": [version],
        },
    }
