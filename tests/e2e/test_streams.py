"""Commands, terminals, files and ports in containers, by every kubectl there is."""

from __future__ import annotations

import hashlib
import os
import pty
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from machinery import Kubectl, read_until

SERVER = """
import socketserver, hashlib
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        data = self.rfile.read()
        self.wfile.write(hashlib.sha256(data).hexdigest().encode() + data)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
Server(("127.0.0.1", 7000), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def pod(any_kubectl: Kubectl) -> Iterator[str]:
    """A container that serves on its loopback and goes on."""
    any_kubectl("run", "streams", "--image=python", "--restart=Never", "--command", "--", "python3", "-c", SERVER)
    any_kubectl("wait", "--for=condition=Ready", "pod/streams", "--timeout=60s")
    yield "streams"
    any_kubectl("delete", "pod", "streams", "--wait=false", "--grace-period=0")


def run(kubectl: Kubectl, *arguments: str, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        kubectl.command(arguments), input=stdin, capture_output=True, timeout=60, check=False, env=kubectl.environment
    )
    return done.returncode, done.stdout, done.stderr


def test_exit_codes_and_outputs(any_kubectl: Kubectl, pod: str) -> None:
    code, out, error = run(any_kubectl, "exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (code, out) == (42, b"out\n")
    assert error.startswith(b"err\n")
    assert b"exit code 42" in error
    code, _, error = run(any_kubectl, "exec", pod, "--", "nope")
    assert code == 1
    assert b'exec: "nope": executable file not found in $PATH' in error
    code, _, error = run(any_kubectl, "exec", pod, "-c", "other", "--", "true")
    assert code == 1
    assert b"container other is not valid for pod streams" in error


def test_ten_megabytes_each_way(any_kubectl: Kubectl, pod: str) -> None:
    data = os.urandom(10 << 20)
    code, out, _ = run(any_kubectl, "exec", "-i", pod, "--", "sha256sum", stdin=data)
    assert (code, out.split()[0].decode()) == (0, hashlib.sha256(data).hexdigest())
    code, out, _ = run(any_kubectl, "exec", "-i", pod, "--", "cat", stdin=data)
    assert code == 0
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()


def test_files_and_directories_are_copied(any_kubectl: Kubectl, pod: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "data").write_bytes(os.urandom(1 << 20))
    (tree / "text").write_text("hello")
    any_kubectl("cp", str(tree), f"{pod}:/tmp/copy")
    any_kubectl("cp", f"{pod}:/tmp/copy", str(tmp_path / "back"))
    assert (tmp_path / "back" / "inner" / "data").read_bytes() == (tree / "inner" / "data").read_bytes()
    any_kubectl("cp", f"{pod}:/tmp/copy/text", str(tmp_path / "text"))
    assert (tmp_path / "text").read_text() == "hello"


def on_a_terminal(kubectl: Kubectl, arguments: tuple[str, ...], script: list[tuple[str, str]]) -> tuple[int, str]:
    """Run a command on a terminal; each text that appears is answered with the next line. Exit status and output."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = kubectl.command(arguments)
        os.execve(command[0], command, kubectl.environment)
    out = ""
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    data = os.read(terminal, 4096)
                except OSError:
                    break
                out += data.decode(errors="replace")
            if script and script[0][0] in out:
                os.write(terminal, script.pop(0)[1].encode())
        else:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), out


def test_a_terminal(any_kubectl: Kubectl, pod: str) -> None:
    script = [("#", "test -t 0 && echo ter''minal; exit 7\r")]
    code, out = on_a_terminal(any_kubectl, ("exec", "-it", pod, "--", "sh"), script)
    assert code == 7, out
    assert "\r\nterminal\r\n" in out


def test_run_and_attach(any_kubectl: Kubectl) -> None:
    arguments = ("run", "-it", "--rm", "shell", "--image=python", "--restart=Never", "--command", "--", "sh")
    code, out = on_a_terminal(any_kubectl, arguments, [("prompt", "\r"), ("#", "echo he''llo; exit 4\r")])
    assert code == 4, out
    assert "\r\nhello\r\n" in out
    arguments = ("run", "-i", "--rm", "piped", "--image=python", "--restart=Never", "--command", "--", "cat")
    code, pieces, _ = run(any_kubectl, *arguments, stdin=b"through\n")
    assert code == 0
    assert pieces.startswith(b"through\n")


@contextmanager
def forwarded(kubectl: Kubectl, pod: str, port: int) -> Iterator[int]:
    process = kubectl.start("port-forward", f"pod/{pod}", f":{port}")
    try:
        line = read_until(process, "Forwarding from 127.0.0.1")[-1]
        yield int(line.split(" -> ")[0].rpartition(":")[2])
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_many_connections_to_a_port(any_kubectl: Kubectl, pod: str) -> None:
    data = os.urandom(2 << 20)
    answers: list[bytes] = []

    def one(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(1 << 16):
                answer += part
        answers.append(answer)

    with forwarded(any_kubectl, pod, 7000) as port:
        threads = [threading.Thread(target=one, args=(port,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [hashlib.sha256(data).hexdigest().encode() + data] * 8


def test_a_port_that_nobody_listens_on(any_kubectl: Kubectl, pod: str) -> None:
    with forwarded(any_kubectl, pod, 7001) as port, socket.create_connection(("127.0.0.1", port), 30) as connection:
        assert connection.recv(1) == b""
