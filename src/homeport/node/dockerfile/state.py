"""What a stage has come to: layers, configuration, variables. Pure."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping
from typing import Any

import msgspec

from homeport.node.local.record import Base, architecture

DEFAULT_SHELL = ("/bin/sh", "-c")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEVER = "1970-01-01T00:00:00Z"
"""When an image was created that no step has made a layer of."""


class State(msgspec.Struct, frozen=True):
    base: Base | None = None
    layers: tuple[str, ...] = ()
    """Diff ids, the lowest first."""
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    settings: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """The OCI configuration's, without ``Env``."""
    arguments: Mapping[str, str] = msgspec.field(default_factory=dict)
    """``ARG`` in force."""
    shell: tuple[str, ...] = DEFAULT_SHELL
    has_command: bool = False
    """Whether this Dockerfile has a ``CMD`` of its own, which an ``ENTRYPOINT`` leaves alone."""
    history: tuple[Mapping[str, Any], ...] = ()
    created: str = NEVER

    @property
    def user(self) -> str:
        return str(self.settings.get("User") or "")

    @property
    def directory(self) -> str:
        return str(self.settings.get("WorkingDir") or "/")

    def values(self) -> dict[str, str]:
        """What variables stand for: ``ENV`` before ``ARG``."""
        return {**self.arguments, **self.env}

    def absolute(self, path: str) -> str:
        """A path as seen from the working directory, with the slash at its end if it has one."""
        joined = posixpath.normpath(posixpath.join(self.directory, path))
        joined = "/" + joined.lstrip("/")
        is_directory = path.endswith("/") or posixpath.basename(path) in (".", "..")
        return f"{joined.rstrip('/')}/" if is_directory else joined

    def with_setting(self, name: str, value: Any) -> State:
        settings = {key: other for key, other in self.settings.items() if key != name}
        if value not in (None, "", [], {}):
            settings[name] = value
        return msgspec.structs.replace(self, settings=settings)

    def did(self, text: str, diff_id: str = "", created: str = "") -> State:
        """After a step, with the layer that it made."""
        entry: dict[str, Any] = {"created_by": text, "comment": "homeport build"}
        if created:
            entry["created"] = created
        if not diff_id:
            entry["empty_layer"] = True
        return msgspec.structs.replace(
            self,
            layers=(*self.layers, diff_id) if diff_id else self.layers,
            history=(*self.history, entry),
            created=max(self.created, created),
        )

    def key(self, *step: Any) -> str:
        """Names what a step makes of this: the same layers and the same inputs make the same."""
        base = None if self.base is None else [self.base.key or self.base.reference, list(self.base.files)]
        content = json.dumps([base, self.layers, step], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    def config(self, labels: Mapping[str, str]) -> dict[str, Any]:
        """As in the OCI image specification."""
        settings = dict(self.settings)
        if self.env:
            settings["Env"] = [f"{name}={value}" for name, value in self.env.items()]
        if labels:
            settings["Labels"] = {**(settings.get("Labels") or {}), **labels}
        return {
            "architecture": architecture(),
            "os": "linux",
            "created": self.created,
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": list(self.layers)},
            "history": list(self.history),
        }
