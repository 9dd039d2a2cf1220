"""Stateful sets: pods with numbers, names and volumes that last (upstream: ``pkg/controller/statefulset``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from homeport.components.workloads import pods
from homeport.components.workloads.history import (
    History,
    forgotten,
    history,
    renumbered,
    template_of,
    with_revision,
)
from homeport.components.workloads.stateful_plan import Planner, Rules, Steps, lacking, revision_for
from homeport.components.workloads.stateful_pods import (
    claim_names,
    claims,
    is_stale,
    new_pod,
    ordinal,
    owned,
    pod_name,
    revision_of,
)
from homeport.control.controller import Deed, Desired, Note, Observed, Patch
from homeport.kube import meta
from homeport.kube.core import pod_state
from homeport.kube.meta import Object


def sync(observed: Observed) -> Desired:
    parent, members = observed.parent, observed.children["Pod"]
    known = history(parent, observed.children["ControllerRevision"].values(), observed.failures)
    if known.update is None and not meta.is_deleting(parent):
        return with_revision(observed, known)
    update = known.update or (known.revisions[-1] if known.revisions else {})
    current = next(
        (each for each in known.revisions if meta.name(each) == meta.status(parent).get("currentRevision")), update
    )
    status = _status(observed, known, current, update)
    if meta.is_deleting(parent):
        return Desired(status=status)
    blocked = frozenset(_blocked(observed))
    steps = Planner(parent, members, meta.name(update), blocked, observed.now).plan()
    numbers = _in_turn(observed, steps.make)
    made = [_made(parent, number, current, update) for number in steps.make if number in numbers]
    kept = {meta.name(current), meta.name(update), *map(revision_of, members.values())}
    limit = int(meta.spec(parent).get("revisionHistoryLimit", 10))
    gone = {("ControllerRevision", name) for name in forgotten(known, limit, kept)}
    gone |= {("Pod", name) for name in steps.delete}
    present = {(kind, name) for kind, group in observed.children.items() for name in group}
    return Desired(
        status=status,
        children=tuple(made),
        keep=frozenset(present - gone),
        patches=(*renumbered(known), *_patches(observed, steps)),
        others=tuple(_claims(observed, numbers)),
        requeue_after=pods.next_availability(members.values(), Rules.of(parent).min_ready, observed.now),
    )


def _made(parent: Object, number: int, current: Object, update: Object) -> Object:
    name = revision_for(parent, number, meta.name(current), meta.name(update))
    revision = current if name == meta.name(current) else update
    return new_pod(parent, template_of(revision), name, number)


# -- claims


def _claim(observed: Observed, name: str) -> Object | None:
    claims = observed.related["PersistentVolumeClaim"]
    return claims.get(f"{meta.namespace(observed.parent)}/{name}")


def _blocked(observed: Observed) -> Iterator[int]:
    """Numbers of missing pods one of whose claims is going away: their pods have to wait."""
    parent = observed.parent
    if not meta.spec(parent).get("volumeClaimTemplates"):
        return
    for number in Rules.of(parent).numbers:
        own = pod_name(parent, number)
        if own in observed.children["Pod"]:
            continue
        found = (_claim(observed, name) for _, name in claim_names(parent, number))
        if any(claim is not None and (meta.is_deleting(claim) or is_stale(claim, own)) for claim in found):
            yield number


def _in_turn(observed: Observed, made: list[int]) -> list[int]:
    """The numbers whose claims are made if they lack any: of pods that are `made` and of those that wait. Who was just
    refused a claim waits until the others have theirs, which it would hold up."""
    parent = observed.parent
    if not meta.spec(parent).get("volumeClaimTemplates"):
        return made
    waiting = (ordinal(parent, pod) for pod in observed.children["Pod"].values() if pods.phase(pod) == "Pending")
    lacking_claims = (number for number in waiting if number in Rules.of(parent).numbers)
    numbers = [*made, *(number for number in lacking_claims if number is not None and _lacks(observed, number))]
    refused = {failure.name for failure in observed.failures if failure.kind == "PersistentVolumeClaim"}
    others = [number for number in numbers if refused.isdisjoint(name for _, name in claim_names(parent, number))]
    return others or numbers


def _lacks(observed: Observed, number: int) -> bool:
    return any(_claim(observed, name) is None for _, name in claim_names(observed.parent, number))


def _claims(observed: Observed, numbers: list[int]) -> Iterator[Object]:
    for number in numbers:
        yield from (claim for claim in claims(observed.parent, number) if _claim(observed, meta.name(claim)) is None)


def _patches(observed: Observed, steps: Steps) -> Iterator[Patch]:
    """Labels of a pod's identity that somebody has removed, and owners of claims as the retention policy has them."""
    parent, members = observed.parent, observed.children["Pod"]
    for number in steps.sound:
        pod = members[pod_name(parent, number)]
        labels = lacking(parent, pod, number)
        if labels:
            yield Patch(pod, {"metadata": {"labels": labels}})
        yield from _owners(observed, pod, number, condemned=False)
    for pod in steps.condemned:
        number = ordinal(parent, pod) or 0
        yield from _owners(observed, pod, number, condemned=True)


def _owners(observed: Observed, pod: Object, number: int, *, condemned: bool) -> Iterator[Patch]:
    for _, name in claim_names(observed.parent, number):
        claim = _claim(observed, name)
        owners = None if claim is None else owned(observed.parent, claim, pod, condemned=condemned)
        if claim is not None and owners is not None:
            yield Patch(claim, {"metadata": {"ownerReferences": owners}})


# -- the status


def _status(observed: Observed, known: History, current: Object, update: Object) -> Object:
    parent, now = observed.parent, observed.now
    rules, before = Rules.of(parent), meta.status(parent)
    counts = _counts(observed.children["Pod"], rules, meta.name(current), meta.name(update), now)
    revision = meta.name(current)
    full = (counts["updatedReplicas"], counts["readyReplicas"], counts["replicas"]) == (rules.replicas,) * 3
    if rules.rolling and full:
        counts["currentReplicas"], revision = counts["updatedReplicas"], meta.name(update)
    always = {name: counts.pop(name) for name in ("replicas", "availableReplicas")}
    rest = {
        "observedGeneration": meta.metadata(parent).get("generation"),
        "currentRevision": revision,
        "updateRevision": meta.name(update),
        "conditions": before.get("conditions"),
        **counts,
    }
    return {**always, "collisionCount": known.collisions, **pods.without_zeros(rest)}


def _counts(members: Mapping[str, Object], rules: Rules, current: str, update: str, now: datetime) -> dict[str, int]:
    counts = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"), 0)
    for pod in members.values():
        counts["replicas"] += 1
        if pods.phase(pod) == "Running" and pod_state.is_ready(pod):
            counts["readyReplicas"] += 1
            counts["availableReplicas"] += pods.is_available(pod, rules.min_ready, now)
        if not meta.is_deleting(pod):
            counts["currentReplicas"] += revision_of(pod) == current
            counts["updatedReplicas"] += revision_of(pod) == update
    return counts


# -- events


def tell_of_pod(deed: Deed) -> Note | None:
    verb, set_name, name = deed.verb, meta.name(deed.parent), meta.name(deed.child)
    if deed.error:
        words = f"{verb} Pod {name} in StatefulSet {set_name} failed error: {deed.error}"
        return Note("Warning", f"Failed{verb.title()}", words)
    return Note("Normal", f"Successful{verb.title()}", f"{verb} Pod {name} in StatefulSet {set_name} successful")


def tell_of_claim(deed: Deed) -> Note | None:
    set_name, name = meta.name(deed.parent), meta.name(deed.child)
    pod = f"{set_name}-{name.rpartition('-')[2]}"
    if deed.error:
        words = f"create Claim {name} for Pod {pod} in StatefulSet {set_name} failed error: {deed.error}"
        return Note("Warning", "FailedCreate", words)
    return Note("Normal", "SuccessfulCreate", f"create Claim {name} Pod {pod} in StatefulSet {set_name} success")
