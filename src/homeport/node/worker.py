"""One pod on this node: gathers the news, asks the machine, carries out what it says."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from homeport.kube import core, meta
from homeport.kube.errors import Conflict, HomeportError, NotFound
from homeport.kube.meta import Object
from homeport.node import logs, notes, resizing, volumes
from homeport.node.endings import signal_step
from homeport.node.handlers.target import Target
from homeport.node.hooks import Hooks
from homeport.node.host import Host
from homeport.node.journal import Journal
from homeport.node.launcher import Launcher, gather
from homeport.node.machine import decide
from homeport.node.memory import Memory, Verdict, stepped, unsent
from homeport.node.mounting import Mounts
from homeport.node.pod import TERMINAL, Member, members
from homeport.node.podlogs import PodLogs
from homeport.node.podsandbox import PodSandbox
from homeport.node.podvolumes import PodVolumes
from homeport.node.prober import Prober
from homeport.node.pulls import Pulls
from homeport.node.reading import wait_for
from homeport.node.references import Ref, Sources, Unresolved
from homeport.node.resizer import Resizer
from homeport.node.retries import Retries
from homeport.node.runtime import ContainerState, NotYet, Sandbox, SandboxError
from homeport.node.saver import StatusSaver
from homeport.node.steps import Steps
from homeport.node.tale import Teller
from homeport.node.view import (
    CreateSandbox,
    DeletePod,
    DestroySandbox,
    Forget,
    Instruction,
    MountVolumes,
    Notice,
    PullImage,
    Resize,
    RunHook,
    Signal,
    StartContainer,
    View,
)

_log = logging.getLogger(__name__)


class Worker:
    """`changed` is called after each decision, `ended` once nothing is left of the pod."""

    def __init__(
        self,
        host: Host,
        pod: Object,
        sandbox: Sandbox | None,
        *,
        changed: Callable[[Worker], None],
        ended: Callable[[Worker], None],
    ) -> None:
        self.pod = pod
        self.uid = meta.uid(pod)
        self.status: Object = meta.status(pod)
        self.directory: Path = host.pods / self.uid
        self._host = host
        self._changed = changed
        self._ended = ended
        self._gone = False
        self._starting: set[str] = set()
        self._retries = Retries(host.now, lambda ref: wait_for(host.client, ref, self.pod), self.wake)
        self._steps = Steps(f"{meta.namespace(pod)}/{meta.name(pod)}", self.wake)
        self._sandbox = PodSandbox(sandbox, self._steps, self._retries, note=self._note, wake=self.wake)
        self._pulls = Pulls(
            host.images, self._retries, host.now, launch=self._steps.begin, note=self._note_image, wake=self.wake
        )
        self._verdict: Verdict | None = None
        self._deleting = False
        self._resizer = Resizer()
        self._mounts = Mounts(host, pod, self.directory, sources=self._sources, renew=lambda: self._volumes.renew())
        self._volumes = PodVolumes(self._mounts, self._steps, self._retries, pod=self._shown_pod, note=self._note)
        self._launcher = Launcher(host, self.directory, self._mounts, self._pulls, self._note)
        self._prober = Prober(pod, host.now, target=self._target, note=self._note, wake=self.wake)
        self._hooks = Hooks(pod, self._target, self.wake)
        self._saver = StatusSaver(host, pod, self.wake)
        self._news = asyncio.Event()
        self._news.set()
        self._timer: asyncio.TimerHandle | None = None
        self._logs = PodLogs(self.directory)
        self._journal = Journal(self.directory, pod)
        self._teller = Teller(self.directory)
        self.memory: Memory = self._journal.recalled(pod)

    # News.

    def wake(self) -> None:
        self._news.set()

    def clock_stepped(self, step: timedelta) -> None:
        """The machine's clock has been set."""
        self.memory = stepped(self.memory, step)
        self._retries.stepped(step)
        self._mounts.clock_stepped()
        self.wake()

    def update(self, pod: Object) -> None:
        before, self.pod = self.pod, pod
        if volumes.downward_part(pod) != volumes.downward_part(before):
            self._volumes.renew()
        self._saver.see(pod)
        self.wake()

    def fail(self, verdict: Verdict) -> None:
        """The node takes the pod no longer."""
        if self._verdict is None:
            self._verdict = verdict
            self.wake()

    @property
    def is_taken(self) -> bool:
        """The node has taken the pod, and has to keep what it asks for: it has not ended."""
        verdict = self.memory.verdict
        refused = verdict is not None and verdict.refuses
        return bool(self.memory.start_time) and not refused and self.status.get("phase") not in TERMINAL

    @property
    def is_gone(self) -> bool:
        """The object is no longer in the API, whatever is left of the pod here."""
        return self._gone

    @property
    def allocated(self) -> Object:
        """The pod with the resources that the node gives it, which it may have asked to change."""
        return resizing.allocated(self.pod, self.memory)

    def remove(self) -> None:
        """The object is no longer in the API."""
        self._gone = True
        self.wake()

    async def run(self) -> None:
        """Live the pod's life until nothing is left of it."""
        try:
            if self._sandbox.current is not None:
                self._sandbox.listen()
            elif not self.memory.start_time:
                self._enter()
            self._prober.attend(self.memory, deleting=meta.is_deleting(self.pod))
            while True:
                await self._news.wait()
                self._news.clear()
                try:
                    if self._step():
                        return
                except Exception:
                    # A mistake of ours must not leave a pod without anybody who looks after it.
                    _log.exception("pod %s: deciding failed; again in 10 s", self._steps.title)
                    self._wake_in(10.0)
        finally:
            self._stop()

    def _enter(self) -> None:
        """The pod is new here: have the node take it, with the devices that it is to have, or refuse it."""
        answer = self._host.admit(self.pod)
        if isinstance(answer, Verdict):
            self._verdict = answer
        elif answer:
            self.memory = replace(self.memory, devices=answer)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._prober.cancel()
        self._hooks.cancel()
        self._mounts.cancel()
        self._steps.cancel()
        self._pulls.cancel()
        self._retries.cancel()
        self._saver.cancel()
        self._logs.close()

    def _shown_pod(self) -> Object | None:
        """The pod that its volumes are to show; None once they need not any more."""
        return None if self._gone or self.status.get("phase") in TERMINAL else self.pod

    @property
    def address(self) -> str:
        return self._sandbox.address

    def containers(self) -> Mapping[str, ContainerState]:
        """The newest attempts of the containers that the sandbox has seen."""
        return self._sandbox.containers()

    def running(self) -> dict[str, ContainerState]:
        """The containers that run now."""
        return {name: state for name, state in self.containers().items() if state.phase == "running" and state.pid}

    def _states(self) -> dict[str, ContainerState]:
        return {name: self._logs.explained(self.pod, state) for name, state in self._sandbox.containers().items()}

    def _view(self) -> View:
        return View(
            pod=self.pod,
            now=self._host.now(),
            gone=self._gone,
            sandbox=self._sandbox.phase,
            address=self.address,
            states=self._states(),
            health=self._prober.health,
            hooks=self._hooks.results,
            starting=frozenset(self._starting),
            volumes=self._volumes.phase,
            images=self._pulls.views,
            problems=self._retries.problems,
            verdict=self._verdict,
            allocatable=self._host.allocatable,
            lacking=self._host.lacking(self.pod) if resizing.is_wanted(self.pod, self.memory) else "",
            resizing=self._resizer.is_busy,
            resized=self._resizer.given,
            deleting=self._deleting,
            status=self.status,
            saved=self._saver.is_saved(self.status),
            host_address=self._host.address,
        )

    def _step(self) -> bool:
        """One decision. True: nothing is left to do, ever."""
        decision = decide(self.memory, self._view())
        self.memory = decision.memory
        changed = decision.status != self.status
        if changed:
            self.status = decision.status
        self._journal.keep(self.memory)
        if self._gone or meta.is_deleting(self.pod) or self.status.get("phase") in TERMINAL:
            # Its object may go any time, and what it was is to be known then.
            self._teller.tell(self.pod, self.status)
        for notice in decision.notices:
            self._note(notice)
        forgotten = False
        for instruction in decision.instructions:
            forgotten = isinstance(instruction, Forget) or forgotten
            self._carry_out(instruction)
        if not self._gone:
            self._saver.save(self.status)
            if changed and self._saver.is_saved(self.status):
                # The API has it already, so that no write will tell: what waited for it can go on.
                self.wake()
        self._logs.tell_ends(self.memory)
        if self.status.get("phase") in TERMINAL:
            self._mounts.cancel()
        self._prober.attend(self.memory, deleting=self._gone or meta.is_deleting(self.pod))
        self._hooks.attend(self.memory)
        self._changed(self)
        if decision.wake_at is not None:
            self._wake_in((decision.wake_at - self._host.now()).total_seconds())
        return forgotten

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # A little late rather than a little early: early would mean to decide twice.
        self._timer = asyncio.get_running_loop().call_later(max(seconds, 0) + 0.001, self.wake)

    def _note(self, notice: Notice) -> None:
        path = notes.field_path(self.pod, notice.container)
        self._host.recorder.record(self.pod, notice.type, notice.reason, notice.message, field_path=path)

    def _note_image(self, image: str, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        user = next((m.name for m in members(self.pod) if m.image == image), "")
        self._note(Notice(type, reason, message, user))

    # Instructions.

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case PullImage(image, policy):
                self._pulls.begin(image, policy)
            case MountVolumes():
                self._volumes.mount(self.pod)
            case CreateSandbox():
                self._sandbox.create(self._create)
            case StartContainer(name, attempt):
                self._starting.add(name)
                self._steps.begin(self._start(name, attempt))
            case RunHook():
                self._hooks.begin(instruction)
            case Resize():
                self._resizer.is_busy = True
                self._steps.begin(self._resize(self.pod))
            case Signal(name, attempt, number):
                self._steps.begin(self._signal(name, attempt, number))
            case DestroySandbox(for_good):
                self._sandbox.destroy(self._free_memory if for_good else None)
            case DeletePod():
                self._deleting = True
                self._steps.begin(self._delete())
            case Forget():
                self._ended(self)

    # Sandbox and volumes.

    async def _create(self) -> Sandbox:
        self._saver.wait()
        async with self._host.create_slots:
            self._saver.go_on()
            return await self._launcher.create(self.allocated)

    @property
    def volume_places(self) -> volumes.VolumePlaces:
        """Where the pod's volumes lie."""
        return self._mounts.places

    async def _free_memory(self) -> None:
        await self._mounts.free_memory(self.pod)

    async def _sources(self, refs: set[Ref]) -> Sources:
        return await gather(self._host, self.pod, refs, self.address)

    # Containers.

    async def _start(self, name: str, attempt: int) -> None:
        member = next(m for m in members(self.allocated) if m.name == name)
        try:
            sandbox = self._sandbox.current
            if sandbox is None:
                raise SandboxError("the pod's sandbox has gone")
            devices = self.memory.devices.get(name, ())
            if devices and not self._journal.has_kept(self.memory):
                # Nobody else may get them when the platform starts again.
                raise SandboxError("which GPUs are the pod's can't be written down: the disk may be full")
            await self._launcher.start(self.allocated, sandbox, member, attempt, devices)
        except Unresolved as error:
            self._retries.fail(name, "CreateContainerConfigError", str(error), waits_for=error.waits_for)
            self._note(Notice("Warning", "Failed", f"Error: {error}", name))
        except Exception as error:
            text = self._steps.explain(error)
            reason = error.reason if isinstance(error, NotYet) else "CreateContainerError"
            self._retries.fail(name, reason, text)
            self._note(Notice("Warning", "Failed", f"Error: {text}", name))
        else:
            self._retries.succeed(name)
            self._retries.succeed(signal_step(name))  # what could not be sent was for the attempt before
        finally:
            self._starting.discard(name)

    async def _resize(self, pod: Object) -> None:
        try:
            most_pids = self._host.most_pids
            await self._resizer.resize(pod, self._sandbox.in_use(), self.running(), most_pids=most_pids)
        except Exception as error:
            self._retries.fail("/resize", "Error", self._steps.explain(error))
        else:
            self._retries.succeed("/resize")
        finally:
            self._resizer.is_busy = False

    def _target(self, member: Member) -> Target | None:
        """How probes and hooks reach a container."""
        sandbox = self._sandbox.current
        if sandbox is None or self._sandbox.phase != "up":
            return None
        return Target(member.name, member.spec, sandbox, self._host.runtime, sandbox.address)

    async def _signal(self, name: str, attempt: int, number: int) -> None:
        sandbox = self._sandbox.current
        if sandbox is None:
            return
        if number == signal.SIGTERM:
            number = self._pulls.stop_signal(next((m for m in members(self.pod) if m.name == name), None))
        try:
            await sandbox.signal(name, number)
        except Exception as error:
            text = self._steps.explain(error)
            self.memory = unsent(self.memory, name, attempt)
            self._retries.fail(signal_step(name), "", text)
            self._note(Notice("Warning", "FailedKillPod", f"error killing pod: {text}", name))
        else:
            self._retries.succeed(signal_step(name))

    # The end.

    async def _delete(self) -> None:
        try:
            await self._host.client.delete(
                core.POD.resource, meta.name(self.pod), meta.namespace(self.pod), grace_period=0, uid=self.uid
            )
        except (NotFound, Conflict):
            pass  # gone already, or its name belongs to another pod by now: the watch tells
        except HomeportError as error:
            self._deleting = False
            self._retries.fail("/delete", "", str(error))
            _log.warning("pod %s could not be deleted: %s", self._steps.title, error)

    async def clean_up(self) -> None:
        """Remove what the node keeps of the pod: state, volumes, logs."""
        # The directory last: as long as it is there, the next start of the platform knows that something is left.
        await self._mounts.clear_memory()
        await self._host.runtime.remove(str(self.directory))

    # Processes.

    def sandbox_in_use(self) -> Sandbox:
        """Raises InternalError if the pod has none, or no more."""
        return self._sandbox.in_use()

    def sandbox_of(self, container: str) -> Sandbox:
        """The sandbox that the container runs in. Raises InternalError, in the kubelet's words, if it does not run."""
        return self._sandbox.of(container)

    # Logs.

    def log_source(self, container: str, *, previous: bool) -> logs.LogSource:
        """Raises BadRequest with the kubelet's words if there is no log to read."""
        return self._logs.source(self.pod, self.status, self.memory, container, previous=previous)
