"""An image file as a Dockerfile, for a cluster. Pure."""

from __future__ import annotations

import os
import shlex

from homeport.kube.errors import Permanent
from homeport.node.imagefile import ImageFile

_PLAIN = "debian:stable-slim"


def dockerfile(image: ImageFile, python: str) -> str:
    """`python` is the version of the platform's own (``3.11``), for images that want any. Files are named relative to
    the image file's directory, which is the build's context. Raises Permanent if one is outside of it."""
    lines = [f"# {image.name}: made of {image.path.name} by homeport images dockerfile."]
    if image.files:
        lines.append(f"# Its context is the directory of that file: {image.path.parent}")
    if image.python is None:
        lines.append(f"FROM {_PLAIN}")
    else:
        lines.append(f"FROM python:{image.python or python}-slim")
    if image.packages:
        words = " \\\n      ".join(shlex.quote(package) for package in image.packages)
        lines += ["RUN pip install --no-cache-dir \\", f"      {words}"]
    paths = []
    for files in image.files:
        source = os.path.relpath(files.source, image.path.parent)
        if source.startswith(".."):
            raise Permanent(f"{files.source} is not below {image.path.parent}, so that no Dockerfile there can copy it")
        target = f"{files.target}/" if files.source.is_dir() else files.target
        lines.append(f"COPY {_words(source, target)}")
        if files.python_path:
            paths.append(files.target)
    env = dict(image.env)
    if paths:
        env["PYTHONPATH"] = ":".join([*paths, *filter(None, [env.get("PYTHONPATH")])])
    lines += [f"ENV {name}={_quoted(value)}" for name, value in env.items()]
    if image.ports:
        lines.append(f"EXPOSE {' '.join(image.ports)}")
    if image.working_dir:
        lines.append(f"WORKDIR {image.working_dir}")
    if image.command:
        lines.append(f"ENTRYPOINT {_json(image.command)}")
    if image.args:
        lines.append(f"CMD {_json(image.args)}")
    return "\n".join(lines) + "\n"


def _words(*words: str) -> str:
    return _json(words) if any(" " in word for word in words) else " ".join(words)


def _json(words: tuple[str, ...]) -> str:
    return "[" + ", ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words) + "]"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'
