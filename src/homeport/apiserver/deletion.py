"""What a deletion does to an object: removes it, or marks it and waits for a node or for finalizers. Pure.

Upstream: ``apiserver/pkg/registry/rest/delete.go`` and ``registry/generic/registry/store.go``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from homeport.apiserver.resources import Served
from homeport.kube import core, field
from homeport.kube.errors import BadRequest, Conflict, Invalid
from homeport.kube.meta import (
    FOREGROUND_FINALIZER,
    ORPHAN_FINALIZER,
    Object,
    parse_time,
    spec,
    status,
    timestamp,
)

_POLICIES = ("Background", "Foreground", "Orphan")
_JOBS = "batch/jobs"
_ORPHANED = frozenset({_JOBS, "/replicationcontrollers"})
"""Kinds whose dependents stay where nobody says what becomes of them: they are older than garbage collection (upstream:
their strategies' ``DefaultGarbageCollectionPolicy``). kubectl always says it."""
_ORPHANING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


class DeleteOptions(msgspec.Struct, frozen=True):
    """``metav1.DeleteOptions``."""

    grace: int | None = None
    """Seconds; None for the object's own."""
    policy: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False
    accepts: bool = False
    """Whether an object that something holds back is "accepted" (202), not "ok": clients that say
    ``orphanDependents=false`` expect that, and others do not (upstream's habit)."""


def delete_options(body: Object, query: dict[str, str]) -> DeleteOptions:
    """The options of a body, which may be empty, and of a query. Raises BadRequest or Invalid."""
    kind = body.get("kind")
    if kind and kind != "DeleteOptions":
        raise BadRequest(f'the body of a deletion has to be DeleteOptions, not "{kind}"')
    grace = body.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        text = query["gracePeriodSeconds"]
        if not (text.isascii() and text.removeprefix("-").isdigit()) or len(text) > 19:
            raise BadRequest(f'gracePeriodSeconds: Invalid value: "{text}": it has to be a number')
        grace = int(text)
    if isinstance(grace, float) and grace.is_integer():
        grace = int(grace)
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool) or abs(grace) >= 1 << 31):
        raise BadRequest("gracePeriodSeconds has to be a number of seconds")
    policy = body.get("propagationPolicy") or query.get("propagationPolicy") or ""
    orphan = body.get("orphanDependents")
    if orphan is None and query.get("orphanDependents"):
        orphan = query["orphanDependents"].lower() in ("true", "1")
    errors = []
    if policy and policy not in _POLICIES:
        errors.append(field.not_supported("propagationPolicy", policy, (*_POLICIES, "nil")))
    if policy and orphan is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(field.invalid("propagationPolicy", policy, detail))
    dry_run = body.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
    if not isinstance(dry_run, list) or any(value != "All" for value in dry_run):
        errors.append(field.not_supported("dryRun", dry_run, ("All",)))
    preconditions = body.get("preconditions") or {}
    if not isinstance(preconditions, dict):
        raise BadRequest("preconditions has to be an object")
    if errors:
        raise Invalid.of("meta.k8s.io", "DeleteOptions", "", errors)
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    return DeleteOptions(
        grace,
        policy,
        str(preconditions.get("uid") or ""),
        str(preconditions.get("resourceVersion") or ""),
        bool(dry_run),
        accepts=orphan is False,
    )


def warning(served: Served, options: DeleteOptions) -> str:
    """What a client should know that deletes like this; empty for nothing."""
    return _ORPHANING if served.key == _JOBS and not options.policy else ""


def check_preconditions(served: Served, obj: Object, options: DeleteOptions) -> None:
    """Raises Conflict when the object is not the one that the client means."""
    metadata = obj["metadata"]
    for what, wanted, have in (
        ("UID", options.uid, metadata.get("uid", "")),
        ("ResourceVersion", options.resource_version, metadata.get("resourceVersion", "")),
    ):
        if wanted and wanted != have:
            raise Conflict.precondition(served.group, served.resource.plural, metadata["name"], what, wanted, have)


class Outcome(NamedTuple):
    """What to do with the object."""

    remove: bool
    """Remove it from the store now; else write `object`, if it differs."""
    object: Object
    """The object with its marks; for a removal the last state that watchers see."""
    changed: bool


def mark(served: Served, obj: Object, options: DeleteOptions, now: datetime) -> Outcome:
    """What deleting `obj` does. Never changes `obj`."""
    metadata: dict[str, Any] = dict(obj["metadata"])
    result: Object = {**obj, "metadata": metadata}
    finalizers = _finalizers(served, metadata.get("finalizers") or [], options.policy)
    if finalizers != (metadata.get("finalizers") or []):
        metadata["finalizers"] = finalizers
        if not finalizers:
            del metadata["finalizers"]
    if served.key == "/namespaces":
        return _mark_namespace(obj, result, now)
    deleting = "deletionTimestamp" in metadata
    grace = 0
    if served.key == "/pods":
        if not deleting:
            grace = _pod_grace(obj, options.grace)
            if grace:
                _set_deletion(metadata, now + timedelta(seconds=grace), grace)
        elif pending := int(metadata.get("deletionGracePeriodSeconds") or 0):
            # Deleted before, gracefully: the time may become shorter, never longer.
            grace = pending if options.grace is None else _not_negative(options.grace)
            if grace >= pending:
                return Outcome(False, result, metadata != obj["metadata"])
            begun = parse_time(metadata["deletionTimestamp"]) - timedelta(seconds=pending)
            metadata["deletionTimestamp"] = timestamp(begun + timedelta(seconds=grace))
            metadata["deletionGracePeriodSeconds"] = grace
    if grace:
        return Outcome(False, result, True)
    if finalizers:
        if not deleting or metadata.get("deletionGracePeriodSeconds"):
            if deleting:
                metadata["deletionTimestamp"] = timestamp(now)
                metadata["deletionGracePeriodSeconds"] = 0
            else:
                _set_deletion(metadata, now, 0)
        return Outcome(False, result, metadata != obj["metadata"])
    return Outcome(True, result, True)


def is_finished(served: Served, obj: Object) -> bool:
    """Whether an update took away the last thing that a deleted object waited for."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if metadata.get("deletionGracePeriodSeconds"):
        return False
    return served.key != "/namespaces" or not spec(obj).get("finalizers")


def _mark_namespace(before: Object, namespace: Object, now: datetime) -> Outcome:
    """A namespace goes away once its controller has emptied it, which it says by taking away ``spec.finalizers``."""
    metadata = namespace["metadata"]
    if "deletionTimestamp" not in metadata:
        metadata["deletionTimestamp"] = timestamp(now)
    namespace["status"] = {**status(namespace), "phase": "Terminating"}
    if is_finished_namespace(namespace):
        return Outcome(True, namespace, True)
    return Outcome(False, namespace, namespace != before)


def is_finished_namespace(namespace: Object) -> bool:
    return not spec(namespace).get("finalizers") and not namespace["metadata"].get("finalizers")


def _set_deletion(metadata: dict[str, Any], when: datetime, grace: int) -> None:
    metadata["deletionTimestamp"] = timestamp(when)
    metadata["deletionGracePeriodSeconds"] = grace
    if metadata.get("generation"):
        metadata["generation"] += 1


def _finalizers(served: Served, present: list[str], policy: str) -> list[str]:
    """The finalizers that the garbage collector works by, for the asked policy; without one they stay."""
    if not policy:
        decided = ORPHAN_FINALIZER in present or FOREGROUND_FINALIZER in present
        return present if decided or served.key not in _ORPHANED else [*present, ORPHAN_FINALIZER]
    kept = [finalizer for finalizer in present if finalizer not in (ORPHAN_FINALIZER, FOREGROUND_FINALIZER)]
    if policy == "Orphan":
        return [*kept, ORPHAN_FINALIZER]
    if policy == "Foreground":
        return [*kept, FOREGROUND_FINALIZER]
    return kept


def _pod_grace(pod: Object, asked: int | None) -> int:
    """Seconds that a pod gets: none when no node has it, or when it has ended."""
    if not spec(pod).get("nodeName") or core.has_ended(pod):
        return 0
    own = spec(pod).get("terminationGracePeriodSeconds")
    return _not_negative(asked if asked is not None else (own if isinstance(own, int) else 30))


def _not_negative(grace: int) -> int:
    """A negative grace period counts as one second, as upstream."""
    return 1 if grace < 0 else grace
