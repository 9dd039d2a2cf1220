"""Images: from the name in a pod to what its container sees.

A name is looked up in the image files of several directories, the user's before the stock ones. The files are read anew
when they change, so a new image file counts from the next pod (or the next try of a waiting one) on.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from homeport.node import imagefile, imagenames, interpreter, pipsettings
from homeport.node.build import Builder, BuildError, Recipe, recipe
from homeport.node.environment import ImageConfig
from homeport.node.host import Image, ImageError
from homeport.node.imagecopies import ImageCopies
from homeport.node.imagefile import STOCK, ImageFile, ImageFileError, Reference, parse_reference
from homeport.node.imagenames import ImageNames
from homeport.node.interpreter import Interpreter, NoInterpreter
from homeport.node.local.record import Record, image_config
from homeport.node.local.store import LocalStore
from homeport.node.pipsettings import PipSettings
from homeport.node.runtime import ImageRoot, Mount
from homeport.node.uvtool import UvError

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


class _Listing(msgspec.Struct, frozen=True):
    """What a directory of image files has come to, as long as `stamps` are those of its files."""

    stamps: tuple[tuple[str, int, int, int], ...]
    images: tuple[ImageFile, ...]
    chosen: dict[Reference, ImageFile | None] = msgspec.field(default_factory=dict)
    """What names were found to mean."""


_MOST_CHOSEN = 256


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
        self._listings: dict[Path, _Listing] = {}
        """The directories without mistakes, as they were last."""
        self._interpreters: dict[str, Interpreter] = {}
        self._copies = ImageCopies(self._builder.cache)
        self._names_path = Path(directory).parent / "images.yaml"
        self._names: tuple[object, ImageNames] = (None, ImageNames())
        self.local = LocalStore(self._builder.cache / "local")
        """Images that were built from Dockerfiles or loaded from archives."""
        self._builds: dict[str, _Build] = {}
        self._settings: tuple[object, PipSettings] | None = None

    @property
    def cache(self) -> Path:
        return self._builder.cache

    # Finding.

    def find(self, reference: str) -> ImageFile:
        """The image that a name means. Raises ImageError with what to do if there is none."""
        parsed = self.real(reference)
        errors: list[ImageFileError] = []
        for directory in self.directories:
            if (found := self._chosen(parsed, directory, errors)) is not None:
                return found
        raise ImageError(self._nothing(reference, parsed, errors))

    def _chosen(self, reference: Reference, directory: Path, errors: list[ImageFileError]) -> ImageFile | None:
        """The image of the directory's files that the name means most of all."""
        images = list(self._read(directory, errors))
        listing = self._listings.get(directory)
        chosen = listing.chosen if listing is not None else {}
        if reference not in chosen:
            ranked = [(p.rank, -n, i) for n, i in enumerate(images) for p in i.patterns if p.matches(reference)]
            if len(chosen) >= _MOST_CHOSEN:
                chosen.clear()
            chosen[reference] = max(ranked, key=lambda entry: entry[:2])[2] if ranked else None
        return chosen[reference]

    def real(self, reference: str) -> Reference:
        """What a name stands for by the settings file. Raises ImageError."""
        try:
            parsed = parse_reference(reference)
        except ValueError as error:
            raise ImageError(f"couldn't parse image name: {error}", "InvalidImageName") from error
        try:
            return self._aliases().real(parsed)
        except (ImageFileError, ValueError) as error:
            raise ImageError(str(error)) from error

    def _aliases(self) -> ImageNames:
        try:
            found = self._names_path.stat()
        except OSError:
            return imagenames.read(self._names_path)
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if self._names[0] != stamp:
            self._names = (stamp, imagenames.read(self._names_path))
        return self._names[1]

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
        stamps = _stamps(entries)
        before = self._listings.get(directory)
        if before is not None and before.stamps == stamps:
            yield from before.images
            return
        self._listings.pop(directory, None)
        mistakes = len(errors)
        images: list[ImageFile] = []
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
            images += known.images
        if stamps is not None and len(errors) == mistakes:
            self._listings[directory] = _Listing(stamps, tuple(images))
        yield from images

    def _nothing(self, reference: str, parsed: Reference, errors: Sequence[ImageFileError]) -> str:
        if errors:
            # The file with the mistake may be the one that was meant.
            return f'nothing provides "{reference}", and an image file is wrong: {errors[0]}'
        names = [p.text for parsed_file in self._files.values() for i in parsed_file.images for p in i.patterns]
        plain = {name.split(":")[0].removeprefix("docker.io/").rstrip("*"): name for name in reversed(names)}
        short = parsed.repository.removeprefix("docker.io/").removeprefix("library/")
        import difflib  # for a mistake of somebody's

        close = difflib.get_close_matches(short, plain, n=3, cutoff=0.6)
        if not close:
            close = [name for name in plain if name and name.split("/")[-1] == short.split("/")[-1]][:3]
        hint = f"Did you mean {' or '.join(plain[name] for name in close)}? " if close else ""
        place = self.directories[0] / "NAME.yaml"
        return f'nothing provides "{reference}". {hint}An image file that names it goes to {place} (docs/images.md)'

    def copies(self) -> list[str]:
        """Where the files are, or would be, that images show as they are now. Raises ImageError."""
        errors: list[ImageFileError] = []
        images = [image for directory in self.directories for image in self._read(directory, errors)]
        return [place for image in images for place in self._copies.places(image)]

    # Using.

    def ready(self, reference: str) -> Image | None:
        """The image if its containers can start at once, None if :meth:`pull` has to be called. Raises ImageError."""
        if (record := self.local.find(self.real(reference))) is not None:
            return self._of_layers(reference, record)
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
        if (record := self.local.find(self.real(reference))) is not None:
            return await self._pull_base(reference, record, progress)
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

    def _of_layers(self, reference: str, record: Record) -> Image | None:
        """None if the environment that it began with is not there."""
        base = record.base
        if base is not None and base.environment is not None and not os.path.isdir(base.environment):
            return None
        root = ImageRoot(
            environment=base.environment if base else None,
            interpreter=base.interpreter if base else None,
            files=tuple(Mount(source, target, read_only=True) for source, target in base.files) if base else (),
            layers=tuple(self.local.layers_of(record)),
            machine=base is not None,
        )
        repository = parse_reference(reference).repository
        return Image(f"{repository}@{record.digest or record.id}", root, image_config(record))

    async def _pull_base(self, reference: str, record: Record, progress: Callable[[str], None]) -> Image:
        image = self._of_layers(reference, record)
        if image is None and record.base is not None:
            await self.pull(record.base.reference, progress)
            image = self._of_layers(reference, record)
        if image is None:
            raise ImageError(
                f'the image that "{reference}" was built from has changed and its old environment is gone: '
                "build it again (homeport build)"
            )
        return image

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
        files = tuple(self._copies.mounts(image))
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
            warm=image.warm if wanted else (),
        )
        config = ImageConfig(env=env, command=image.command, args=image.args, working_dir=image.working_dir)
        return Image(f"{image.name}@sha256:{digest}", root, config)


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


def _stamps(entries: Iterable[os.DirEntry[str]]) -> tuple[tuple[str, int, int, int], ...] | None:
    """By which a change of any file is seen; None if one can't be looked at."""
    found = []
    for entry in entries:
        if entry.name.endswith((".yaml", ".yml")) and not entry.name.startswith("."):
            try:
                status = entry.stat()
            except OSError:
                return None
            found.append((entry.name, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)
