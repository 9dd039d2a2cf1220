"""The program of the initializers' images, as a container runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from environments import python_with

PROGRAM = Path(__file__).parents[2] / "src" / "homeport" / "images" / "programs" / "initialize"
OBJECTS = {
    "digits/train.csv": b"1,2\n",
    "digits/deep/test.csv": b"3,4\n",
    "digits/skip.bin": b"weights",
    "digits2/other.csv": b"5,6\n",
}


class Store(BaseHTTPRequestHandler):
    """As much of S3 as listing and getting take, and plain files."""

    failures = 0

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if "list-type" in query:
            prefix = query.get("prefix", [""])[0]
            entries = [
                f"<Contents><Key>{key}</Key><Size>4</Size></Contents>" for key in OBJECTS if key.startswith(prefix)
            ]
            self._answer(
                200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(entries)}</ListBucketResult>"
            )
        elif url.path == "/flaky.csv" and Store.failures:
            Store.failures -= 1
            self._answer(503, "later")
        elif url.path == "/closed.csv" and self.headers.get("authorization") != "Basic bWU6bWluZUA=":
            self._answer(401, "")
        elif url.path in ("/flaky.csv", "/plain.csv", "/closed.csv"):
            self._answer(200, "7,8\n")
        elif url.path.startswith("/bucket/") and url.path.removeprefix("/bucket/") in OBJECTS:
            self._answer(200, OBJECTS[url.path.removeprefix("/bucket/")].decode())
        else:
            self._answer(404, "")

    do_HEAD = do_GET

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.send_header("etag", '"x"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(text.encode())

    def log_message(self, *words: object) -> None:
        """Nothing: the tests look at what comes."""


@pytest.fixture
def store() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(
    place: Path, uri: str, *, what: str = "dataset", python: str = sys.executable, **variables: str
) -> subprocess.CompletedProcess[str]:
    own = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment = {**own, "STORAGE_URI": uri, "WORKSPACE": str(place), "HOME": str(place), **variables}
    return subprocess.run(
        [python, str(PROGRAM), what], capture_output=True, text=True, timeout=120, check=False, env=environment
    )


def came(place: Path) -> dict[str, str]:
    return {str(path.relative_to(place)): path.read_text() for path in place.rglob("*") if path.is_file()}


def test_a_file_by_http(tmp_path: Path, store: str) -> None:
    done = run(tmp_path, f"{store}/plain.csv?token=secret")
    assert done.returncode == 0, done.stderr
    assert came(tmp_path / "dataset") == {"plain.csv": "7,8\n"}
    assert "secret" not in done.stdout + done.stderr


def test_a_file_behind_a_password(tmp_path: Path, store: str) -> None:
    host = store.removeprefix("http://")
    done = run(tmp_path, f"http://me:mine%40@{host}/closed.csv")
    assert done.returncode == 0, done.stderr
    assert came(tmp_path / "dataset") == {"closed.csv": "7,8\n"}
    wrong = [run(tmp_path, uri) for uri in (f"http://me:secret@{host}/closed.csv", f"ftp://me:secret@{host}/x")]
    assert "closed.csv: 401 Unauthorized" in wrong[0].stderr
    assert "nothing is known of ftp" in wrong[1].stderr
    assert not any("secret" in each.stdout + each.stderr for each in wrong)


def test_a_server_that_has_to_be_asked_twice(tmp_path: Path, store: str) -> None:
    Store.failures = 1
    assert run(tmp_path, f"{store}/flaky.csv", what="model").returncode == 0
    assert came(tmp_path / "model") == {"flaky.csv": "7,8\n"}


def test_a_path_and_a_claim(tmp_path: Path) -> None:
    source = tmp_path / "claims" / "data" / "digits"
    (source / "deep").mkdir(parents=True)
    (source / "a.csv").write_text("a")
    (source / "deep" / "b.csv").write_text("b")
    (source / "c.tmp").write_text("c")
    expected = {"a.csv": "a", "deep/b.csv": "b"}
    done = run(tmp_path / "one", "pvc://data/digits", CLAIMS=str(tmp_path / "claims"), IGNORE_PATTERNS="*.tmp, *.x")
    assert done.returncode == 0, done.stderr
    assert came(tmp_path / "one" / "dataset") == expected
    assert run(tmp_path / "two", f"file://{source}/a.csv").returncode == 0
    assert came(tmp_path / "two" / "dataset") == {"a.csv": "a"}


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "STORAGE_URI is not set"),
        ("cache://schema/table", "nothing is known of cache: use one of hf://, s3://"),
        ("file:///no/such/place", "/no/such/place is not there"),
        ("pvc://data/x", "the claim is not mounted at"),
        ("pvc://here/../../secret", "the path leads out of the claim"),
        ("{store}/gone.csv", "gone.csv: 404 Not Found"),
        ("hf://alone", "a repository of the hub is hf://OWNER/NAME"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, store: str, uri: str, words: str) -> None:
    variables = {"PYTHONPATH": str(tmp_path)} if uri.startswith("hf:") else {"CLAIMS": str(tmp_path / "claims")}
    (tmp_path / "claims" / "here").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "huggingface_hub.py").touch()
    done = run(tmp_path, uri.format(store=store), **variables)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("initialize: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_objects_of_s3(tmp_path: Path, store: str) -> None:
    python = str(python_with("initializer", "boto3==1.44.5", "huggingface-hub==2.4.0"))
    keys = {"ENDPOINT": store, "ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": "mine"}
    done = run(tmp_path / "all", "s3://bucket/digits", python=python, IGNORE_PATTERNS="*.bin", **keys)
    assert done.returncode == 0, done.stderr
    assert came(tmp_path / "all" / "dataset") == {"train.csv": "1,2\n", "deep/test.csv": "3,4\n"}
    assert run(tmp_path / "one", "s3://bucket/digits/train.csv", python=python, **keys).returncode == 0
    assert came(tmp_path / "one" / "dataset") == {"train.csv": "1,2\n"}
    nothing = run(tmp_path / "none", "s3://bucket/x/", python=python, **keys)
    assert nothing.stderr == "initialize: s3://bucket/x/: nothing is there\n"
