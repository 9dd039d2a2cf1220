"""Reading and building the parts that every API object has: names, labels, owners, conditions, times."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypeAlias

Object: TypeAlias = dict[str, Any]
"""An API object as JSON. Stored and cached ones are read-only: build a new one instead."""

FOREGROUND_FINALIZER = "foregroundDeletion"
"""Keeps an object that is being deleted until its dependents have gone."""
ORPHAN_FINALIZER = "orphan"
"""Keeps an object that is being deleted until its dependents no longer refer to it."""


def metadata(obj: Mapping[str, Any]) -> dict[str, Any]:
    return obj.get("metadata") or {}


def name(obj: Mapping[str, Any]) -> str:
    return metadata(obj).get("name") or ""


def namespace(obj: Mapping[str, Any]) -> str:
    """The object's namespace; empty for a cluster-scoped one."""
    return metadata(obj).get("namespace") or ""


def uid(obj: Mapping[str, Any]) -> str:
    return metadata(obj).get("uid") or ""


def resource_version(obj: Mapping[str, Any]) -> str:
    return metadata(obj).get("resourceVersion") or ""


def labels(obj: Mapping[str, Any]) -> dict[str, str]:
    return metadata(obj).get("labels") or {}


def annotations(obj: Mapping[str, Any]) -> dict[str, str]:
    return metadata(obj).get("annotations") or {}


def is_relabelled(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Of a node, for instance: its labels say where it is."""
    return labels(old) != labels(new)


def spec(obj: Mapping[str, Any]) -> dict[str, Any]:
    return obj.get("spec") or {}


def status(obj: Mapping[str, Any]) -> dict[str, Any]:
    return obj.get("status") or {}


def is_deleting(obj: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in metadata(obj)


def controller_of(obj: Mapping[str, Any]) -> dict[str, Any] | None:
    """The owner reference with ``controller: true``, or None."""
    for reference in metadata(obj).get("ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


def owner_reference(owner: Mapping[str, Any]) -> dict[str, Any]:
    """A reference that makes `owner` the controlling owner of the object that carries it; its foreground deletion waits
    for that object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes ``metav1.Time``."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return _of_second((moment - _EPOCH) // _SECOND)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)


@lru_cache(maxsize=64)
def _of_second(number: int) -> str:
    """The RFC 3339 text of a Unix time: what is written in one second has the same."""
    return f"{(_EPOCH + number * _SECOND).isoformat()[:19]}Z"


def micro_timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with six decimals, as Kubernetes writes ``metav1.MicroTime``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """The moment an RFC 3339 text names, aware; raises ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment


def find_condition(conditions: Iterable[Mapping[str, Any]] | None, type: str) -> Mapping[str, Any] | None:
    for condition in conditions or ():
        if condition.get("type") == type:
            return condition
    return None


def holds(conditions: Iterable[Mapping[str, Any]] | None, type: str) -> bool:
    """Whether the condition is there and its status is True."""
    condition = find_condition(conditions, type)
    return condition is not None and condition.get("status") == "True"


def is_condition_true(obj: Mapping[str, Any], type: str) -> bool:
    return holds(status(obj).get("conditions"), type)


def with_transition(
    condition: Mapping[str, Any], former: Iterable[Mapping[str, Any]] | None, now: datetime
) -> dict[str, Any]:
    """`condition` with its ``lastTransitionTime``, which moves only when the status does. `former`: the conditions as
    they were."""
    old = find_condition(former, condition["type"]) or {}
    since = old.get("lastTransitionTime") if old.get("status") == condition["status"] else None
    return {**condition, "lastTransitionTime": since or timestamp(now)}


def dicts(value: Any) -> Iterator[Object]:
    """The objects in a list; nothing if it is no list."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield item
