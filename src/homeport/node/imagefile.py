"""Image files: which image names mean which environment. Pure but for :func:`read`.

::

    apiVersion: homeport.dev/v1alpha1
    kind: Image
    metadata: {name: trainer}
    names: ["example.com/team/trainer:*"]
    python: "3.11"
    packages: [torch, numpy]
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from homeport.kube.errors import Permanent

API_VERSION = "homeport.dev/v1alpha1"
_FIELDS = frozenset(
    {
        "apiVersion", "kind", "metadata", "names", "python", "packages", "env", "files", "command", "args",
        "workingDir", "torchBackend", "ports", "warm",
    }
)  # fmt: skip
_FILE_FIELDS = frozenset({"source", "target", "pythonPath"})
_REPOSITORY = re.compile(r"^[a-z0-9]+(?:(?:[._]|__|-+|/)[a-z0-9]+)*$")
_REGISTRY = re.compile(r"^[A-Za-z0-9.-]+(?::[0-9]+)?$")
_TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")
_DIGEST = re.compile(r"^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,}$")


STOCK = Path(__file__).resolve().parent.parent / "images"
"""Where the image files that come with Homeport are."""
STOCK_PREFIX = "stock:"
"""Begins the source of a file that comes with Homeport, such as ``stock:programs/sshd``."""


class ImageFileError(Permanent):
    """An image file is wrong; the text names file and field."""


class Reference(msgspec.Struct, frozen=True):
    """An image name taken apart. ``python`` is ``docker.io/library/python``, tag ``latest``."""

    repository: str
    tag: str
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Take an image name apart. Raises ValueError, with what is wrong, for what can't be one."""
    name, _, digest = text.partition("@")
    if digest and not _DIGEST.match(digest):
        raise ValueError(f'the digest of "{text}" is malformed')
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, "latest"
    elif not _TAG.match(tag):
        raise ValueError(f'the tag of "{text}" is malformed')
    repository = _with_registry(head)
    registry, _, path = repository.partition("/")
    if not _REGISTRY.match(registry) or not _REPOSITORY.match(path):
        why = "repository name must be lowercase" if path != path.lower() else "invalid reference format"
        raise ValueError(f'"{text}": {why}')
    return Reference(repository, tag, digest)


def _with_registry(repository: str) -> str:
    first, slash, rest = repository.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        if first in ("index.docker.io", "registry-1.docker.io"):
            first = "docker.io"
        return f"{first}/library/{rest}" if first == "docker.io" and "/" not in rest else f"{first}/{rest}"
    return f"docker.io/{repository}" if slash else f"docker.io/library/{repository}"


class Pattern(msgspec.Struct, frozen=True):
    """A name in an image file; ``*`` in repository or tag stands for any characters. Without a tag: ``latest``."""

    text: str
    repository: str
    tag: str

    def matches(self, reference: Reference) -> bool:
        return _matches(self.repository, reference.repository) and _matches(self.tag, reference.tag)

    @property
    def rank(self) -> tuple[bool, int]:
        """The best of several patterns that match has the highest rank: explicit first, then the most literal."""
        return "*" not in self.repository + self.tag, len((self.repository + self.tag).replace("*", ""))


def parse_pattern(text: str) -> Pattern:
    """Raises ValueError."""
    head, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        head, tag = text, "latest"
    if not head or not re.fullmatch(r"[a-z0-9._/*:-]+", head) or not re.fullmatch(r"[A-Za-z0-9_.*-]+", tag):
        raise ValueError(f'"{text}" is no image name: lower-case repository, then ":" and a tag; * for any characters')
    return Pattern(text, _with_registry(head), tag)


def _matches(pattern: str, text: str) -> bool:
    if "*" not in pattern:
        return pattern == text
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None


class ImageFiles(msgspec.Struct, frozen=True):
    """A directory or file next to the image file, shown at `target`."""

    source: Path
    target: str
    python_path: bool = False


class ImageFile(msgspec.Struct, frozen=True):
    """One image: how its containers start and what they see.

    `python` None means a plain image, the machine's own programs and nothing else; empty means the platform's version.
    """

    name: str
    path: Path
    patterns: tuple[Pattern, ...]
    python: str | None = None
    packages: tuple[str, ...] = ()
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    files: tuple[ImageFiles, ...] = ()
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    torch_backend: str = ""
    ports: tuple[str, ...] = ()
    """What its containers listen on, each as ``8080/tcp``: for people and for the Dockerfile, as in an OCI image."""
    warm: tuple[str, ...] = ()
    """Python modules that an interpreter may be kept with (:mod:`homeport.node.warmth`)."""


def read(path: Path) -> list[ImageFile]:
    """All images of a file (YAML, one or several documents). Raises ImageFileError."""
    from homeport.kube import yamltext

    try:
        documents = yamltext.documents(path.read_bytes())
    except OSError as error:
        raise ImageFileError(f"{path}: {error.strerror}") from error
    except yamltext.YamlError as error:
        raise ImageFileError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    return [parse(document, path) for document in documents if document is not None]


def parse(document: Any, path: Path) -> ImageFile:
    """An image from a document of the file at `path`. Raises ImageFileError, with the field."""
    try:
        return _parse(document, path)
    except ValueError as error:
        raise ImageFileError(f"{path}: {error}") from error


def _parse(document: Any, path: Path) -> ImageFile:
    if not isinstance(document, dict):
        raise ValueError("an image file is a mapping with apiVersion, kind and names")
    _known(document, _FIELDS, "")
    if (document.get("apiVersion"), document.get("kind")) != (API_VERSION, "Image"):
        raise ValueError(f"apiVersion and kind must be {API_VERSION} and Image")
    names = _texts(document, "names")
    if not names:
        raise ValueError("names: Required value: the image names that mean this image")
    patterns = []
    for index, name in enumerate(names):
        try:
            patterns.append(parse_pattern(name))
        except ValueError as error:
            raise ValueError(f"names[{index}]: {error}") from error
    packages = _texts(document, "packages")
    python = _text(document, "python") if "python" in document else ("" if packages else None)
    if python and not re.fullmatch(r"\d+(\.\d+){0,2}", python):
        raise ValueError(f'python: "{python}" is no version such as "3.11"')
    backend = _text(document, "torchBackend")
    return ImageFile(
        name=_name(document, path),
        path=path,
        patterns=tuple(patterns),
        python=python,
        packages=packages,
        env=_env(document),
        files=tuple(_files(document, path)),
        command=_texts(document, "command"),
        args=_texts(document, "args"),
        working_dir=_absolute(_text(document, "workingDir"), "workingDir"),
        torch_backend=backend,
        ports=_ports(document),
        warm=_warm(document, python),
    )


def _known(mapping: Mapping[Any, Any], known: frozenset[str], where: str) -> None:
    for key in mapping:
        if key not in known:
            raise ValueError(f"{where}{key}: unknown field; there are {', '.join(sorted(known))}")


def _name(document: Mapping[str, Any], path: Path) -> str:
    metadata = document.get("metadata")
    if metadata is None:
        return path.stem
    if not isinstance(metadata, dict):
        raise ValueError("metadata: must be a mapping")
    _known(metadata, frozenset({"name"}), "metadata.")
    name = str(metadata.get("name") or path.stem)
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name):
        raise ValueError(f'metadata.name: "{name}": only lower-case letters, digits, "-" and "."')
    return name


def _text(mapping: Mapping[str, Any], key: str, where: str = "") -> str:
    value = mapping.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{where}{key}: must be text")
    if isinstance(value, float):
        # YAML reads 3.10 as the number 3.1: nobody can tell which was meant.
        raise ValueError(f'{where}{key}: {value} must be in quotes ("3.10" is not the number 3.10)')
    return str(value)


def _texts(mapping: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = mapping.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError(f"{key}: must be a list of texts")
    return tuple(value)


def _env(document: Mapping[str, Any]) -> dict[str, str]:
    value = document.get("env")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("env: must be a mapping of names to values")
    for name, text in value.items():
        if not isinstance(name, str) or "=" in name or not name:
            raise ValueError(f"env.{name}: no name of a variable")
        if not isinstance(text, str):
            raise ValueError(f"env.{name}: must be text (in quotes)")
    return dict(value)


def _warm(document: Mapping[str, Any], python: str | None) -> tuple[str, ...]:
    modules = _texts(document, "warm")
    for index, module in enumerate(modules):
        if not all(part.isidentifier() for part in module.split(".")):
            raise ValueError(f'warm[{index}]: "{module}" is no name of a Python module')
    if modules and python is None:
        raise ValueError("warm: an image without Python has no modules")
    return modules


def _ports(document: Mapping[str, Any]) -> tuple[str, ...]:
    value = document.get("ports")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError("ports: must be a list of numbers")
    return tuple(port(entry, f"ports[{index}]") for index, entry in enumerate(value))


def port(entry: Any, where: str) -> str:
    """An exposed port as ``8080/tcp``. Raises ValueError."""
    number, slash, protocol = str(entry).partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if isinstance(entry, bool) or not number.isdecimal() or not 0 < int(number) < 65536:
        raise ValueError(f"{where}: {entry!r} is no port: a number from 1 to 65535")
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"{where}: the protocol must be tcp, udp or sctp")
    return f"{int(number)}/{protocol}"


def _files(document: Mapping[str, Any], path: Path) -> Sequence[ImageFiles]:
    value = document.get("files")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError("files: must be a list")
    result = []
    for index, entry in enumerate(value):
        where = f"files[{index}]."
        if not isinstance(entry, dict):
            raise ValueError(f"files[{index}]: must be a mapping with source and target")
        _known(entry, _FILE_FIELDS, where)
        source = _text(entry, "source", where)
        target = _absolute(_text(entry, "target", where), f"{where}target")
        if not source or not target:
            raise ValueError(f"{where}{'target' if source else 'source'}: Required value")
        if not isinstance(entry.get("pythonPath", False), bool):
            raise ValueError(f"{where}pythonPath: must be true or false")
        base = STOCK if source.startswith(STOCK_PREFIX) else path.parent
        found = (base / source.removeprefix(STOCK_PREFIX)).resolve()
        if not found.exists():
            raise ValueError(f"{where}source: {found} does not exist")
        result.append(ImageFiles(found, target, entry.get("pythonPath", False)))
    return result


def _absolute(text: str, where: str) -> str:
    if text and (not text.startswith("/") or ".." in text.split("/")):
        raise ValueError(f'{where}: "{text}" must be an absolute path without ".."')
    return text
