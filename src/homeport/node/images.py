"""Images: from the name in a pod to what its container sees.

A name is looked up in the image files of several directories, the user's before the stock ones. The files are read anew
when they change, so a new image file counts from the next pod (or the next try of a waiting one) on.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from homeport.node import imagefile, interpreter, pipsettings
from homeport.node.build import Builder, BuildError, Recipe, recipe
from homeport.node.environment import ImageConfig
from homeport.node.host import Image, ImageError
from homeport.node.imagefile import ImageFile, ImageFileError, ImageFiles, Reference, parse_reference
from homeport.node.interpreter import Interpreter, NoInterpreter
from homeport.node.pipsettings import PipSettings
from homeport.node.runtime import ImageRoot, Mount
from homeport.node.uvtool import UvError

STOCK = Path(__file__).resolve().parent.parent / "images"
"""The image files that come with Homeport."""
_ENVIRONMENT = "/opt/venv"


def default_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """Where environments are kept, shared by all platforms of a user: below the XDG cache directory."""
    base = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache"
    return Path(base) / "homeport" / "images"


class KnownImage(msgspec.Struct, frozen=True):
    """One image of an image file, for people."""

    name: str
    patterns: tuple[str, ...]
    path: Path
    python: str
    """The version wanted; ``any`` for whatever the platform runs on, empty for an image without Python."""
    packages: tuple[str, ...]
    environment: Path | None
    """Where its environment is, if it has been built here."""


class _Parsed(msgspec.Struct, frozen=True):
    stamp: tuple[int, int, int]
    images: tuple[ImageFile, ...]
    error: ImageFileError | None


class ImageStore:
    """Finds and builds images.

    `directory` holds the user's image files (it need not exist), `directories` further ones; the stock files come last.
    `cache` is where environments are kept.
    """

    def __init__(
        self,
        directory: Path,
        *,
        directories: Sequence[Path] = (),
        cache: Path | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.directories = (Path(directory), *map(Path, directories), STOCK)
        self._environ = environ
        self._builder = Builder(cache or default_cache(environ), environ)
        self._files: dict[Path, _Parsed] = {}
        self._interpreters: dict[str, Interpreter] = {}
        self._contents: dict[Path, tuple[tuple[object, ...], str]] = {}
        self._builds: dict[str, _Build] = {}
        self._settings: tuple[object, PipSettings] | None = None

    @property
    def cache(self) -> Path:
        return self._builder.cache

    # Finding.

    def find(self, reference: str) -> ImageFile:
        """The image that a name means. Raises ImageError with what to do if there is none."""
        try:
            parsed = parse_reference(reference)
        except ValueError as error:
            raise ImageError(f"couldn't parse image name: {error}", "InvalidImageName") from error
        errors: list[ImageFileError] = []
        for directory in self.directories:
            images = list(self._read(directory, errors))
            ranked = [(p.rank, -n, i) for n, i in enumerate(images) for p in i.patterns if p.matches(parsed)]
            if ranked:
                return max(ranked, key=lambda entry: entry[:2])[2]
        raise ImageError(self._nothing(reference, parsed, errors))

    def known(self) -> list[KnownImage]:
        """Every image of every file, in the order in which they are looked at. Raises ImageFileError."""
        errors: list[ImageFileError] = []
        images = [image for directory in self.directories for image in self._read(directory, errors)]
        if errors:
            raise errors[0]
        return [self._describe(image) for image in images]

    def _describe(self, image: ImageFile) -> KnownImage:
        place: Path | None = None
        if image.python is not None:
            try:
                wanted = self._recipe(image)
            except NoInterpreter:
                wanted = None
            if wanted is not None and self._builder.is_built(wanted):
                place = self._builder.place(wanted)
        python = "" if image.python is None else image.python or "any"
        return KnownImage(image.name, tuple(p.text for p in image.patterns), image.path, python, image.packages, place)

    def _read(self, directory: Path, errors: list[ImageFileError]) -> Iterable[ImageFile]:
        try:
            with os.scandir(directory) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            entries = []
        except OSError as error:
            errors.append(ImageFileError(f"{directory}: {error.strerror}"))
            return
        names = {entry.name for entry in entries}
        for gone in [path for path in self._files if path.parent == directory and path.name not in names]:
            del self._files[gone]
        for entry in entries:
            if not entry.name.endswith((".yaml", ".yml")) or entry.name.startswith("."):
                continue
            path = Path(entry.path)
            try:
                found = entry.stat()
            except OSError as error:
                # A link that leads nowhere, or a file that goes away in this moment.
                errors.append(ImageFileError(f"{path}: {error.strerror}"))
                continue
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            known = self._files.get(path)
            if known is None or known.stamp != stamp or known.error is not None:
                try:
                    known = _Parsed(stamp, tuple(imagefile.read(path)), None)
                except ImageFileError as error:
                    known = _Parsed(stamp, (), error)
                self._files[path] = known
            if known.error is not None:
                errors.append(known.error)
            yield from known.images

    def _nothing(self, reference: str, parsed: Reference, errors: Sequence[ImageFileError]) -> str:
        if errors:
            # The file with the mistake may be the one that was meant.
            return f'nothing provides "{reference}", and an image file is wrong: {errors[0]}'
        names = [p.text for parsed_file in self._files.values() for i in parsed_file.images for p in i.patterns]
        plain = {name.split(":")[0].removeprefix("docker.io/").rstrip("*"): name for name in reversed(names)}
        short = parsed.repository.removeprefix("docker.io/").removeprefix("library/")
        close = difflib.get_close_matches(short, plain, n=3, cutoff=0.6)
        if not close:
            close = [name for name in plain if name and name.split("/")[-1] == short.split("/")[-1]][:3]
        hint = f"Did you mean {' or '.join(plain[name] for name in close)}? " if close else ""
        place = self.directories[0] / "NAME.yaml"
        return f'nothing provides "{reference}". {hint}An image file that names it goes to {place} (docs/images.md)'

    # Using.

    def ready(self, reference: str) -> Image | None:
        """The image if its containers can start at once, None if :meth:`pull` has to be called. Raises ImageError."""
        image = self.find(reference)
        if image.python is None:
            return self._image(image, None)
        if image.python and image.python not in self._interpreters and not self._is_own(image.python):
            return None  # finding another Python takes a moment
        try:
            wanted = self._recipe(image)
        except (NoInterpreter, UvError) as error:
            raise ImageError(str(error)) from error
        return self._image(image, wanted) if self._builder.is_built(wanted) else None

    async def pull(self, reference: str, progress: Callable[[str], None] = lambda text: None) -> Image:
        """The image, built first if need be. Several callers share one build. Raises ImageError."""
        image = self.find(reference)
        if image.python is None:
            return self._image(image, None)
        try:
            if not self._is_own(image.python):
                await asyncio.to_thread(self._find_interpreter, image.python)
            wanted = self._recipe(image)
            await self._build(wanted, progress)
        except (NoInterpreter, BuildError) as error:
            raise ImageError(str(error)) from error
        except UvError as error:
            raise ImageError(str(error)) from error
        return self._image(image, wanted)

    async def prepare(self, reference: str, progress: Callable[[str], None] = lambda text: None) -> Image:
        """Build an image ahead of its first pod."""
        return await self.pull(reference, progress)

    async def _build(self, wanted: Recipe, progress: Callable[[str], None]) -> None:
        if self._builder.is_built(wanted):
            return
        build = self._builds.get(wanted.key)
        if build is None:
            build = self._builds[wanted.key] = _Build()
            build.task = asyncio.get_running_loop().create_task(self._builder.build(wanted, build.tell))
            build.task.add_done_callback(lambda _: self._builds.pop(wanted.key, None))
        await build.join(progress)

    async def close(self) -> None:
        """Stop the builds under way; nothing half-done stays."""
        tasks = [build.task for build in self._builds.values() if build.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _recipe(self, image: ImageFile) -> Recipe:
        return recipe(image, self._find_interpreter(image.python or ""), self._pip_settings())

    def _pip_settings(self) -> PipSettings:
        stamp = pipsettings.stamp(self._environ)
        if self._settings is None or self._settings[0] != stamp:
            self._settings = (stamp, pipsettings.read(self._environ))
        return self._settings[1]

    def _is_own(self, version: str) -> bool:
        mine = interpreter.own().text
        return not version or mine == version or mine.startswith(f"{version}.")

    def _find_interpreter(self, version: str) -> Interpreter:
        known = self._interpreters.get(version)
        if known is None or not os.path.exists(known.executable):
            known = self._interpreters[version] = interpreter.find(version, self._environ)
        return known

    def _image(self, image: ImageFile, wanted: Recipe | None) -> Image:
        files = tuple(self._files_of(image))
        path = [f.target for f in image.files if f.python_path]
        env = dict(image.env)
        if path:
            env["PYTHONPATH"] = ":".join([*path, *filter(None, [env.get("PYTHONPATH")])])
        if wanted is not None:
            env.setdefault("VIRTUAL_ENV", _ENVIRONMENT)
        digest = hashlib.sha256(
            "\0".join([wanted.digest if wanted else image.name, *(f"{m.source}>{m.target}" for m in files)]).encode()
        ).hexdigest()
        root = ImageRoot(
            environment=str(self._builder.place(wanted) / "venv") if wanted else None,
            interpreter=wanted.interpreter.shown_at if wanted else None,
            files=files,
        )
        config = ImageConfig(env=env, command=image.command, args=image.args, working_dir=image.working_dir)
        return Image(f"{image.name}@sha256:{digest}", root, config)

    # Files.

    def _files_of(self, image: ImageFile) -> Iterable[Mount]:
        for files in image.files:
            yield Mount(str(self._copy(image, files)), files.target, read_only=True)

    def _copy(self, image: ImageFile, files: ImageFiles) -> Path:
        """A copy of the files as they are now: containers that run keep what they started with."""
        try:
            digest = self._digest(files.source)
            place = self.cache / f"{image.name}-files-{digest[:16]}"
            target = place / files.source.name
            if not place.exists():
                temporary = self.cache / f".{place.name}.{os.getpid()}"
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(mode=0o755, parents=True)
                if files.source.is_dir():
                    shutil.copytree(files.source, temporary / files.source.name, ignore=_ignored)
                else:
                    shutil.copy2(files.source, temporary / files.source.name)
                try:
                    temporary.rename(place)
                except OSError:
                    shutil.rmtree(temporary, ignore_errors=True)
                    if not place.exists():
                        raise
        except OSError as error:
            raise ImageError(f"{image.path}: {error.filename or files.source}: {error.strerror or error}") from error
        return target

    def _digest(self, source: Path) -> str:
        """Of the names and contents; read again only when a name, a size or a time has changed."""
        found = [source] if source.is_file() else sorted(p for p in source.rglob("*") if not _is_ignored(p, source))
        stamp = tuple((str(p), s.st_mtime_ns, s.st_size, s.st_mode) for p in found for s in (p.stat(),))
        known = self._contents.get(source)
        if known is not None and known[0] == stamp:
            return known[1]
        digest = hashlib.sha256()
        for path in found:
            digest.update(f"{path.relative_to(source.parent)}\0{path.stat().st_mode}\0".encode())
            if path.is_file():
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        self._contents[source] = (stamp, digest.hexdigest())
        return digest.hexdigest()


_ignored = shutil.ignore_patterns("__pycache__", ".git")


def _is_ignored(path: Path, base: Path) -> bool:
    return not {"__pycache__", ".git"}.isdisjoint(path.relative_to(base).parts)


class _Build:
    """One build under way and those who wait for it. It goes on when they all have left: somebody will want it."""

    def __init__(self) -> None:
        self.task: asyncio.Task[Path] | None = None
        self._listeners: set[Callable[[str], None]] = set()
        self._last = ""

    def tell(self, text: str) -> None:
        self._last = text
        for listener in list(self._listeners):
            listener(text)

    async def join(self, progress: Callable[[str], None]) -> None:
        assert self.task is not None
        self._listeners.add(progress)
        if self._last:
            progress(self._last)
        try:
            await asyncio.shield(self.task)
        finally:
            self._listeners.discard(progress)
