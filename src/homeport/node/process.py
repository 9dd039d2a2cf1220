"""Pods as processes of this machine: the platform's side of :mod:`homeport.node.sandbox`. Linux only.

Everything lasting is in processes of their own (fork server, network helper, one supervisor per pod); this side asks
them over unix sockets, and finds them again after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from homeport.node.forkserver import SETTLE_SECONDS, ForkServer
from homeport.node.messages import pod_message
from homeport.node.network import NodeNetwork
from homeport.node.runtime import Sandbox, SandboxError, SandboxSpec
from homeport.node.sandbox import linux, record, registry, spec
from homeport.node.supervised import Supervised, connect, dead
from homeport.node.supervising import Supervising
from homeport.node.warmth import Warmth

_LOG = logging.getLogger(__name__)


class ProcessRuntime(Supervising):
    """The node's runtime on Linux namespaces, as root or as an ordinary user.

    `directory` holds the helpers' sockets and records; one runtime per directory, and its pods live on when the
    platform ends. `hidden` are further directories that no container may see, such as the platform's data directory
    (containers see the machine's programs, /etc and /opt as any user may).
    """

    def __init__(
        self,
        directory: Path,
        *,
        pod_cidr: str = "10.42.0.0/16",
        service_cidr: str = "10.43.0.0/16",
        hidden: Sequence[Path] = (),
    ) -> None:
        self._directory = str(Path(directory).absolute())
        cidr = ipaddress.IPv4Network(pod_cidr)
        services = ipaddress.IPv4Network(service_cidr)
        self._server = ForkServer(self._directory, cidr, services, [str(Path(path).absolute()) for path in hidden])
        self._sandboxes: dict[str, Supervised] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._net = NodeNetwork(self._directory, cidr, services, self._start_netd)

    async def start(self) -> None:
        """Raises SandboxError, with the remedy, where the machine refuses."""
        if sys.platform != "linux":
            from homeport.node import doctor  # a machine that can run pods doesn't need it

            raise SandboxError(await asyncio.to_thread(doctor.explain, "pods can't run here", Path(self._directory)))
        try:
            await self._server.start()
            await self._net.start()
        except OSError as error:
            raise SandboxError(f"the node's helpers can't be reached: {error}") from error

    # Sandboxes.

    async def create(self, wanted: SandboxSpec) -> Sandbox:
        if (existing := self._known(wanted.uid)) is not None:
            return existing
        # The fork server hands the connection over to the new supervisor, which answers.
        connection, answer = await self._server.request({"op": "create", "pod": pod_message(wanted)})
        sandbox = Supervised(answer["state"], self._destroyed, self._settle, self._kindle)
        sandbox.talk_over(connection)
        self._sandboxes[wanted.uid] = sandbox
        return sandbox

    async def _adopt(self, entry: registry.Entry) -> Supervised:
        if linux.is_alive(entry.pid, entry.start_time):
            # One that ends in this moment leaves its state on disk like any other.
            with contextlib.suppress(OSError):
                connection, state = await connect(entry.directory)
                sandbox = Supervised(state, self._destroyed, self._settle, self._kindle)
                sandbox.talk_over(connection)
                return sandbox
        await self._settle(os.path.join(entry.directory, spec.STATE_FILE))
        return dead(entry, self._destroyed, self._settle, self._kindle)

    async def _settle(self, path: str) -> None:
        """Have the fork server write down how the containers of a killed supervisor ended."""
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._server.settle(path)
        except (TimeoutError, OSError, SandboxError) as error:
            _LOG.warning("how the containers of a killed supervisor ended can't be found out: %s", error)

    def _kindle(self, warmth: Warmth, message: dict[str, Any]) -> None:
        """Have a warm interpreter for the next container that is like this one."""
        task = asyncio.get_running_loop().create_task(self._ask_for_warmth(warmth, message), name="warm interpreter")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_for_warmth(self, warmth: Warmth, message: dict[str, Any]) -> None:
        wanted = {**message, "argv": list(warmth.argv), "env": dict(warmth.env), "log_path": "", "name": "warm"}
        options, modules = len(warmth.argv) - 1, list(warmth.modules)
        try:
            await self._server.ask(op="kindle", key=warmth.key, spec=wanted, options=options, modules=modules)
        except (OSError, SandboxError) as error:
            _LOG.warning("no interpreter can be kept warm: %s", error)

    async def _destroyed(self, sandbox: Supervised) -> None:
        """The rest of a sandbox whose supervisor has gone, in whatever way."""
        self._forget(sandbox)
        for path in _left_in(sandbox.directory):
            await self.remove(path)
        self._registry.delete(sandbox.uid)

    async def remove(self, path: str) -> None:
        if not Path(path).is_absolute():
            raise ValueError(f"{path} is no absolute path")
        await self._server.ask(op="remove", path=path)

    async def give(self, path: str, group: int, *, read_only: bool, only_if_root_differs: bool) -> None:
        await self._server.ask(
            op="give", path=path, group=group, read_only=read_only, only_if_root_differs=only_if_root_differs
        )

    async def give_file(self, path: str, user: int) -> None:
        await self._server.ask(op="give-file", path=path, user=user)

    async def copy(self, source: str, target: str) -> None:
        await self._server.ask(op="copy", source=source, target=target)

    async def measure(self, paths: Sequence[str]) -> list[int]:
        return list((await self._server.ask(op="measure", paths=list(paths)))["sizes"])

    # The network.

    async def _start_netd(self) -> None:
        await self._server.ask(op="helper")

    # The end.

    async def stop(self, *, end_pods: bool) -> None:
        await self._net.stop()
        if end_pods:
            await asyncio.gather(*self._tasks)
            await asyncio.gather(*(sandbox.destroy() for sandbox in await self.adopt()))
            await asyncio.gather(*self._tasks)
            await self._server.release()
            await self._server.stop()
            return
        self._let_go()
        await asyncio.gather(*self._tasks)
        await self._server.release()

    async def shut_down(self, grace: float) -> None:
        """End every pod, within `grace` seconds if it listens to SIGTERM, and the helpers. How the containers ended
        stays on disk: the next ``adopt`` tells it."""
        await self.adopt()
        await asyncio.gather(*(sandbox.leave(grace) for sandbox in self._sandboxes.values()))
        # Of supervisors that were killed; how the containers ended stays.
        for sandbox in self._sandboxes.values():
            for path in _left_in(sandbox.directory):
                if os.path.basename(path) != spec.STATE_FILE:
                    await self.remove(path)
        await self.stop(end_pods=False)
        await self._server.stop()


def _left_in(directory: str) -> list[str]:
    """What a supervisor deletes when it destroys its sandbox, as far as it is there."""
    names = ("layers", spec.SOCKET_FILE, spec.STATE_FILE, f"{spec.STATE_FILE}{record.SUFFIX}")
    return [path for name in names if os.path.lexists(path := os.path.join(directory, name))]
