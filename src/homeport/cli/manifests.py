"""Reading manifests as users write them: files, directories, standard input; YAML or JSON; several documents; Lists."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport.kube import meta, yamltext
from homeport.kube.errors import BadRequest, Permanent
from homeport.kube.meta import Object

_SEPARATOR = re.compile(rb"^---(?=\s|$).*$", re.MULTILINE)
_SUFFIXES = (".yaml", ".yml", ".json")

_FIRST = (
    "Namespace",
    "CustomResourceDefinition",
    "ServiceAccount",
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "Service",
)
"""Kinds that others refer to; the rest keeps the order of the files."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as a file has it."""

    object: Object
    source: str
    """``job.yaml`` or ``job.yaml, document 2``: for messages."""
    goes_with: str = ""
    """Kind of the object that this one goes with when that is deleted; it comes behind this one."""

    @property
    def title(self) -> str:
        return f"{self.object['kind']} {meta.name(self.object)}"


def read(paths: Iterable[str]) -> list[Manifest]:
    """All objects of the files, in the order in which to apply them. Raises Permanent for what is no manifest."""
    found = [manifest for path in paths for source, body in _files(path) for manifest in parse(body, source)]
    if not found:
        raise Permanent("no object in what was given: a manifest has apiVersion, kind and metadata")
    return sorted(found, key=lambda one: _FIRST.index(kind) if (kind := one.object["kind"]) in _FIRST else len(_FIRST))


def parse(body: bytes, source: str) -> list[Manifest]:
    """The objects of one file's content."""
    documents = list(_documents(body))
    found = []
    for number, (text, line) in enumerate(documents, 1):
        where = source if len(documents) == 1 else f"{source}, document {number}"
        try:
            # Empty lines in front make the line numbers of messages those of the file.
            value, duplicates = yamltext.load(b"\n" * line + text)
        except BadRequest as error:
            raise Permanent(f"{where}: {_yaml_problem(error)}") from error
        if duplicates:
            raise Permanent(f"{where}: {duplicates[0]}")
        if value is not None:
            found += [Manifest(obj, where) for obj in _objects(value, where)]
    return found


def _files(path: str) -> Iterator[tuple[str, bytes]]:
    if path == "-":
        yield "standard input", sys.stdin.buffer.read()
        return
    place = Path(path)
    try:
        if place.is_dir():
            inside = sorted(file for file in place.iterdir() if file.suffix in _SUFFIXES)
            if not inside:
                raise Permanent(f"{path}: no {', '.join(_SUFFIXES)} file in this directory{programs(place)}")
            for file in inside:
                yield str(file), file.read_bytes()
        else:
            yield path, place.read_bytes()
    except OSError as error:
        raise Permanent(f"{path}: {(error.strerror or str(error)).lower()}") from error


def programs(directory: Path) -> str:
    """How to run what Python files are in `directory`, as the rest of a sentence; empty if there are none."""
    found = sorted(file.name for file in directory.glob("*.py"))
    if "__main__.py" in found:
        place = directory.resolve()
        return f"; to run it as a program: homeport run -m {place.name}, in {place.parent}"
    if not found:
        return ""
    one = found[0] if len(found) == 1 else "PROGRAM.py"
    return f"; a Python program is run by its own name: homeport run {shlex.quote(str(directory / one))}"


def _documents(body: bytes) -> Iterator[tuple[bytes, int]]:
    """Each document and the number of lines before it."""
    begin = 0
    for match in (*_SEPARATOR.finditer(body), None):
        end = match.start() if match else len(body)
        if any(line.strip() and not line.lstrip().startswith(b"#") for line in body[begin:end].splitlines()):
            yield body[begin:end], body.count(b"\n", 0, begin)
        if match:
            begin = match.end()


def _objects(value: Any, where: str) -> Iterator[Object]:
    if not isinstance(value, dict):
        raise Permanent(f"{where}: expected an object with apiVersion and kind, found {_article(value)}")
    for field in ("apiVersion", "kind"):
        if not isinstance(value.get(field), str) or not value[field]:
            raise Permanent(f"{where}: {field} is missing")
    if value["kind"].endswith("List") and isinstance(value.get("items"), list):
        for item in value["items"]:
            yield from _objects(item, where)
        return
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        generated = isinstance(metadata, dict) and "generateName" in metadata
        extra = "; generateName can't be applied" if generated else ""
        raise Permanent(f"{where}: metadata.name is missing{extra}")
    yield value


def _yaml_problem(error: BadRequest) -> str:
    """Where and what, on one line."""
    cause = error.__cause__
    mark = getattr(cause, "problem_mark", None)
    if mark is None:
        return error.message
    what = ", ".join(text for text in (getattr(cause, "context", ""), getattr(cause, "problem", "")) if text)
    return f"line {mark.line + 1}, column {mark.column + 1}: not valid YAML: {what}"


def _article(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), "something else")
