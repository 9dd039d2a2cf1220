"""What the batch scheduler has done and sees, as ``/metrics`` shows it: under Volcano's names, in Volcano's units
(upstream: ``pkg/scheduler/metrics``, ``pkg/controllers/metrics/queue.go``), so that its dashboards show it, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from homeport.metrics import Counter, Family, Gauge, Histogram, Labels, Sampled
from homeport.scheduler.batch.decisions import Decisions, QueueOutcome
from homeport.scheduler.batch.model import Amounts
from homeport.scheduler.model import CPU, MEMORY, PODS

SCHEDULED, UNSCHEDULABLE, ERROR = "scheduled", "unschedulable", "error"
"""How an attempt to place a pod ended: ``result`` of ``volcano_schedule_attempts_total``."""
_TRANSACTIONS = ("preempt", "reclaim")
_BOUND: Labels = ("Bound",)
_COUNTED = ("inqueue", "pending", "running", "unknown", "completed")
"""Phases of pod groups that are counted by queue."""


def _range(least: float, most: float, count: int) -> list[float]:
    """So many bounds of buckets from `least` to `most`, each larger than the one before by the same factor."""
    return [least * (most / least) ** (place / (count - 1)) for place in range(count)]


class Measures:
    """Outlives schedulers: in a process that leads again it goes on counting."""

    def __init__(self) -> None:
        self._cycles = Histogram(
            "volcano_e2e_scheduling_latency_milliseconds",
            "Duration of one scheduling cycle in milliseconds, from the snapshot to the last decision handed over.",
            (),
            _range(1, 5000, 20),
        )
        self._pods = Histogram(
            "volcano_task_scheduling_latency_milliseconds",
            "Time from a pod's creation to the stage, in milliseconds.",
            ("stage",),
            _range(50, 60000, 30),
        )
        self._attempts = Counter(
            "volcano_schedule_attempts_total",
            "Number of attempts to schedule pods, by the result: unschedulable if no place was found, error if binding "
            "failed.",
            ("result",),
        )
        self._victims = Gauge("volcano_pod_preemption_victims", "Number of pods that the last preemption ended.")
        self._transactions = Counter(
            "volcano_eviction_transactions_total",
            "Total number of groups for which pods of others were ended, by action.",
            ("action",),
        )
        for result in (SCHEDULED, UNSCHEDULABLE, ERROR):
            self._attempts.cell((result,))
        for action in _TRANSACTIONS:
            self._transactions.cell((action,))
        self._queues: Mapping[str, QueueOutcome] = {}
        self._unready: Callable[[], Mapping[str, int]] = dict

    def begin(self, unready: Callable[[], Mapping[str, int]]) -> None:
        """A scheduler begins. `unready` gives the groups that wait (``NAMESPACE/NAME``), and how many pods each lacks
        of those that it needs."""
        self._unready = unready

    def end(self) -> None:
        """It has ended: what it saw is no longer so."""
        self._queues, self._unready = {}, dict

    def decided(self, decisions: Decisions, seconds: float) -> None:
        """A cycle took that long and has ended in that."""
        self._cycles.observe((), seconds * 1000)
        self._queues = decisions.queues
        waiting = sum(task.reason == "Unschedulable" for task in decisions.tasks)
        self._attempts.add((UNSCHEDULABLE,), waiting)
        if decisions.evictions:
            for action, _ in {(one.reason, one.by) for one in decisions.evictions if one.reason in _TRANSACTIONS}:
                self._transactions.add((action,))
            if victims := sum(one.reason == "preempt" for one in decisions.evictions):
                self._victims.set((), victims)

    def bound(self, seconds: float) -> None:
        """A pod got its node so long after its creation."""
        self._attempts.add((SCHEDULED,))
        self._pods.observe(_BOUND, max(0.0, seconds) * 1000)

    def failed(self) -> None:
        """A pod's binding failed."""
        self._attempts.add((ERROR,))

    def families(self) -> tuple[Family, ...]:
        """What is to be shown."""
        return (
            self._cycles,
            self._pods,
            self._attempts,
            self._victims,
            self._transactions,
            Sampled(
                "volcano_unschedule_task_count",
                "Number of pods that a waiting group lacks of those that it needs.",
                ("job_id",),
                lambda: [((job,), float(count)) for job, count in self._unready().items()],
            ),
            Sampled(
                "volcano_unschedule_job_count",
                "Number of groups that wait.",
                (),
                lambda: [((), float(len(self._unready())))],
            ),
            *self._of_amounts("allocated", "Allocated", lambda queue: queue.allocated),
            *self._of_amounts("deserved", "Deserved", lambda queue: queue.deserved),
            self._of_queues("volcano_queue_share", "Share for one queue", lambda queue: queue.share),
            *map(self._counted, _COUNTED),
        )

    def _counted(self, phase: str) -> Sampled:
        help = f"The number of {phase.capitalize()} PodGroup in this queue"
        return self._of_queues(f"volcano_queue_pod_group_{phase}_count", help, lambda queue: getattr(queue, phase))

    def _of_amounts(self, word: str, title: str, read: Callable[[QueueOutcome], Amounts]) -> Iterator[Sampled]:
        prefix = f"volcano_queue_{word}"
        cpu, memory = f"{title} CPU count for one queue", f"{title} memory for one queue"
        yield self._of_queues(f"{prefix}_milli_cpu", cpu, lambda queue: read(queue).get(CPU, 0))
        yield self._of_queues(f"{prefix}_memory_bytes", memory, lambda queue: read(queue).get(MEMORY, 0))

        def scalars() -> Iterator[tuple[Labels, float]]:
            for name, queue in self._queues.items():
                for resource, amount in read(queue).items():
                    if resource not in (CPU, MEMORY):  # Volcano counts thousandths of all but pods
                        yield (name, resource), float(amount if resource == PODS else amount * 1000)

        help = f"{title} scalar resources for one queue"
        yield Sampled(f"{prefix}_scalar_resources", help, ("queue_name", "resource"), scalars)

    def _of_queues(self, name: str, help: str, read: Callable[[QueueOutcome], float]) -> Sampled:
        return Sampled(
            name, help, ("queue_name",), lambda: [((key,), float(read(one))) for key, one in self._queues.items()]
        )
