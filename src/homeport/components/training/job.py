"""The one ``sync`` of all training jobs, and the kind and the controller that a framework becomes.

A sync reads the job and its pods, judges each replica (:mod:`~homeport.components.training.outcome`), counts restarts
(:mod:`~homeport.components.training.restarts`) and then takes the first of these that applies: the deciding replicas
have succeeded; a replica has failed for good; a limit of the run policy is passed; the job goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import msgspec

from homeport.components.training import conditions as at
from homeport.components.training import outcome, podgroups, policy
from homeport.components.training.defaults import Malformed, prepare, view
from homeport.components.training.framework import Decision, Framework, Job, Replica, Settings
from homeport.components.training.gang import Attempts
from homeport.components.training.outcome import Failure, Standing
from homeport.components.training.pods import Builder, replicas, selector
from homeport.components.training.restarts import Ledger, time_to_restart
from homeport.components.training.status import Draft
from homeport.components.training.validation import check, validate
from homeport.control.controller import Child, Controller, Desired, Observed
from homeport.kube import core, meta
from homeport.kube.kind import Column, Kind
from homeport.kube.meta import Object

COLUMNS = (
    Column("State", "string", ".status.conditions[-1:].type", "The job's last condition."),
    Column("Age", "date", ".metadata.creationTimestamp", "Time since the job was created."),
)


def kind_of(framework: Framework) -> Kind:
    """The API kind of the framework's jobs."""
    subresources = {"status"} | ({"scale"} if framework.scale_paths else set())
    return Kind(
        resource=framework.resource,
        body=framework.body,
        singular=framework.kind.lower(),
        columns=COLUMNS,
        subresources=frozenset(subresources),
        scale_paths=framework.scale_paths,
        prepare=partial(prepare, framework),
        validate=partial(validate, framework),
    )


def controller_of(framework: Framework, settings: Settings) -> Controller:
    return Controller(
        name=framework.operator,
        parent=framework.resource,
        sync=partial(sync, framework, settings),
        children=(
            # Neither is ever changed in place: a pod can't be, and a service shall go on matching the pods that run.
            Child(core.POD.resource, "never"),
            Child(core.SERVICE.resource, "never"),
            *podgroups.children(settings),
            *framework.children,
        ),
        grants=framework.grants,
        on_parent=frozenset({"delete"}),
    )


EVICTED = "Evicted"
"""The reason of a pod that its node has put out."""


class Seen(msgspec.Struct, frozen=True):
    """A replica as it was found."""

    replica: Replica
    pod: Object | None
    standing: Standing
    failure: Failure | None = None
    is_final: bool = False
    """It has failed and its policy doesn't restart it."""

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The least is the cause of the others (:attr:`Failure.rank`)."""
        return self.failure.rank if self.failure else (True, True, float("inf"))

    def __str__(self) -> str:
        return f"{self.replica} (pod {self.replica.name})"


def sync(framework: Framework, settings: Settings, observed: Observed) -> Desired:
    """What should be of a job, by what is seen of it."""
    parent, draft = observed.parent, Draft(framework, observed.parent, observed.now)
    if meta.is_deleting(parent) or policy.is_managed_elsewhere(parent) or framework.ignores(parent):
        return policy.leave(observed)
    if draft.is_true(at.SUCCEEDED) or draft.is_true(at.FAILED):
        return policy.ended(framework, parent, observed.children, observed.now)
    if not draft.is_true(at.CREATED):
        draft.set(at.CREATED, "is created.")
    try:
        job = view(framework, parent, settings)
        complaints = [str(error) for error in check(job)]
    except Malformed as error:
        complaints = [str(error)]
    if complaints:
        draft.set(at.FAILED, "is not valid: " + "; ".join(complaints), reason="FailedValidation", event="Warning")
        return _end(observed, draft, stopped=True)
    if job.run_policy.suspend:
        return _suspended(draft)
    if draft.is_true(at.SUSPENDED):
        draft.set(at.SUSPENDED, "is resumed.", status=False, reason="Resumed", event="Normal")
        draft.begin(anew=True)
    draft.begin()
    return _Round(job, observed, draft).desired()


def _suspended(draft: Draft) -> Desired:
    for type in (at.RUNNING, at.RESTARTING):
        if draft.is_true(type):
            draft.set(type, "is suspended.", status=False, reason="Suspended")
    draft.set(at.SUSPENDED, "is suspended.", event="Normal")
    draft.hold()
    return Desired(status=draft.finish(), notes=tuple(draft.notes))


def _end(observed: Observed, draft: Draft, *, stopped: bool = False) -> Desired:
    """The sync in which a job ends: its status, and what is left of it from now on."""
    draft.complete()
    status = draft.finish()
    seconds = policy.run_policy(observed.parent).get("ttlSecondsAfterFinished")
    return Desired(
        status=status,
        keep=policy.kept(observed.parent, observed.children, stopped=stopped),
        notes=tuple(draft.notes),
        requeue_after=float(seconds) if isinstance(seconds, int) else None,
    )


class _Round:
    """One sync of a job that is neither ended nor suspended."""

    def __init__(self, job: Job, observed: Observed, draft: Draft) -> None:
        self._job, self._observed, self._draft, self._now = job, observed, draft, observed.now
        self._ledger, self._gang = Ledger(meta.status(observed.parent)), Attempts(meta.status(observed.parent))
        pods = observed.children.get("Pod", {})
        self._pods = pods
        self._seen = [self._judge(replica, pods.get(replica.name)) for replica in replicas(job)]
        self._decision = job.framework.decide(job)
        self._company = podgroups.of(job)
        self._group = observed.child(podgroups.KIND, job.name)

    def _judge(self, replica: Replica, pod: Object | None) -> Seen:
        standing = outcome.standing(pod)
        if standing is not Standing.FAILED or pod is None:
            return Seen(replica, pod, standing)
        failure = outcome.failure(pod, self._main(replica))
        restart = self._job.replicas[replica.type].restart_policy
        is_final = restart == "Never" or (restart == "ExitCode" and not failure.is_retryable)
        return Seen(replica, pod, standing, failure, is_final)

    def _main(self, replica: Replica) -> str:
        """Name of the container that trains."""
        return str(self._job.main(replica.type).get("name") or "")

    def desired(self) -> Desired:
        draft, job = self._draft, self._job
        if succeeded := _success(job, self._decision, self._seen):
            self._count(fold=True)
            draft.set(at.SUCCEEDED, f"succeeded: {succeeded}.", event="Normal")
            return _end(self._observed, draft)
        if fatal := self._fatal():
            self._count(stopped=job.run_policy.clean_pod_policy in ("All", "Running"))
            evicted = job.framework.marks_evictions and fatal.failure is not None and fatal.failure.reason == EVICTED
            draft.set(
                at.FAILED, f"failed: {fatal}: {fatal.failure}", reason=EVICTED if evicted else "", event="Warning"
            )
            return _end(self._observed, draft)
        newly_failed = self._restart_together() if job.gang_restart else self._restart_each()
        if exceeded := self._exceeded():
            self._count(stopped=True)
            draft.set(at.FAILED, exceeded, event="Warning")
            return _end(self._observed, draft, stopped=True)
        self._count()
        self._describe(newly_failed)
        return self._go_on()

    def _restart_each(self) -> list[Seen]:
        return [seen for seen in self._restartable() if self._ledger.record(seen.replica, seen.pod or {})]

    def _restart_together(self) -> list[Seen]:
        failed = [seen for seen in self._restartable() if not self._gang.is_doomed(seen.pod)]
        if failed:
            self._gang.begin(self._pods.values())
        return failed

    def _restartable(self) -> Iterator[Seen]:
        return (seen for seen in self._seen if seen.standing is Standing.FAILED and not seen.is_final)

    def _fatal(self) -> Seen | None:
        """The replica that fails the job: one whose failure isn't tolerated, or without which it can't succeed.

        Of several, the one that failed first, not those whose connections broke then.
        """
        job, final = self._job, sorted((seen for seen in self._seen if seen.is_final), key=lambda seen: seen.rank)
        for seen in final:
            if not job.framework.tolerates(job, seen.replica.type):
                return seen
        deciding = _deciding(self._decision, self._seen)
        lost = sorted((seen for seen in deciding if seen.is_final), key=lambda seen: seen.rank)
        return lost[0] if lost and (self._decision.rule != "any" or len(lost) == len(deciding)) else None

    def _exceeded(self) -> str:
        """Which limit the job has passed, as the rest of a sentence; empty if none."""
        limits, start = self._job.run_policy, outcome.moment(self._draft.start)
        if limits.backoff_limit is not None:
            total = self._gang.count + sum(self._restarts(type) for type in self._job.replicas)
            if total > limits.backoff_limit:
                count = "1 restart is" if total == 1 else f"{total} restarts are"
                return f"failed: {count} more than backoffLimit {limits.backoff_limit} allows.{self._last_failure()}"
        if policy.time_left(start, limits.active_deadline_seconds, self._now) == 0.0:
            return f"failed: it was active for longer than activeDeadlineSeconds {limits.active_deadline_seconds}."
        return ""

    def _last_failure(self) -> str:
        for seen in sorted(self._seen, key=lambda seen: (seen.standing is not Standing.FAILED, seen.rank)):
            failure = seen.failure or (outcome.last_failure(seen.pod, self._main(seen.replica)) if seen.pod else None)
            if failure:
                return f" The last failure was {seen}: {failure}"
        return ""

    def _restarts(self, type: str) -> int:
        pods = ((s.replica, s.pod) for s in self._seen if s.replica.type == type and s.pod is not None)
        return self._ledger.total(type, pods)

    def _count(self, *, fold: bool = False, stopped: bool = False) -> None:
        """Write ``replicaStatuses``. `fold`: what still runs counts as succeeded. `stopped`: nothing runs any more."""
        result: Object = {}
        for type in self._job.replicas:
            standings = [seen.standing for seen in self._seen if seen.replica.type == type]
            active, succeeded = standings.count(Standing.ACTIVE), standings.count(Standing.SUCCEEDED)
            if fold:
                active, succeeded = 0, succeeded + active
            counts = {
                "active": 0 if stopped else active,
                "succeeded": succeeded,
                "failed": standings.count(Standing.FAILED),
            }
            result[type] = {key: count for key, count in counts.items() if count}
            result[type]["selector"] = selector(self._job, type)
            result[type] |= self._ledger.fields(type, self._restarts(type))
            if self._job.gang_restart:
                pods = (seen.pod for seen in self._seen if seen.replica.type == type and seen.pod is not None)
                result[type] |= self._gang.fields(pods)
        self._draft.count(result)
        self._draft.count_gang(self._gang.count)

    def _describe(self, newly_failed: list[Seen]) -> None:
        """Write the conditions of a job that goes on."""
        draft, waiting = self._draft, self._waiting()
        deciding = self._decision.types
        is_active = any(s.standing is Standing.ACTIVE and s.replica.type in deciding for s in self._seen)
        pending = [s for s in self._seen if self._is_restarting(s)]
        if pending or (draft.is_true(at.RESTARTING) and not is_active):
            text = draft.message(at.RESTARTING) or "is restarting: a replica is made anew."
            if newly_failed:
                first, more = min(newly_failed, key=lambda seen: seen.rank), len(newly_failed) - 1
                what = f"is restarting all replicas ({self._gang.count})" if self._job.gang_restart else "is restarting"
                text = f"{what}: {first}: {first.failure}" + (f" (and {more} more)" if more else "")
                draft.tell("Warning", at.RESTARTING, text)
            draft.set(at.RESTARTING, text, waiting=waiting)
        elif is_active or draft.is_true(at.RUNNING):
            draft.set(at.RUNNING, "is running.", waiting=waiting, event="Normal")
        in_front = draft.is_true(at.RUNNING) or draft.is_true(at.RESTARTING)
        draft.set(at.CREATED, "is created.", waiting="" if in_front else waiting)

    def _is_restarting(self, seen: Seen) -> bool:
        standing = seen.standing
        return (
            standing not in (Standing.ACTIVE, Standing.SUCCEEDED)
            and not seen.is_final
            and (self._ledger.count(seen.replica) > 0 or self._gang.count > 0)
        )

    def _waiting(self) -> str:
        """What keeps replicas from running; one event for each new reason."""
        held: list[tuple[Seen, str, str]] = []
        for seen in self._seen:
            if seen.pod is not None and seen.standing in (Standing.PENDING, Standing.ACTIVE):
                held += ((seen, *found) for found in (outcome.waiting(seen.pod),) if found)
        if not held:
            return podgroups.waiting(self._group) if self._company else ""
        seen, reason, message = held[0]
        text = f"{seen}: {reason}" + (f": {message}" if message else "")
        if not self._draft.has_said(text):
            self._draft.note("Warning", reason, f"{seen} waits: {message or reason}")
        return text + (f" (and {len(held) - 1} more)" if len(held) > 1 else "")

    def _go_on(self) -> Desired:
        job, ledger, build = self._job, self._ledger, Builder(self._job, self._company)
        children: list[Object] = list(job.framework.objects(job, self._pods))
        held_back = False
        if self._company:
            children.append(podgroups.group_of(job, self._company))
            held_back = self._company.holds_back(self._group)
            if self._group is None and not self._pods:
                templates = (spec.template for spec in job.replicas.values())
                self._draft.notes += self._company.warnings(templates)
        if job.framework.services:
            children += (build.service(seen.replica) for seen in self._seen)
        keep: set[tuple[str, str]] = set()
        times = [policy.time_left(outcome.moment(self._draft.start), job.run_policy.active_deadline_seconds, self._now)]
        doomed = [seen for seen in self._seen if self._gang.is_doomed(seen.pod)] if job.gang_restart else []
        pause = self._pause(doomed)
        times.append(pause or None)
        for seen in self._seen:
            if seen.pod is None:
                if not doomed and not held_back:
                    children.append(build.pod(seen.replica))
                continue
            if seen in doomed:
                # What failed can be read while the job pauses; what runs is of no use any more.
                if pause and seen.failure:
                    keep.add(("Pod", seen.replica.name))
                continue
            if seen.failure and not seen.is_final:
                delay = ledger.delay(seen.replica, seen.pod, seen.failure, self._now)
                if not delay:
                    continue
                times.append(delay)
            keep.add(("Pod", seen.replica.name))
        return Desired(
            status=self._draft.finish(),
            children=tuple(children),
            keep=frozenset(keep),
            notes=tuple(self._draft.notes),
            requeue_after=min((time for time in times if time is not None), default=None),
        )

    def _pause(self, doomed: list[Seen]) -> float:
        """Seconds until all replicas are due to be made anew."""
        failed = [seen.failure for seen in doomed if seen.failure]
        return max((time_to_restart(self._gang.count, failure, self._now) for failure in failed), default=0.0)


def _deciding(decision: Decision, seen: list[Seen]) -> list[Seen]:
    return [s for s in seen if s.replica.type in decision.types and (decision.rule != "first" or s.replica.index == 0)]


def _success(job: Job, decision: Decision, seen: list[Seen]) -> str:
    """How the job has succeeded, as a sentence without its end; empty if it hasn't."""
    deciding = _deciding(decision, seen)
    done = [s for s in deciding if s.standing is Standing.SUCCEEDED]
    if not done or (decision.rule != "any" and len(done) < len(deciding)):
        return ""
    if len(deciding) == 1 or decision.rule == "any":
        return f"{done[0].replica} finished"
    return f"all {len(done)} {' and '.join(t for t in decision.types if job.count(t))} replicas finished"
