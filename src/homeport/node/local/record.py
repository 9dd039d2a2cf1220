"""What is kept of an image that is made of layers, and what it means for its containers. Pure."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from typing import Any

import msgspec

from homeport.node import environment
from homeport.node.environment import ImageConfig
from homeport.node.local.users import User


class Base(msgspec.Struct, frozen=True):
    """The image file's environment that an image began with, and that its containers see below its layers."""

    reference: str
    """By which it can be built again."""
    key: str = ""
    """The environment's; empty for a plain image."""
    environment: str | None = None
    interpreter: str | None = None
    files: tuple[tuple[str, str], ...] = ()
    """(Host path, path inside)."""


class Record(msgspec.Struct, frozen=True):
    id: str
    """``sha256:`` and the digest of the configuration."""
    config: dict[str, Any]
    """As in the OCI image specification: architecture, os, config, rootfs, history."""
    layers: tuple[str, ...]
    """Diff ids, the lowest first."""
    created: str
    user: User = User()
    base: Base | None = None
    """None: the layers are the whole root."""
    digest: str = ""
    """Of the manifest that it was loaded with."""

    @property
    def settings(self) -> Mapping[str, Any]:
        found = self.config.get("config")
        return found if isinstance(found, dict) else {}


def identify(config: Mapping[str, Any], base: Base | None) -> str:
    """The id of an image that is built here."""
    content = {"config": config, "base": None if base is None else [base.key or base.reference, list(base.files)]}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def image_config(record: Record) -> ImageConfig:
    """How containers of the image start."""
    settings = record.settings
    env = dict(entry.partition("=")[::2] for entry in settings.get("Env") or ())
    if record.base is None:
        env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return ImageConfig(
        env=env,
        command=tuple(settings.get("Entrypoint") or ()),
        args=tuple(settings.get("Cmd") or ()),
        working_dir=settings.get("WorkingDir") or "",
        user=settings.get("User") or "",
        uid=record.user.uid,
        gid=record.user.gid,
        groups=record.user.groups,
        home=record.user.home,
        stop_signal=settings.get("StopSignal") or "",
    )


def from_image_config(config: ImageConfig) -> dict[str, Any]:
    """The OCI settings to begin with on top of an image file."""
    env = {"PATH": environment.PATH, **config.env}
    settings: dict[str, Any] = {"Env": [f"{name}={value}" for name, value in env.items()]}
    if config.command:
        settings["Entrypoint"] = list(config.command)
    if config.args:
        settings["Cmd"] = list(config.args)
    if config.working_dir:
        settings["WorkingDir"] = config.working_dir
    return settings


def architecture() -> str:
    """This machine's, as Go calls it."""
    machine = platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}.get(machine, machine)
