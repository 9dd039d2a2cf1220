"""Building an image's environment: content-addressed, once, whole or not at all.

An environment lies under ``<cache>/<name>-<digest>`` and is never changed once it is there. It is made beside that
place and renamed. A lock (``flock``) per environment lets one process at a time build it; uv inherits the lock, so
that a killed platform's uv can't get in the way of its successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from homeport.node import uvtool
from homeport.node.imagefile import ImageFile
from homeport.node.interpreter import Interpreter
from homeport.node.pipsettings import PipSettings
from homeport.node.sandbox import linux
from homeport.node.uvtool import Progress, UvError

_FORMAT = 1
"""Part of every digest: environments of another format are not used."""
MANIFEST = "image.json"
"""In an environment's directory: what it was made of. It is written last."""
_TORCH = re.compile(r"^(torch|torchvision|torchaudio)\b(?!-)", re.IGNORECASE)
_HIDDEN = frozenset(
    {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON"}
)
_UNREACHABLE = re.compile(r"failed to fetch|error sending request|dns error|connection refused", re.IGNORECASE)
"""What uv says of an index that does not answer."""


class BuildError(UvError):
    """An environment could not be built; the text says why and where the whole log is."""


class Recipe(msgspec.Struct, frozen=True):
    """Everything that the content of an environment depends on."""

    name: str
    interpreter: Interpreter
    packages: tuple[str, ...]
    torch_backend: str
    """What uv is told; empty: nothing."""
    settings: PipSettings

    @property
    def digest(self) -> str:
        """64 hex digits."""
        settings = self.settings
        content = {
            "format": _FORMAT,
            "python": [self.interpreter.executable, self.interpreter.text],
            "packages": sorted(self.packages),
            "torch": self.torch_backend,
            "index": [settings.index_url, settings.extra_index_urls, settings.find_links, settings.no_index],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def key(self) -> str:
        return f"{self.name}-{self.digest[:16]}"


def recipe(image: ImageFile, interpreter: Interpreter, settings: PipSettings) -> Recipe:
    """How to build the environment of an image that has one. Pure."""
    packages = image.packages
    names = {re.split(r"[^A-Za-z0-9._-]", package, maxsplit=1)[0].lower() for package in packages}
    if "pip" not in names:
        packages = (*packages, "pip")  # uv's environments have none, and people expect it
    return Recipe(image.name, interpreter, packages, torch_backend(image, interpreter, settings), settings)


def torch_backend(image: ImageFile, interpreter: Interpreter, settings: PipSettings) -> str:
    """What to ask uv for: nothing where a local wheel of torch is offered, for that is what the machine should use."""
    if image.torch_backend in ("", "none") or not any(_TORCH.match(package) for package in image.packages):
        return ""
    return "" if _offers_torch(settings, interpreter) else image.torch_backend


def _offers_torch(settings: PipSettings, interpreter: Interpreter) -> bool:
    tag = f"cp{interpreter.version[0]}{interpreter.version[1]}"
    wheels = (name.removesuffix(".whl").split("-") for name in settings.local_wheels() if name.startswith("torch-"))
    return any(len(parts) >= 5 and (tag in parts[-3].split(".") or "py3" in parts[-3].split(".")) for parts in wheels)


class Builder:
    """Builds environments into `cache`. `parallel` builds at a time: each keeps a core or two and the network busy."""

    def __init__(self, cache: Path, environ: Mapping[str, str], *, parallel: int = 2) -> None:
        self.cache = cache
        self._environ = environ
        self._slots = asyncio.Semaphore(parallel)

    def place(self, recipe: Recipe) -> Path:
        """Where the environment is, or will be."""
        return self.cache / recipe.key

    def is_built(self, recipe: Recipe) -> bool:
        return (self.place(recipe) / MANIFEST).exists()

    def log_path(self, recipe: Recipe) -> Path:
        return self.cache / "logs" / f"{recipe.key}.log"

    async def build(self, recipe: Recipe, progress: Callable[[str], None]) -> Path:
        """The environment's place, built now if it is not there. Raises BuildError."""
        place = self.place(recipe)
        try:
            (self.cache / "logs").mkdir(mode=0o755, parents=True, exist_ok=True)
            async with self._locked(recipe, progress) as lock:
                if not self.is_built(recipe):
                    async with self._slots:
                        await self._build(recipe, place, lock, progress)
        except OSError as error:
            raise BuildError(f"{error.filename or self.cache}: {error.strerror or error}") from error
        return place

    @asynccontextmanager
    async def _locked(self, recipe: Recipe, progress: Callable[[str], None]) -> AsyncIterator[int]:
        descriptor = os.open(self.cache / f".{recipe.key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress("waiting for another process that builds the same image")
                await _wait_for_lock(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    async def _build(self, recipe: Recipe, place: Path, lock: int, progress: Callable[[str], None]) -> None:
        temporary = self.cache / f".{recipe.key}.part"
        # What a killed build has left is nobody's: we hold the lock.
        await asyncio.to_thread(_remove, temporary)
        await asyncio.to_thread(_remove, place)
        temporary.mkdir(mode=0o755)
        try:
            with self._log(recipe) as log:
                await self._install(recipe, temporary, lock, log, progress)
            await asyncio.to_thread(_complete, temporary, place, recipe)
        except BuildError:
            raise
        except UvError as error:
            raise BuildError(f"{error} (the whole log: {self.log_path(recipe)})") from error
        finally:
            await asyncio.shield(asyncio.to_thread(_remove, temporary))

    async def _install(
        self, recipe: Recipe, directory: Path, lock: int, log: BinaryIO, progress: Callable[[str], None]
    ) -> None:
        settings = recipe.settings
        environ = {**_without_environment(self._environ), **settings.uv_environment(self._environ)}
        place = directory / "venv"
        make = ["venv", "--relocatable", "--no-project", "--python", recipe.interpreter.executable, str(place)]
        await uvtool.run(make, environ=environ, cwd=directory, log=log, inherit=(lock,))

        async def install(backend: str) -> None:
            follow = Progress()

            def heard(line: str) -> None:
                if text := follow.line(line):
                    progress(text)

            progress(f"resolving {len(recipe.packages)} packages")
            command = ["pip", "install", "--python", str(place / "bin" / "python"), "--link-mode", "hardlink"]
            command += ["--compile-bytecode", *settings.uv_arguments()]
            if (bundled := recipe.interpreter.bundled_wheels) is not None:
                command += ["--find-links", str(bundled)]
            command += ["--torch-backend", backend] if backend else []
            command += ["--", *recipe.packages]
            await uvtool.run(command, environ=environ, cwd=directory, log=log, inherit=(lock,), heard=heard)

        try:
            await install(recipe.torch_backend)
        except UvError as error:
            if not recipe.torch_backend or not _UNREACHABLE.search(str(error)):
                raise
            # PyTorch's own index can't be reached; the machine's usual one may have a build that is larger but works.
            progress("PyTorch's package index can't be reached, using the usual one")
            await install("")

    @contextmanager
    def _log(self, recipe: Recipe) -> Iterator[BinaryIO]:
        with open(self.log_path(recipe), "wb") as log:
            yield log


def _without_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The platform's own virtual environment must not be mistaken for the one that is being made."""
    return {key: value for key, value in environ.items() if key not in _HIDDEN}


async def _wait_for_lock(descriptor: int) -> None:
    """Wait for an flock in a process of its own: a lock belongs to the open file, and a process can be ended."""
    script = "import fcntl, sys; fcntl.flock(int(sys.argv[1]), fcntl.LOCK_EX)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", script, str(descriptor), pass_fds=(descriptor,)
    )
    try:
        if await process.wait() != 0:
            raise OSError(errno.ENOLCK, "the lock of the image could not be had")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def _complete(temporary: Path, place: Path, recipe: Recipe) -> None:
    """What is in its place is whole, also after the machine has lost its power: it comes there when all of it is on the
    disk. Raises OSError."""
    _write_manifest(temporary, recipe)
    linux.sync_file_system(str(temporary))
    temporary.rename(place)


def _write_manifest(directory: Path, recipe: Recipe) -> None:
    manifest: dict[str, Any] = {
        "name": recipe.name,
        "digest": recipe.digest,
        "python": recipe.interpreter.text,
        "interpreter": recipe.interpreter.executable,
        "packages": sorted(recipe.packages),
        "installed": dict(installed(directory / "venv")),
        "bytes": sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(directory) for name in names),
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def installed(environment: Path) -> Iterator[tuple[str, str]]:
    """Name and version of each distribution in an environment."""
    for entry in sorted(environment.glob("lib/python*/site-packages/*.dist-info")):
        name, _, version = entry.name.removesuffix(".dist-info").partition("-")
        yield name, version
