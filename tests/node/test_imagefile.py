from __future__ import annotations

from pathlib import Path

import pytest

from homeport.node import imagefile
from homeport.node.imagefile import ImageFileError, parse_pattern, parse_reference

HEAD = "apiVersion: homeport.dev/v1alpha1\nkind: Image\n"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
        ("docker.io/python", "docker.io/library/python:latest"),
        ("index.docker.io/library/python", "docker.io/library/python:latest"),
        ("pytorch/pytorch:2.0", "docker.io/pytorch/pytorch:2.0"),
        ("gcr.io/a/b/c:v1", "gcr.io/a/b/c:v1"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("host.example:8080/x:y", "host.example:8080/x:y"),
        ("x@sha256:" + "0" * 64, "docker.io/library/x:latest@sha256:" + "0" * 64),
    ],
)
def test_references(text: str, result: str) -> None:
    assert str(parse_reference(text)) == result


@pytest.mark.parametrize("text", ["", "Foo", "a b", "x:", "x:a/b:c d", "-x", "x@sha256:12", "a//b", "x:$tag"])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(ValueError):
        parse_reference(text)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("python:3.11*", "python:3.11-slim", True),
        ("python:3.11*", "python:3.12", False),
        ("python", "python", True),
        ("python", "python:3", False),
        ("python:*", "docker.io/library/python", True),
        ("pytorch/*:*", "pytorch/pytorch:1", True),
        ("*/pytorch:*", "docker.io/pytorch/pytorch:1", True),
        ("python:3.1*", "python:3x1", False),
    ],
)
def test_patterns(pattern: str, name: str, matches: bool) -> None:
    assert parse_pattern(pattern).matches(parse_reference(name)) is matches


def test_explicit_beats_literal_beats_short() -> None:
    texts = ["python:*", "python:3.1*", "python:3.11*", "python:3.11-slim"]
    assert sorted(texts, key=lambda t: parse_pattern(t).rank) == texts


def test_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    path = tmp_path / "trainer.yaml"
    path.write_text(
        HEAD
        + """
names: ["team/trainer:*"]
python: "3.11"
packages: [numpy]
env: {A: "1"}
files: [{source: app, target: /app, pythonPath: true}]
command: [python3]
args: ["-V"]
workingDir: /app
torchBackend: cpu
ports: [8080, "53/UDP"]
warm: [torch, torch.nn]
---
apiVersion: homeport.dev/v1alpha1
kind: Image
metadata: {name: plain}
names: [plain]
"""
    )
    first, second = imagefile.read(path)
    assert (first.name, first.python, first.packages, first.torch_backend) == ("trainer", "3.11", ("numpy",), "cpu")
    assert first.files[0].source == tmp_path / "app"
    assert first.files[0].python_path
    assert first.warm == ("torch", "torch.nn")
    assert first.ports == ("8080/tcp", "53/udp")
    assert (second.name, second.python) == ("plain", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [x]", "apiVersion and kind must be"),
        (HEAD, "names: Required value"),
        (HEAD + "names: x", "names: must be a list of texts"),
        (HEAD + "names: [X]", r"names\[0\]: "),
        (HEAD + "names: [x]\npackage: [y]", "package: unknown field; there are .*packages"),
        (HEAD + "names: [x]\npython: 3.10", r'python: 3.1 must be in quotes \("3.10"'),
        (HEAD + "names: [x]\npython: newest", 'python: "newest" is no version'),
        (HEAD + "names: [x]\nenv: {A: 1}", "env.A: must be text"),
        (HEAD + "names: [x]\nenv: [A]", "env: must be a mapping"),
        (HEAD + "names: [x]\nports: 80", "ports: must be a list"),
        (HEAD + "names: [x]\npackages: [torch]\nwarm: [os; print]", r"warm\[0\]: .* is no name of a Python module"),
        (HEAD + "names: [x]\nwarm: [torch]", "warm: an image without Python has no modules"),
        (HEAD + "names: [x]\nports: [http]", r"ports\[0\]: 'http' is no port"),
        (HEAD + "names: [x]\nports: [70000]", r"ports\[0\]: 70000 is no port"),
        (HEAD + "names: [x]\nports: [80/icmp]", r"ports\[0\]: the protocol must be"),
        (HEAD + "names: [x]\nworkingDir: here", 'workingDir: "here" must be an absolute path'),
        (HEAD + "names: [x]\nfiles: [{source: nope, target: /x}]", r"files\[0\].source: .*nope does not exist"),
        (HEAD + "names: [x]\nfiles: [{source: nope}]", r"files\[0\].target: Required value"),
        (HEAD + "names: [x]\nfiles: [{source: a, to: /x}]", r"files\[0\].to: unknown field"),
        (HEAD + "names: [x]\nmetadata: {name: A B}", "metadata.name: "),
        ("[1]", "is a mapping"),
        ("a: [", "not valid YAML"),
        ("[" * 100_000, "nested deeper than 200 levels"),
        ("kind: Image\n---\n" + "{a: " * 100_000, "nested deeper than 200 levels"),
        ("a0: &a0 1\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 9)), "more than 500000"),
    ],
)
def test_mistakes_are_named_with_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ImageFileError, match=message) as caught:
        imagefile.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_files_that_come_with_homeport(tmp_path: Path) -> None:
    file = tmp_path / "mpi.yaml"
    file.write_text(HEAD + 'names: [mine]\nfiles: [{source: "stock:programs/sshd", target: /usr/sbin/sshd}]\n')
    (image,) = imagefile.read(file)
    (found,) = image.files
    assert found.source == imagefile.STOCK / "programs" / "sshd"
    assert found.source.stat().st_mode & 0o111, "a program"
    file.write_text(HEAD + 'names: [mine]\nfiles: [{source: "stock:programs/telnet", target: /usr/bin/telnet}]\n')
    with pytest.raises(ImageFileError, match="programs/telnet does not exist"):
        imagefile.read(file)
