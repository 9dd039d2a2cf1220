"""The settings file of image names: aliases, and mirrors of registries. Pure but for :func:`read`.

::

    apiVersion: homeport.dev/v1alpha1
    kind: ImageNames
    aliases:
      "gcr.io/team/trainer": pytorch/pytorch:2.7.1
      "gcr.io/kubeflow-ci/*": "kubeflow/*"
    mirrors:
      registry.example.com/hub: docker.io
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from homeport.node.imagefile import API_VERSION, ImageFileError, Pattern, Reference, parse_pattern, parse_reference

KIND = "ImageNames"
_FIELDS = ("apiVersion", "kind", "aliases", "mirrors")
_MOST_STEPS = 10


class Alias(msgspec.Struct, frozen=True):
    pattern: Pattern
    target: str
    """A name; each ``*`` stands for what that of the pattern's repository stood for. Without a tag it keeps it."""


class ImageNames(msgspec.Struct, frozen=True):
    aliases: tuple[Alias, ...] = ()
    mirrors: tuple[tuple[str, str], ...] = ()
    """(What names begin with, what they mean), registry and path."""

    def real(self, reference: Reference) -> Reference:
        """What a name stands for in the end. Raises ValueError if aliases lead in a circle."""
        seen = [reference]
        for _ in range(_MOST_STEPS):
            following = self._step(seen[-1])
            if following is None:
                return seen[-1]
            if following in seen:
                break
            seen.append(following)
        raise ValueError(f"aliases lead in a circle: {' -> '.join(map(str, seen[:3]))} ...")

    def _step(self, reference: Reference) -> Reference | None:
        matching = [alias for alias in self.aliases if alias.pattern.matches(reference)]
        if matching:
            changed = _apply(max(matching, key=lambda alias: alias.pattern.rank), reference)
            return None if changed == reference else changed
        for prefix, real in sorted(self.mirrors, key=lambda mirror: -len(mirror[0])):
            if reference.repository.startswith(f"{prefix}/"):
                rest = reference.repository[len(prefix) + 1 :]
                return _named(f"{real}/{rest}", reference)
        return None


def _apply(alias: Alias, reference: Reference) -> Reference:
    expression = "(.*)".join(map(re.escape, alias.pattern.repository.split("*")))
    found = re.fullmatch(expression, reference.repository)
    stars = list(found.groups()) if found is not None else []
    return _named(re.sub(r"\*", lambda _: stars.pop(0), alias.target), reference)


def _named(name: str, reference: Reference) -> Reference:
    """The name, with tag and digest of the reference unless it has its own."""
    parsed = parse_reference(name)
    if ":" in name.rpartition("/")[2] or "@" in name:
        return parsed
    return Reference(parsed.repository, reference.tag, reference.digest)


def read(path: Path) -> ImageNames:
    """The settings; none if there is no such file. Raises ImageFileError, with the field."""
    from homeport.kube import yamltext

    try:
        documents = [document for document in yamltext.documents(path.read_bytes()) if document is not None]
    except FileNotFoundError:
        return ImageNames()
    except OSError as error:
        raise ImageFileError(f"{path}: {error.strerror}") from error
    except yamltext.YamlError as error:
        raise ImageFileError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    try:
        if len(documents) > 1:
            raise ValueError("one document is expected")
        return parse(documents[0]) if documents else ImageNames()
    except ValueError as error:
        raise ImageFileError(f"{path}: {error}") from error


def parse(document: Any) -> ImageNames:
    """Raises ValueError with the field."""
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) != (API_VERSION, KIND):
        raise ValueError(f"apiVersion and kind must be {API_VERSION} and {KIND}")
    for key in document:
        if key not in _FIELDS:
            raise ValueError(f"{key}: unknown field; there are {', '.join(_FIELDS)}")
    aliases = tuple(_alias(name, target) for name, target in _texts(document, "aliases").items())
    mirrors = tuple(_mirror(prefix, real) for prefix, real in _texts(document, "mirrors").items())
    return ImageNames(aliases, mirrors)


def _texts(document: Mapping[str, Any], key: str) -> Mapping[str, str]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{key}: must be a mapping of names to names")
    for name, target in value.items():
        if not isinstance(name, str) or not isinstance(target, str) or not target:
            raise ValueError(f"{key}.{name}: must be the name of an image")
    return value


def _alias(name: str, target: str) -> Alias:
    where = f"aliases[{name}]"
    try:
        pattern = parse_pattern(name if ":" in name.rpartition("/")[2] else f"{name}:*")
        parse_reference(target.replace("*", "x"))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if target.count("*") > pattern.repository.count("*"):
        raise ValueError(f'{where}: "{target}" has more * than the name')
    return Alias(pattern, target)


def _mirror(prefix: str, real: str) -> tuple[str, str]:
    for text in (prefix, real):
        try:
            parse_reference(f"{text.rstrip('/')}/x")
        except ValueError as error:
            raise ValueError(f"mirrors[{prefix}]: {error}") from error
        if not ("." in text.split("/")[0] or ":" in text.split("/")[0] or text.split("/")[0] == "localhost"):
            raise ValueError(f'mirrors[{prefix}]: "{text}" does not begin with a registry')
    return prefix.rstrip("/"), real.rstrip("/")
