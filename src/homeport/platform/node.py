"""The node that runs pods, and how the API server reaches it."""

from __future__ import annotations

import platform as machine
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from homeport import examples
from homeport.apiserver.node import LogOptions, Session, Wanted
from homeport.datadir import HOST
from homeport.kube.errors import ServiceUnavailable
from homeport.kube.meta import Object
from homeport.node import choice, runtime
from homeport.node.host import ImageSource
from homeport.node.sandbox import linux
from homeport.settings import NodeSettings

if TYPE_CHECKING:
    from homeport.node.agent import Agent
    from homeport.node.security import Policy
    from homeport.platform import Platform


class NodeLink:
    """What the API server asks of the node. That is a later part, so the agent comes when it is there."""

    def __init__(self) -> None:
        self.agent: Agent | None = None

    def _ready(self) -> Agent:
        if self.agent is None:
            raise ServiceUnavailable("the node is not ready yet: try again in a moment", retry_after=1)
        return self.agent

    async def logs(self, pod: Object, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        return await self._ready().logs(pod, container, options)

    async def ended(self, namespace: str) -> list[Object]:
        return await self._ready().ended(namespace)

    async def ended_logs(self, pod: tuple[str, str, str], container: str, options: LogOptions) -> AsyncIterator[bytes]:
        return await self._ready().ended_logs(pod, container, options)

    async def event_files(self, pod: Object, container: str, directory: str, after: str) -> Object:
        return await self._ready().event_files(pod, container, directory, after)

    async def summary(self) -> Object:
        return await self._ready().summary()

    async def dial(self, address: str, port: int) -> socket.socket:
        return await self._ready().dial(address, port)

    async def connect(self, pod: Object, port: int) -> socket.socket:
        return await self._ready().connect(pod, port)

    def check_running(self, pod: Object, container: str) -> None:
        self._ready().check_running(pod, container)

    async def execute(self, pod: Object, container: str, command: Sequence[str], wanted: Wanted) -> Session:
        return await self._ready().execute(pod, container, command, _streams(wanted))

    async def attach(self, pod: Object, container: str, wanted: Wanted) -> Session:
        return await self._ready().attach(pod, container, _streams(wanted))


def policy_of(chosen: NodeSettings, kind: str) -> Policy:
    """`kind` is the runtime's."""
    from homeport.node.security import Policy  # as above

    return Policy(
        allow_privileged=chosen.allow_privileged,
        unsafe_sysctls=chosen.unsafe_sysctls,
        seccomp_default=chosen.seccomp_default,
        # An engine's containers are root's whoever asks for them, and plain processes have no namespaces.
        user_namespace=kind == choice.PROCESSES and not linux.is_machines_root(),
        namespaces=kind == choice.PROCESSES,
    )


def _streams(wanted: Wanted) -> runtime.Wanted:
    return runtime.Wanted(wanted.stdin, wanted.stdout, wanted.stderr, wanted.tty)


@asynccontextmanager
async def _images(platform: Platform) -> AsyncIterator[ImageSource]:
    """Where the images of a platform's pods come from."""
    if platform.choice.runtime == choice.DOCKER:
        from homeport.node.engine.images import EngineImages
        from homeport.node.engine.runtime import EngineRuntime

        assert isinstance(platform.runtime, EngineRuntime)
        source = EngineImages(platform.runtime.engine)
        async with platform.background("engine images", source.watch()):
            try:
                yield source
            finally:
                await source.close()
        return
    from homeport.node.images import ImageStore

    store = ImageStore(platform.directory.images, directories=examples.images())
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def node(platform: Platform) -> AsyncIterator[str]:
    from homeport.node import sparing
    from homeport.node.agent import Agent  # as above
    from homeport.node.pressure import DEFAULT_THRESHOLDS

    directory, settings = platform.directory, platform.settings.node
    sparing.spare_this()
    async with _images(platform) as images:
        name = machine.node().lower()
        agent = Agent(
            platform.client,
            platform.runtime,
            images,
            node_name=name,
            data_dir=directory.node,
            volumes_dir=directory.volumes,
            informers=platform.informers,
            runtime_starts=platform.runtime_starts,
            own_api=(HOST, platform.port_served),
            serve_api=platform.serve,
            thresholds={**DEFAULT_THRESHOLDS, **settings.thresholds},
            most_pids=settings.most_pids,
            log_bytes=settings.log_bytes,
            log_files=settings.log_files,
            api_address=platform.settings.services.api_address,
            policy=policy_of(settings, platform.choice.runtime),
        )
        async with platform.background("node", agent.run()):
            await platform.wait_for(agent.ready)
            platform.node.agent = agent
            yield f"NOT READY: {agent.problem}" if agent.problem else f"{name}, pods are {platform.choice.line}"
