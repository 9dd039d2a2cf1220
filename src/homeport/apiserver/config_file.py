"""Files that flags name: one document each, in YAML or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeport.kube.errors import BadRequest, Permanent
from homeport.kube.meta import Object


def read(path: Path) -> tuple[Any, list[str]]:
    """The document, and what to say of keys that it has twice. Raises OSError, and ValueError if it is none."""
    from homeport.kube import yamltext  # few platforms have such a file

    try:
        return yamltext.load(path.read_bytes())
    except BadRequest as error:
        raise ValueError(str(error)) from error


def load(flag: str, path: Path, kind: str = "object") -> Object:
    """The document, which has to be an object. Raises Permanent in the words of whoever gave the flag."""
    try:
        document, _ = read(path)
    except OSError as error:
        raise Permanent(f"{flag}: {path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise Permanent(f"{flag}: {path}: {error}") from error
    if not isinstance(document, dict):
        raise Permanent(f"{flag}: {path} is not a {kind}")
    return document
