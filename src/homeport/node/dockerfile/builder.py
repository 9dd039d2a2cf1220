"""Carrying out a Dockerfile: stages on demand, steps from the cache where nothing has changed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from homeport.kube.errors import HomeportError
from homeport.node.dockerfile import copies, mounts
from homeport.node.dockerfile.bases import Bases, Found
from homeport.node.dockerfile.instructions import Dockerfile, Instruction, Stage, instruction, parse
from homeport.node.dockerfile.kitchen import Kitchen, close_down
from homeport.node.dockerfile.lexing import DockerfileError, lex
from homeport.node.dockerfile.reading import BuildFailed, command, global_arguments, ignored
from homeport.node.dockerfile.settings import KEYWORDS, Context, apply, replaced
from homeport.node.dockerfile.state import State
from homeport.node.dockerfile.words import WordError, expand
from homeport.node.imagefile import parse_reference
from homeport.node.images import ImageStore
from homeport.node.local.load import resolve_user
from homeport.node.local.record import Record, architecture, identify
from homeport.node.local.store import KITCHEN, LocalStore
from homeport.node.local.users import User
from homeport.node.local.work import LayerError, LayerWork
from homeport.node.runtime import ImageRoot, Mount, SandboxError

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_PREDEFINED = frozenset({*_PROXIES, *(name.lower() for name in _PROXIES)})
_LAYERED = frozenset({"RUN", "COPY", "ADD", "WORKDIR"})


class Request(msgspec.Struct, frozen=True):
    context: Path
    dockerfile: Path
    names: tuple[str, ...] = ()
    arguments: Mapping[str, str] = msgspec.field(default_factory=dict)
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    secrets: Mapping[str, Path] = msgspec.field(default_factory=dict)
    target: str = ""
    use_cache: bool = True


class Listener(Protocol):
    def begin(self, title: str) -> None:
        """A step begins: ``[2/5] RUN make``."""

    def output(self, line: str) -> None:
        """What it writes."""

    def end(self, seconds: float, *, cached: bool) -> None:
        """It is done."""


async def build(images: ImageStore, request: Request, listener: Listener) -> Record:
    """Build an image and have its names mean it. Raises DockerfileError, BuildFailed, LayerError or OSError."""
    names = [parse_reference(name) for name in request.names]
    try:
        text = request.dockerfile.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BuildFailed(f"{request.dockerfile}: {(reason or str(error)).lower()}") from error
    dockerfile = parse(text)
    if not request.context.is_dir():
        raise BuildFailed(f"{request.context}: no directory")
    store = images.local
    async with store.working(close_down) as (work, place):
        kitchen = Kitchen(place / KITCHEN, [store.directory])
        (place / KITCHEN).mkdir(mode=0o700)
        try:
            state, user = await Build(images, request, listener, dockerfile, work, place, kitchen).run()
        finally:
            await kitchen.close()
        config = state.config(request.labels)
        record = Record(
            id=identify(config, state.base),
            config=config,
            layers=state.layers,
            created=state.created,
            user=user,
            base=state.base,
        )
        store.keep(record)
        store.tag({f"{name.repository}:{name.tag}": record.id for name in names})
    return record


class Build:
    """One build under way."""

    def __init__(
        self,
        images: ImageStore,
        request: Request,
        listener: Listener,
        dockerfile: Dockerfile,
        work: LayerWork,
        place: Path,
        kitchen: Kitchen,
    ) -> None:
        self._store: LocalStore = images.local
        self._bases = Bases(images)
        self._request = request
        self._listener = listener
        self._dockerfile = dockerfile
        self._work = work
        self._place = place
        self._kitchen = kitchen
        self._stages: dict[int, State] = {}
        self._under_way: list[int] = []
        self._ignored = ignored(request.context, request.dockerfile)
        self._users: dict[tuple[Any, ...], User] = {}
        self._context_path = os.path.realpath(request.context)
        self._count = 0
        self._globals = global_arguments(dockerfile, request.arguments)

    async def run(self) -> tuple[State, User]:
        target = self._dockerfile.stages[-1]
        if wanted := self._request.target:
            found = self._dockerfile.stage(wanted, len(self._dockerfile.stages))
            if found is None:
                raise BuildFailed(f'target stage "{wanted}" could not be found')
            target = found
        state = await self._stage(target)
        return state, await self._user(state, state.user, target.line)

    # Variables.

    @property
    def _context(self) -> Context:
        return Context(self._dockerfile.escape, self._request.arguments, self._globals)

    # Stages.

    async def _stage(self, stage: Stage) -> State:
        if stage.index in self._stages:
            return self._stages[stage.index]
        if stage.index in self._under_way:
            raise DockerfileError("circular dependency detected on stage", stage.line)
        self._under_way.append(stage.index)
        state = await self._from(stage)
        label = stage.name or f"stage {stage.index}"
        count = sum(one.keyword in _LAYERED for one in stage.instructions)
        number = 0
        triggers = [self._trigger(text, stage) for text in state.settings.get("OnBuild") or ()]
        state = state.with_setting("OnBuild", None)
        for one in (*triggers, *stage.instructions):
            number += one.keyword in _LAYERED
            title = f"[{label} {number}/{count + len(triggers)}] {one.text}"
            state = await self._step(state, one, title)
        self._stages[stage.index] = state
        self._under_way.remove(stage.index)
        return state

    def _trigger(self, text: str, stage: Stage) -> Instruction:
        (line,) = lex(text).lines
        return msgspec.structs.replace(instruction(line), line=stage.line)

    async def _from(self, stage: Stage) -> State:
        name = self._expanded(stage.base, stage.line)
        platform = self._expanded(stage.platform, stage.line)
        if platform and platform.split("/")[:2] != ["linux", architecture()]:
            raise DockerfileError(f"FROM --platform={platform}: this machine is linux/{architecture()}", stage.line)
        earlier = self._dockerfile.stage(name, stage.index) if not name.isdecimal() else None
        if earlier is not None:
            state = await self._stage(earlier)
            return msgspec.structs.replace(state, arguments={}, has_command=False)
        if name == "scratch":
            return State()
        found = await self._image(name, f"FROM {name}", stage.line)
        return found.state

    def _expanded(self, text: str, line: int) -> str:
        try:
            return expand(text, self._globals, self._dockerfile.escape)
        except WordError as error:
            raise DockerfileError(f"FROM: {error}", line) from error

    async def _image(self, name: str, title: str, line: int) -> Found:
        begin = time.monotonic()
        self._listener.begin(title)
        try:
            found = await self._bases.find(name, self._listener.output)
        except HomeportError as error:
            raise BuildFailed(f"line {line}: {title}: {error}") from error
        self._listener.end(time.monotonic() - begin, cached=found.was_there)
        return found

    # Steps.

    async def _step(self, state: State, one: Instruction, title: str) -> State:
        if one.keyword in KEYWORDS:
            return apply(state, one, self._context)
        begin = time.monotonic()
        self._listener.begin(title)
        try:
            match one.keyword:
                case "RUN":
                    after, cached = await self._run(state, one)
                case "WORKDIR":
                    after, cached = await self._workdir(state, one)
                case _:
                    after, cached = await self._copy(state, one)
        except (LayerError, SandboxError, WordError, ValueError) as error:
            raise BuildFailed(f"line {one.line}: {one.text}: {error}") from error
        self._listener.end(time.monotonic() - begin, cached=cached)
        return after

    async def _layer(self, state: State, one: Instruction, key: str, op: str, **fields: Any) -> tuple[State, bool]:
        """The state after a step that makes one layer: the known one, or a new one by a request."""
        if (known := self._known(key)) is not None:
            return state.did(one.text, known["diff_id"], known["created"]), True
        directory = self._new("layer")
        below = self._store.stack(state.layers, state.base)
        made = await self._work.request(op, directory=str(directory), below=below, **fields)
        return self._keep(state, one, key, directory, made), False

    def _known(self, key: str) -> dict[str, Any] | None:
        return self._store.step(key) if self._request.use_cache else None

    def _keep(self, state: State, one: Instruction, key: str, directory: Path, made: Mapping[str, Any]) -> State:
        diff_id, created = made["diff_id"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if diff_id:
            self._store.keep_layer(directory, diff_id, made["bytes"])
        self._store.keep_step(key, diff_id, created)
        return state.did(one.text, diff_id, created)

    def _new(self, kind: str) -> Path:
        self._count += 1
        return self._place / f"{kind}{self._count}"

    async def _workdir(self, state: State, one: Instruction) -> tuple[State, bool]:
        path = state.absolute(replaced(one.rest, state, self._context)).rstrip("/") or "/"
        user = await self._user(state, state.user, one.line)
        key = state.key("WORKDIR", path, user.uid, user.gid)
        after, cached = await self._layer(state, one, key, "directory", path=path, owner=[user.uid, user.gid])
        return after.with_setting("WorkingDir", path), cached

    async def _copy(self, state: State, one: Instruction) -> tuple[State, bool]:
        copy = copies.asked(one, state, self._context)
        stack, left_out = await self._source(copy.stage, one.line)
        extra, sources = self._new("files"), []
        extra.mkdir()
        for name, content in copy.texts:
            (extra / name).write_text(content, encoding="utf-8")
        for source in copy.sources:
            is_address = one.keyword == "ADD" and copies.is_address(source)
            sources.append(await copies.fetch(source, extra, copy.checksum, one.line) if is_address else source)
        if os.listdir(extra):
            stack = {**stack, "layers": [str(extra), *stack["layers"]]}
        chosen: dict[str, Any] = {"stack": stack, "ignore": left_out, "sources": sources}
        found = await self._work.request("digest", **chosen)
        owner = await self._owner(state, copy.owner, one.line)
        unpacks = one.keyword == "ADD" and not any(copies.is_address(source) for source in copy.sources)
        key = state.key("COPY", found["digest"], copy.target, owner, copy.mode, unpacks)
        return await self._layer(
            state, one, key, "copy", **chosen, target=copy.target, owner=owner, mode=copy.mode, unpacks=unpacks
        )

    async def _source(self, stage: str, line: int) -> tuple[dict[str, Any], Sequence[str]]:
        """Where files are copied from: the context, an earlier stage, or another image."""
        if not stage:
            return {"layers": [self._context_path]}, self._ignored
        current = self._under_way[-1]
        earlier = self._dockerfile.stage(stage, current)
        state = (
            await self._stage(earlier)
            if earlier is not None
            else (await self._image(stage, f"FROM {stage}", line)).state
        )
        return self._store.stack(state.layers, state.base), ()

    async def _owner(self, state: State, text: str, line: int) -> list[int]:
        if not text:
            return [0, 0]
        name, colon, _ = text.partition(":")
        user = await self._user(state, text, line)
        # Without a group, that of the same number (Docker's reference, COPY --chown).
        return [user.uid, user.uid if name.isdecimal() and not colon else user.gid]

    async def _user(self, state: State, text: str, line: int) -> User:
        key = (text, state.layers, None if state.base is None else state.base.reference)
        if key not in self._users:
            try:
                self._users[key] = await resolve_user(self._work, self._store.stack(state.layers, state.base), text)
            except LayerError as error:
                raise BuildFailed(f"line {line}: {error}") from error
        return self._users[key]

    async def _run(self, state: State, one: Instruction) -> tuple[State, bool]:
        if (network := one.flag("network")) not in (None, "default"):
            raise ValueError(f"--network={network} is not supported")
        argv = command(one, state)
        user = await self._user(state, state.user, one.line)
        given = {name: value for name, value in self._request.arguments.items() if name in _PREDEFINED}
        env = {"HOME": user.home, "HOSTNAME": "build", **state.arguments, **state.env}
        env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        wanted = [mounts.parse(replaced(text, state, self._context)) for text in one.all("mount")]
        inputs = [await self._digest_of(mount, one.line) for mount in wanted]
        key = state.key("RUN", argv, env, state.directory, user.uid, user.gid, user.groups, inputs)
        if (known := self._known(key)) is not None:
            return state.did(one.text, known["diff_id"], known["created"]), True
        shown = [shown for mount in wanted if (shown := await self._shown(state, mount, one.line)) is not None]
        ran = await self._kitchen.run(
            argv,
            env={**given, **env},
            cwd=state.directory,
            image=self._root(state),
            user=user,
            mounts=shown,
            output=self._listener.output,
        )
        if ran.exit_code != 0:
            raise ValueError(ran.message or f"the command ended with exit code {ran.exit_code}")
        directory = self._new("layer")
        made = await self._work.request(
            "commit",
            directory=str(directory),
            below=self._store.stack(state.layers, state.base),
            uppers=dict(ran.uppers),
            mounted=self._mounted(state, shown),
        )
        return self._keep(state, one, key, directory, made), False

    def _root(self, state: State) -> ImageRoot:
        base = state.base
        layers = tuple(str(self._store.layer(diff_id)) for diff_id in reversed(state.layers))
        if base is None:
            return ImageRoot(layers=layers, machine=False)
        files = tuple(Mount(source, target, read_only=True) for source, target in base.files)
        return ImageRoot(base.environment, base.interpreter, files, layers)

    @staticmethod
    def _mounted(state: State, shown: Sequence[Mount]) -> list[str]:
        paths = [mount.target for mount in shown]
        if state.base is not None:
            paths += [target for _, target in state.base.files]
            paths += [state.base.interpreter] if state.base.interpreter else []
        return paths

    async def _digest_of(self, mount: mounts.StepMount, line: int) -> Any:
        """What of a mount counts for the cache: what it is, and what files it brings."""
        about = json.loads(msgspec.json.encode(mount))
        if mount.kind != "bind":
            return about
        stack, left_out = await self._source(mount.stage, line)
        found = await self._work.request("digest", stack=stack, ignore=left_out, sources=[mount.source or "."])
        return [about, found["digest"]]

    async def _shown(self, state: State, mount: mounts.StepMount, line: int) -> Mount | None:
        target = state.absolute(mount.target).rstrip("/")
        if mount.kind == "cache":
            return Mount(str(self._store.cache_mount(mount.id)), target, mount.read_only)
        if mount.kind == "secret":
            path = self._request.secrets.get(mount.id)
            if path is None and mount.required:
                raise ValueError(f"secret {mount.id}: not found (--secret id={mount.id},src=FILE)")
            return None if path is None else Mount(str(path), target, read_only=True)
        place = self._new("mount")
        if mount.kind == "tmpfs":
            place.mkdir()
            return Mount(str(place), target)
        stack, left_out = await self._source(mount.stage, line)
        source = mount.source or "."
        await self._work.request(
            "copy", directory=str(place), below={"layers": []}, stack=stack, ignore=left_out, sources=[source],
            target="/content/", owner=[0, 0], mode=None, unpacks=False,
        )  # fmt: skip
        content = place / "content"
        single = content / Path(source).name
        is_file = source not in (".", "/") and single.is_file() and len(os.listdir(content)) == 1
        return Mount(str(single if is_file else content), target, mount.read_only)
