"""The initializers' program and the Hugging Face hub: a server with the few endpoints of it that a download takes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from environments import python_with

PROGRAM = Path(__file__).parents[2] / "src" / "homeport" / "images" / "programs" / "initialize"
COMMIT = "0" * 39 + "1"
REPOSITORIES = {
    "models/tiny/llama": {
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "pytorch_model.bin": b"the same weights",
        "onnx/model.onnx": b"the same again",
    },
    "datasets/tiny/digits": {"data/train.parquet": b"1,2", "README.md": b"# Digits"},
    "models/closed/llama": {"config.json": b"{}"},
}


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        name = next((name for name in REPOSITORIES if name.removeprefix("models/") in path), None)
        if name is None:
            self._answer(404, b'{"error": "Repository not found"}', {"x-error-code": "RepoNotFound"})
        elif "closed" in path and self.headers.get("authorization") != "Bearer mine":
            self._answer(401, b'{"error": "Invalid credentials"}')
        elif "/resolve/" in path:
            content = REPOSITORIES[name][path.partition("/resolve/")[2].partition("/")[2]]
            self._answer(200, content, {"etag": f'"{hashlib.sha1(content).hexdigest()}"', "x-repo-commit": COMMIT})
        elif "/tree/" in path:
            entries = [
                {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for file, content in REPOSITORIES[name].items()
            ]
            self._answer(200, json.dumps(entries).encode())
        else:
            files = [{"rfilename": file} for file in REPOSITORIES[name]]
            told = {"id": name.partition("/")[2], "sha": COMMIT, "siblings": files, "private": False, "tags": []}
            self._answer(200, json.dumps(told).encode())

    do_HEAD = do_GET

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        """Nothing: the tests look at what comes."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(place: Path, hub: str, uri: str, what: str, **variables: str) -> subprocess.CompletedProcess[str]:
    python = str(python_with("initializer", "boto3==1.44.5", "huggingface-hub==2.4.0"))
    own = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    here = {"STORAGE_URI": uri, "WORKSPACE": str(place), "HOME": str(place), "HF_ENDPOINT": hub, **variables}
    return subprocess.run(
        [python, str(PROGRAM), what], capture_output=True, text=True, timeout=120, check=False, env={**own, **here}
    )


def came(place: Path) -> dict[str, bytes]:
    """Without what the hub's client keeps beside them."""
    files = {path.relative_to(place): path for path in place.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in files.items() if ".cache" not in name.parts}


@pytest.mark.slow
def test_a_model_and_a_data_set_of_the_hub(tmp_path: Path, hub: str) -> None:
    done = fetch(tmp_path, hub, "hf://tiny/llama", "model")
    assert done.returncode == 0, done.stderr
    model = REPOSITORIES["models/tiny/llama"]
    assert came(tmp_path / "model") == {name: model[name] for name in ("config.json", "model.safetensors")}
    done = fetch(tmp_path, hub, "hf://tiny/digits", "dataset", IGNORE_PATTERNS="*.md")
    assert done.returncode == 0, done.stderr
    assert came(tmp_path / "dataset") == {"data/train.parquet": b"1,2"}
    assert done.stdout.splitlines()[-1] == "Done: 1 file"


@pytest.mark.slow
def test_what_the_hub_refuses(tmp_path: Path, hub: str) -> None:
    for uri, token in (("hf://closed/llama", "secret"), ("hf://no/such", "secret")):
        refused = fetch(tmp_path, hub, uri, "model", ACCESS_TOKEN=token)
        assert refused.returncode == 1
        assert refused.stderr.splitlines()[-1].startswith(f"initialize: {uri}: ")
        assert "secret" not in refused.stdout + refused.stderr
    allowed = fetch(tmp_path, hub, "hf://closed/llama", "model", ACCESS_TOKEN="mine")
    assert allowed.returncode == 0, allowed.stderr
    assert came(tmp_path / "model") == {"config.json": b"{}"}
