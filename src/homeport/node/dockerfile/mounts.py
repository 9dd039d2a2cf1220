"""``RUN --mount``: what a step is to see beside its layers. Pure."""

from __future__ import annotations

import csv

import msgspec

_KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
_KEYS = {
    "bind": {"target", "source", "from", "rw"},
    "cache": {"target", "id", "ro", "sharing", "from", "source", "mode", "uid", "gid"},
    "tmpfs": {"target", "size"},
    "secret": {"id", "target", "env", "required", "mode", "uid", "gid"},
}
_SYNONYMS = {"dst": "target", "destination": "target", "src": "source", "readwrite": "rw", "readonly": "ro"}
_SWITCHES = ("rw", "ro", "required")


class StepMount(msgspec.Struct, frozen=True):
    kind: str
    target: str
    source: str = ""
    stage: str = ""
    """Whose files a ``bind`` shows; empty for the context's."""
    id: str = ""
    read_only: bool = False
    required: bool = False


def parse(text: str) -> StepMount:
    """Raises ValueError."""
    values: dict[str, str] = {}
    for field in next(csv.reader([text]), []):
        key, equals, value = field.partition("=")
        key = _SYNONYMS.get(key.strip().lower(), key.strip().lower())
        if not equals and key not in _SWITCHES:
            raise ValueError(f"--mount={text}: {field} must be of the form key=value")
        values[key] = value if equals else "true"
    kind = values.pop("type", "bind")
    if kind not in _KINDS:
        raise ValueError(f"--mount={text}: the type must be bind, cache, tmpfs or secret")
    if kind == "ssh":
        raise ValueError("--mount=type=ssh is not supported; copy what is needed in, or use a secret")
    if unknown := sorted(set(values) - _KEYS[kind]):
        raise ValueError(f"--mount={text}: unexpected key {unknown[0]!r} for type {kind}")
    target, name = values.get("target", ""), values.get("id", "")
    if kind == "secret":
        if "env" in values:
            raise ValueError("--mount=type=secret: env is not supported; read the file")
        name = name or target.rpartition("/")[2]
        target = target or f"/run/secrets/{name}"
        if not name:
            raise ValueError("--mount=type=secret: id or target is required")
    if not target:
        raise ValueError(f"--mount={text}: target is required")
    if kind == "cache" and values.get("from"):
        raise ValueError("--mount=type=cache: from is not supported")
    read_only = "ro" in values if kind == "cache" else kind == "secret" or (kind == "bind" and "rw" not in values)
    return StepMount(
        kind=kind,
        target=target,
        source=values.get("source", ""),
        stage=values.get("from", ""),
        id=name or target,
        read_only=read_only,
        required=values.get("required", "false") not in ("false", "0"),
    )
