"""Schemathesis against our own OpenAPI documents: no request that they describe breaks the server, and what it answers
is what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from environments import python_with

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
EXAMPLES = os.environ.get("HOMEPORT_FUZZ_EXAMPLES", "2")
"""For each operation."""
GROUPS = (
    "api/v1",
    "apis/admissionregistration.k8s.io/v1",
    "apis/apiextensions.k8s.io/v1",
    "apis/apps/v1",
    "apis/authentication.k8s.io/v1",
    "apis/authorization.k8s.io/v1",
    "apis/autoscaling/v2",
    "apis/batch/v1",
    "apis/certificates.k8s.io/v1",
    "apis/coordination.k8s.io/v1",
    "apis/discovery.k8s.io/v1",
    "apis/events.k8s.io/v1",
    "apis/flowcontrol.apiserver.k8s.io/v1",
    "apis/networking.k8s.io/v1",
    "apis/node.k8s.io/v1",
    "apis/policy/v1",
    "apis/rbac.authorization.k8s.io/v1",
    "apis/scheduling.k8s.io/v1",
    "apis/storage.k8s.io/v1",
)


SETTINGS = """
[checks]
enabled = false
not_a_server_error.enabled = true
content_type_conformance.enabled = true
response_schema_conformance.enabled = true

# A deletion that finalizers hold up answers with the object, though upstream's documents promise a Status.
[[operations]]
include-method = "DELETE"
checks.response_schema_conformance.enabled = false

# What is behind a proxy answers for itself, and with 503 if there is nothing.
[[operations]]
include-path-regex = "/proxy"
checks.not_a_server_error.enabled = false
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, HERE / "openapi_server.py"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("group", GROUPS)
def test_group(port: int, group: str, tmp_path: Path) -> None:
    python = python_with("schemathesis", "schemathesis==4.32.5")
    server = f"http://127.0.0.1:{port}"
    options = ("--phases=fuzzing", "--continue-on-failure", "--suppress-health-check=all", "--generation-deterministic")
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    command = [
        python.parent / "schemathesis", "run", f"{server}/openapi/v3/{group}", f"--url={server}",
        "--header=Authorization: Bearer t", f"--max-examples={EXAMPLES}", "--request-timeout=5", "--warnings=off",
        *options,
    ]  # fmt: skip
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
