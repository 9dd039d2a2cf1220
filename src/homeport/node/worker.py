"""One pod on this node: gathers the news, asks the machine, carries out what it says."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from homeport.kube import core, meta
from homeport.kube.errors import Conflict, HomeportError, InternalError, NotFound
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
from homeport.node.mounting import RENEWAL_RETRY, Mounts
from homeport.node.pod import TERMINAL, Member, members, signal_number
from homeport.node.podlogs import PodLogs
from homeport.node.prober import Prober
from homeport.node.pulls import Pulls
from homeport.node.reading import wait_for
from homeport.node.references import Ref, Sources, Unresolved
from homeport.node.resizer import Resizer
from homeport.node.retries import Retries
from homeport.node.runtime import ContainerState, Sandbox, SandboxError
from homeport.node.saver import StatusSaver
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
_EXPECTED = (HomeportError, SandboxError, OSError)


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
        self._sandbox = sandbox
        self._sandbox_phase: Literal["none", "busy", "up", "down"] = "none"
        self._starting: set[str] = set()
        self._volumes: Literal["none", "busy", "ready"] = "none"
        self._retries = Retries(host.now, lambda ref: wait_for(host.client, ref, self.pod), self.wake)
        self._pulls = Pulls(
            host.images, self._retries, host.now, launch=self._launch, note=self._note_image, wake=self.wake
        )
        self._verdict: Verdict | None = None
        self._deleting = False
        self._resizer = Resizer()
        self._mounts = Mounts(host, pod, self.directory, sources=self._sources, renew=self._begin_renewal)
        self._renewal: Literal["", "busy", "again"] = ""
        self._launcher = Launcher(host, self.directory, self._mounts, self._pulls, self._note)
        self._prober = Prober(pod, host.now, target=self._target, note=self._note, wake=self.wake)
        self._hooks = Hooks(pod, self._target, self.wake)
        self._saver = StatusSaver(host, pod, self.wake)
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._news.set()
        self._timer: asyncio.TimerHandle | None = None
        self._logs = PodLogs(self.directory)
        self._journal = Journal(self.directory, pod)
        self.memory: Memory = self._journal.recalled(pod)
        if sandbox is not None:
            self._sandbox_phase = "up" if sandbox.alive else "down"

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
            self._begin_renewal()
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
            if self._sandbox is not None:
                self._launch(self._listen(self._sandbox))
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
                    _log.exception("pod %s: deciding failed; again in 10 s", self._title)
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
        for task in self._tasks:
            task.cancel()
        self._pulls.cancel()
        self._retries.cancel()
        self._saver.cancel()
        self._logs.close()

    @property
    def _title(self) -> str:
        return f"{meta.namespace(self.pod)}/{meta.name(self.pod)}"

    @property
    def address(self) -> str:
        return self._sandbox.address if self._sandbox is not None and self._sandbox_phase == "up" else ""

    def containers(self) -> Mapping[str, ContainerState]:
        """The newest attempts of the containers that the sandbox has seen."""
        return {} if self._sandbox is None else self._sandbox.containers()

    def running(self) -> dict[str, ContainerState]:
        """The containers that run now."""
        return {name: state for name, state in self.containers().items() if state.phase == "running" and state.pid}

    def _states(self) -> dict[str, ContainerState]:
        if self._sandbox is None:
            return {}
        return {name: self._logs.explained(self.pod, state) for name, state in self._sandbox.containers().items()}

    def _view(self) -> View:
        return View(
            pod=self.pod,
            now=self._host.now(),
            gone=self._gone,
            sandbox=self._sandbox_phase,
            address=self.address,
            states=self._states(),
            health=self._prober.health,
            hooks=self._hooks.results,
            starting=frozenset(self._starting),
            volumes=self._volumes,
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
                self._volumes = "busy"
                self._launch(self._mount())
            case CreateSandbox():
                self._sandbox_phase = "busy"
                self._launch(self._create())
            case StartContainer(name, attempt):
                self._starting.add(name)
                self._launch(self._start(name, attempt))
            case RunHook():
                self._hooks.begin(instruction)
            case Resize():
                self._resizer.is_busy = True
                self._launch(self._resize(self.pod))
            case Signal(name, attempt, number):
                self._launch(self._signal(name, attempt, number))
            case DestroySandbox():
                self._sandbox_phase = "busy"
                self._launch(self._destroy())
            case DeletePod():
                self._deleting = True
                self._launch(self._delete())
            case Forget():
                self._ended(self)

    def _launch(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("pod %s: %s", self._title, error, exc_info=error)
        self.wake()

    def _explain(self, error: Exception) -> str:
        """What to tell of a failed step. A mistake of ours is told too, so that the step is tried again like any other
        and not at once or never; the log has its traceback."""
        if isinstance(error, _EXPECTED):
            return str(error)
        _log.error("pod %s: %s", self._title, error, exc_info=error)
        return f"{type(error).__name__}: {error}"

    # Sandbox and volumes.

    async def _mount(self) -> None:
        try:
            await self._mounts.set_up(self.pod)
        except Exception as error:
            self._volumes = "none"
            text = self._explain(error)
            waits_for = error.waits_for if isinstance(error, volumes.MountError) else None
            self._retries.fail("/volumes", "ContainerCreating", text, waits_for=waits_for)
            self._note(Notice("Warning", "FailedMount", text))
        else:
            self._volumes = "ready"
            self._retries.succeed("/volumes")
            if self._renewal:  # something has changed while they were written
                self._renewal = ""
                self._begin_renewal()

    def _begin_renewal(self) -> None:
        """What the volumes show has changed, or a token is due."""
        if self._gone or self.status.get("phase") in TERMINAL:
            return
        if self._renewal or self._volumes != "ready":
            self._renewal = "again"
            return
        self._renewal = "busy"
        self._launch(self._renew())

    async def _renew(self) -> None:
        try:
            await self._mounts.bring_up_to_date(self.pod)
        except volumes.MountError as error:
            self._note(Notice("Warning", "FailedMount", str(error)))
            if error.waits_for is None:  # else the watch tells when what is missing has come
                self._mounts.renew_in(RENEWAL_RETRY)
        except Exception as error:
            # A token still holds for a fifth of its life.
            _log.warning("pod %s: volumes could not be brought up to date: %s", self._title, self._explain(error))
            self._mounts.renew_in(RENEWAL_RETRY)
        finally:
            again, self._renewal = self._renewal == "again", ""
        if again:
            self._begin_renewal()

    async def _create(self) -> None:
        try:
            self._saver.wait()
            async with self._host.create_slots:
                self._saver.go_on()
                sandbox = await self._launcher.create(self.allocated)
        except Exception as error:
            self._sandbox_phase = "none"
            text = self._explain(error)
            self._retries.fail("/sandbox", "ContainerCreating", text)
            self._note(Notice("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {text}"))
            return
        self._sandbox = sandbox
        self._sandbox_phase = "up"
        self._retries.succeed("/sandbox")
        self._launch(self._listen(sandbox))

    async def _listen(self, sandbox: Sandbox) -> None:
        """Hear of exits until the supervisor goes."""
        async for _ in sandbox.changes():
            self.wake()
        if self._sandbox is sandbox and self._sandbox_phase == "up":
            self._sandbox_phase = "down"

    async def _destroy(self) -> None:
        assert self._sandbox is not None
        try:
            await self._sandbox.destroy()
        except Exception as error:
            self._sandbox_phase = "down"
            text = self._explain(error)
            self._retries.fail("/destroy", "", text)
            _log.warning("pod %s: %s", self._title, text)
            return
        self._sandbox = None
        self._sandbox_phase = "none"
        self._retries.succeed("/destroy")

    async def _sources(self, refs: set[Ref]) -> Sources:
        return await gather(self._host, self.pod, refs, self.address)

    # Containers.

    async def _start(self, name: str, attempt: int) -> None:
        member = next(m for m in members(self.allocated) if m.name == name)
        try:
            if self._sandbox is None:
                raise SandboxError("the pod's sandbox has gone")
            devices = self.memory.devices.get(name, ())
            if devices and not self._journal.has_kept(self.memory):
                # Nobody else may get them when the platform starts again.
                raise SandboxError("which GPUs are the pod's can't be written down: the disk may be full")
            await self._launcher.start(self.allocated, self._sandbox, member, attempt, devices)
        except Unresolved as error:
            self._retries.fail(name, "CreateContainerConfigError", str(error), waits_for=error.waits_for)
            self._note(Notice("Warning", "Failed", f"Error: {error}", name))
        except Exception as error:
            text = self._explain(error)
            self._retries.fail(name, "CreateContainerError", text)
            self._note(Notice("Warning", "Failed", f"Error: {text}", name))
        else:
            self._retries.succeed(name)
            self._retries.succeed(signal_step(name))  # what could not be sent was for the attempt before
        finally:
            self._starting.discard(name)

    async def _resize(self, pod: Object) -> None:
        try:
            most_pids = self._host.most_pids
            await self._resizer.resize(pod, self.sandbox_in_use(), self.running(), most_pids=most_pids)
        except Exception as error:
            self._retries.fail("/resize", "Error", self._explain(error))
        else:
            self._retries.succeed("/resize")
        finally:
            self._resizer.is_busy = False

    def _target(self, member: Member) -> Target | None:
        """How probes and hooks reach a container."""
        sandbox = self._sandbox
        if sandbox is None or self._sandbox_phase != "up":
            return None
        return Target(member.name, member.spec, sandbox, self._host.runtime, sandbox.address)

    async def _signal(self, name: str, attempt: int, number: int) -> None:
        if self._sandbox is None:
            return
        if number == signal.SIGTERM:
            member = next((m for m in members(self.pod) if m.name == name), None)
            wanted = (
                ""
                if member is None or (member.spec.get("lifecycle") or {}).get("stopSignal")
                else self._pulls.stop_signal(member.image)
            )
            number = signal_number(wanted) if wanted else number
        try:
            await self._sandbox.signal(name, number)
        except Exception as error:
            text = self._explain(error)
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
            _log.warning("pod %s could not be deleted: %s", self._title, error)

    async def clean_up(self) -> None:
        """Remove what the node keeps of the pod: state, volumes, logs."""
        # The directory last: as long as it is there, the next start of the platform knows that something is left.
        await asyncio.to_thread(volumes.remove_memory, self._mounts.places)
        if self._mounts.places.memory.exists():  # of users that only the runtime may remove
            await self._host.runtime.remove(str(self._mounts.places.memory))
        await self._host.runtime.remove(str(self.directory))

    # Processes.

    def sandbox_in_use(self) -> Sandbox:
        """Raises InternalError if the pod has none, or no more."""
        if self._sandbox is None or self._sandbox_phase != "up":
            raise InternalError(f"pod sandbox of pod {self._title} is not running")
        return self._sandbox

    def sandbox_of(self, container: str) -> Sandbox:
        """The sandbox that the container runs in. Raises InternalError, in the kubelet's words, if it does not run."""
        state = None if self._sandbox is None else self._sandbox.containers().get(container)
        if state is None or state.phase != "running":
            raise InternalError(f'container not found ("{container}")')
        return self.sandbox_in_use()

    # Logs.

    def log_source(self, container: str, *, previous: bool) -> logs.LogSource:
        """Raises BadRequest with the kubelet's words if there is no log to read."""
        return self._logs.source(self.pod, self.status, self.memory, container, previous=previous)
