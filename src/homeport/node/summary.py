"""What the node says of its resources, as the kubelet's ``/stats/summary`` (``stats.k8s.io/v1alpha1``). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.runtime import ContainerState
from homeport.node.usage import Rated, Root, Usage


def roots(pods: Iterable[tuple[Object, Mapping[str, ContainerState]]]) -> frozenset[Root]:
    """What is to be measured."""
    return frozenset(_root(pod, state) for pod, states in pods for state in states.values())


def _root(pod: Object, state: ContainerState) -> Root:
    return Root(meta.uid(pod), state.name, state.pid, state.cgroups.get("memory", ""), state.cgroups.get("cpu", ""))


def summary(
    node_name: str,
    usage: Usage,
    pods: Iterable[tuple[Object, Mapping[str, ContainerState]]],
    now: datetime,
) -> Object:
    """`pods` come with their running containers."""
    time = meta.timestamp(now)
    return {
        "node": {
            "nodeName": node_name,
            **_stats(usage.machine, time),
            "memory": {
                **_memory(usage.machine, time),
                "availableBytes": usage.memory_total - usage.machine.memory,
            },
        },
        "pods": [_pod(pod, states, usage, time) for pod, states in pods],
        "windowSeconds": usage.window,
    }


def _pod(pod: Object, states: Mapping[str, ContainerState], usage: Usage, time: str) -> Object:
    measured = {
        name: rated for name, state in states.items() if (rated := usage.containers.get(_root(pod, state))) is not None
    }
    containers = [
        {"name": name, "startTime": states[name].started_at, **_stats(rated, time)} for name, rated in measured.items()
    ]
    every = measured.values()
    whole = Rated(*(sum(column) for column in zip(*every, strict=True))) if measured else Rated(0, 0, 0)
    return {
        "podRef": {"name": meta.name(pod), "namespace": meta.namespace(pod), "uid": meta.uid(pod)},
        "startTime": meta.status(pod).get("startTime"),
        "containers": containers,
        **_stats(whole, time),
    }


def _stats(rated: Rated, time: str) -> Object:
    return {
        "cpu": {"time": time, "usageNanoCores": rated.rate, "usageCoreNanoSeconds": rated.cpu},
        "memory": _memory(rated, time),
    }


def _memory(rated: Rated, time: str) -> Object:
    return {
        "time": time,
        "usageBytes": rated.charged,
        "workingSetBytes": rated.memory,
        "rssBytes": rated.own,
    }
