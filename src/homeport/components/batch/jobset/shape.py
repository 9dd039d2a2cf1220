"""What a job set's spec says in numbers and names (upstream: ``labelAndAnnotateObject`` and its helpers)."""

from __future__ import annotations

from hashlib import sha1

from homeport.kube import meta
from homeport.kube.meta import Object

_PREFIX = "jobset.sigs.k8s.io/"
NAME = _PREFIX + "jobset-name"
REPLICATED_JOB = _PREFIX + "replicatedjob-name"
JOB_INDEX = _PREFIX + "job-index"
RESTARTS = _PREFIX + "restart-attempt"
JOB_KEY = _PREFIX + "job-key"
PRIORITY = _PREFIX + "priority"
COORDINATOR = _PREFIX + "coordinator"
EXCLUSIVE = "alpha.jobset.sigs.k8s.io/exclusive-topology"
NODE_SELECTOR = "alpha.jobset.sigs.k8s.io/node-selector"
NAMESPACED_JOB = "alpha.jobset.sigs.k8s.io/namespaced-job"
NO_SCHEDULE = "alpha.jobset.sigs.k8s.io/no-schedule"
SIZE = ("parallelism", "completions")
"""What may change of the jobs of a set while they run, both together."""


def groups(job_set: Object) -> list[Object]:
    """The replicated jobs."""
    return meta.spec(job_set).get("replicatedJobs") or []


def replicas(group: Object) -> int:
    count = group.get("replicas")
    return 1 if count is None else int(count)


def is_indexed(group: Object) -> bool:
    return bool(meta.spec(group["template"]).get("completionMode") == "Indexed")


def size(group: Object) -> tuple[int | None, int | None]:
    """How many pods each job of a group runs at a time, and how many have to succeed."""
    job = meta.spec(group["template"])
    return job.get("parallelism"), job.get("completions")


def group_name(group: Object) -> str:
    return group.get("groupName") or "default"


def job_name(job_set: str, group: str, index: int) -> str:
    return f"{job_set}-{group}-{index}"


def claim_name(job_set: str, template: str) -> str:
    return f"{template}-{job_set}"


def has_hostnames(job_set: Object) -> bool:
    return bool((meta.spec(job_set).get("network") or {}).get("enableDNSHostnames"))


def subdomain(job_set: Object, name: str = "") -> str:
    """`name`: of a job set that has none yet."""
    return (meta.spec(job_set).get("network") or {}).get("subdomain") or name or meta.name(job_set)


def coordinator(job_set: Object, name: str = "") -> str:
    """Where the coordinator is reached; empty if there is none."""
    chosen = meta.spec(job_set).get("coordinator")
    if not chosen:
        return ""
    pod = job_name(name or meta.name(job_set), chosen["replicatedJob"], chosen.get("jobIndex") or 0)
    return f"{pod}-{chosen.get('podIndex') or 0}.{subdomain(job_set, name)}"


def marks(job_set: Object, group: Object, index: int) -> dict[str, str]:
    """What labels and annotations of a job and its pods both say."""
    every = groups(job_set)
    place = next(number for number, other in enumerate(every) if other["name"] == group["name"])
    together = [other for other in every if group_name(other) == group_name(group)]
    place_together = next(number for number, other in enumerate(together) if other["name"] == group["name"])
    name = job_name(meta.name(job_set), group["name"], index)
    found = {
        NAME: meta.name(job_set),
        _PREFIX + "jobset-uid": meta.uid(job_set),
        REPLICATED_JOB: group["name"],
        RESTARTS: str(meta.status(job_set).get("restarts") or 0),
        _PREFIX + "replicatedjob-replicas": str(replicas(group)),
        _PREFIX + "global-replicas": str(sum(map(replicas, every))),
        JOB_INDEX: str(index),
        JOB_KEY: sha1(f"{meta.namespace(job_set)}/{name}".encode(), usedforsecurity=False).hexdigest(),
        _PREFIX + "job-global-index": str(sum(map(replicas, every[:place])) + index),
        _PREFIX + "group-name": group_name(group),
        _PREFIX + "group-replicas": str(sum(map(replicas, together))),
        _PREFIX + "job-group-index": str(sum(map(replicas, together[:place_together])) + index),
    }
    endpoint = coordinator(job_set)
    return {**found, COORDINATOR: endpoint} if endpoint else found
