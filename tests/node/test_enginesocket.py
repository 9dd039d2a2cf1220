"""Where engines are looked for, and which of them will do."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from homeport.node import enginesocket
from homeport.node.enginesocket import About, NoEngine


@contextmanager
def engine(place: Path, answer: bytes) -> Iterator[str]:
    """Somebody who gives this answer to one question."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield str(place)
        thread.join(5)


def info(**changes: object) -> bytes:
    said = {"Name": platform.node(), "KernelVersion": platform.release(), "SecurityOptions": ["name=seccomp"]}
    return b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + json.dumps(said | changes).encode()


@pytest.mark.parametrize("variable", enginesocket.VARIABLES)
def test_the_environment_says_where(tmp_path: Path, variable: str) -> None:
    place = str(tmp_path / "engine.sock")
    environ = {variable: f"unix://{place}", "HOME": str(tmp_path)}
    assert enginesocket.find(environ) == place
    with pytest.raises(NoEngine, match="does not answer"):
        enginesocket.find_shared(environ)
    with engine(Path(place), info()):
        assert enginesocket.find_shared(environ) == place
    with pytest.raises(NoEngine, match=f"{variable}=tcp://elsewhere:2375"):
        enginesocket.find({variable: "tcp://elsewhere:2375"})


def test_docker_contexts(tmp_path: Path) -> None:
    configured = tmp_path / ".docker"
    meta = configured / "contexts" / "meta" / hashlib.sha256(b"mine").hexdigest() / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": "mine", "Endpoints": {"docker": {"Host": "unix:///run/mine.sock"}}}))
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    assert enginesocket.find(environ | {"DOCKER_CONTEXT": "mine"}) == "/run/mine.sock"
    (configured / "config.json").write_text(json.dumps({"currentContext": "mine"}))
    assert enginesocket.find(environ) == "/run/mine.sock"
    assert enginesocket.find(environ | {"DOCKER_HOST": "unix:///run/other.sock"}) == "/run/other.sock"
    with pytest.raises(NoEngine, match="Docker's context is other"):
        enginesocket.find(environ | {"DOCKER_CONTEXT": "other"})
    meta.write_text(json.dumps({"Endpoints": {"docker": {"Host": "ssh://far"}}}))
    with pytest.raises(NoEngine, match="ssh://far"):
        enginesocket.find(environ)


def test_the_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "podman").mkdir()
    environ = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    own = [place for place in enginesocket.places(environ) if place.startswith(str(tmp_path))]
    monkeypatch.setattr(enginesocket, "places", lambda _environ: own)
    with pytest.raises(NoEngine, match="no engine answers"):
        enginesocket.find(environ)
    with pytest.raises(NoEngine, match="no engine answers"):
        enginesocket.find_shared(environ)
    with engine(tmp_path / "podman" / "podman.sock", info()) as place:
        assert enginesocket.find(environ) == place
        assert enginesocket.find_shared(environ) == place


def test_sockets_of_others_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [place for place in enginesocket.places({"HOME": "/home/me"}, "linux") if place.startswith("/tmp/")]
    with engine(tmp_path / "engine.sock", b"") as place:
        assert enginesocket.usable(place)
        if os.geteuid() == 0:
            os.chown(place, 54321, 54321)
            assert not enginesocket.usable(place)
            monkeypatch.setattr(os, "geteuid", lambda: 54321)
            assert enginesocket.usable(place)
        assert enginesocket.unfit(place)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (About("here", "6.1", False), ""),
        (About("docker-desktop", "6.6-linuxkit", False), "virtual machine"),
        (About("outside", "6.1", False), "outside of the container"),
        (About("here", "6.1", True), "ordinary user"),
    ],
)
def test_which_engines_will_do(about: About, words: str) -> None:
    problem = enginesocket.unfit_for(about, "here", "6.1")
    assert words in problem
    assert bool(problem) == bool(words)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.0 500 No\r\n\r\n{}", b"HTTP/1.0 200 OK\r\n\r\n[]"])
def test_what_is_no_engine_is_none(tmp_path: Path, answer: bytes) -> None:
    with engine(tmp_path / "engine.sock", answer) as place:
        assert "does not answer" in enginesocket.unfit(place)
