"""What a pod of a leader-worker set gets as it is made: labels that say which group it is of, variables by which the
group finds its leader, and where it may be (upstream: ``pkg/webhooks/pod_webhook.go``).
"""

from __future__ import annotations

from typing import Any

from homeport.components.workloads.leaderworker import shape
from homeport.kube import meta
from homeport.kube.admission import Refusal, World
from homeport.kube.meta import Object

_TERMS = "requiredDuringSchedulingIgnoredDuringExecution"


def mutate(pod: Object, world: World) -> Object:
    """The pod with all that makes it a member of its group. Raises Refusal for one that says too little of itself."""
    annotations, name = meta.annotations(pod), meta.name(pod)
    size = annotations.get(shape.SIZE)
    if size is None:
        raise Refusal(f"size annotation is unexpectedly missing for pod {name}")
    _, ordinal = shape.parent_and_ordinal(name)
    if ordinal == -1:
        raise Refusal(f"parsing pod ordinal for pod {name}")
    spec, labels = dict(meta.spec(pod)), dict(meta.labels(pod))
    if shape.is_leader(pod):
        _lead(name, meta.namespace(pod), ordinal, annotations, labels, spec)
    else:
        labels[shape.WORKER_INDEX] = str(ordinal)
        _work(_whole(size), ordinal, annotations, labels, spec)
    if shape.GROUP_INDEX not in labels:
        raise Refusal(f"Failure constructing environment variables, no group index label found for pod {name}")
    group = f"{labels[shape.NAME]}-{labels[shape.GROUP_INDEX]}"
    variables = {
        "LWS_LEADER_ADDRESS": f"{group}.{spec.get('subdomain') or ''}.{meta.namespace(pod)}",
        "LWS_GROUP_SIZE": size,
        "LWS_WORKER_INDEX": labels[shape.WORKER_INDEX],
    }
    for field in ("containers", "initContainers"):
        if isinstance(spec.get(field), list):
            spec[field] = [_with_variables(container, variables) for container in spec[field]]
    return {**pod, "metadata": {**meta.metadata(pod), "labels": labels}, "spec": spec}


def _lead(
    name: str, namespace: str, ordinal: int, annotations: Object, labels: dict[str, str], spec: dict[str, Any]
) -> None:
    labels.setdefault(shape.GROUP_INDEX, str(ordinal))
    if annotations.get(shape.SUBDOMAIN_POLICY) == shape.UNIQUE:
        spec["subdomain"] = name
    key = labels.setdefault(shape.GROUP_KEY, shape.unique_key(namespace, name))
    if shape.EXCLUSIVE in annotations:
        _place_apart(spec, shape.GROUP_KEY, key, annotations[shape.EXCLUSIVE])
    is_included = shape.SUBGROUP_SIZE in annotations and annotations.get(shape.SUBGROUP_TYPE) != "LeaderExcluded"
    if is_included and not labels.get(shape.SUBGROUP_INDEX):
        _join_subgroup("0", name, annotations, labels, spec)


def _work(size: int, ordinal: int, annotations: Object, labels: dict[str, str], spec: dict[str, Any]) -> None:
    if shape.SUBGROUP_SIZE not in annotations or labels.get(shape.SUBGROUP_INDEX):
        return
    of_each = _whole(annotations[shape.SUBGROUP_SIZE])
    # Where the leader is one more than fits, it is in the first group with the first workers.
    place = ordinal - 1 if (size - 1) % of_each == 0 else ordinal
    _join_subgroup(str(place // of_each), annotations.get(shape.LEADER_NAME, ""), annotations, labels, spec)


def _whole(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise Refusal(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def _join_subgroup(index: str, leader: str, annotations: Object, labels: dict[str, str], spec: dict[str, Any]) -> None:
    labels[shape.SUBGROUP_INDEX] = index
    key = labels[shape.SUBGROUP_KEY] = shape.unique_key(leader, index)
    if shape.SUBGROUP_EXCLUSIVE in annotations:
        _place_apart(spec, shape.SUBGROUP_KEY, key, annotations[shape.SUBGROUP_EXCLUSIVE])


def _place_apart(spec: dict[str, Any], label: str, key: str, topology: str) -> None:
    """Together with pods of the same key, and with none of another."""
    affinity = dict(spec.get("affinity") or {})
    own = {"key": label, "operator": "In", "values": [key]}
    others = [{"key": label, "operator": "Exists"}, {"key": label, "operator": "NotIn", "values": [key]}]
    wanted = {"podAffinity": [own], "podAntiAffinity": others}
    if all(_names(affinity.get(sort), topology) for sort in wanted):
        return
    for sort, expressions in wanted.items():
        present = affinity.get(sort) or {}
        term = {"labelSelector": {"matchExpressions": expressions}, "topologyKey": topology}
        affinity[sort] = {**present, _TERMS: [*(present.get(_TERMS) or ()), term]}
    spec["affinity"] = affinity


def _names(affinity: Object | None, topology: str) -> bool:
    return any(term.get("topologyKey") == topology for term in (affinity or {}).get(_TERMS) or ())


def _with_variables(container: Any, variables: dict[str, str]) -> Any:
    """They come first, so that others can be made of them."""
    if not isinstance(container, dict):
        return container
    own = [each for each in meta.dicts(container.get("env")) if each.get("name") not in variables]
    return {**container, "env": [*({"name": key, "value": value} for key, value in variables.items()), *own]}
