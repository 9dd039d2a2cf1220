"""Why a job waits that no group of the scheduler's shows: its group was refused, is missing or is not asked for."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from homeport.client.client import Client
from homeport.components import volcano
from homeport.kube import core, meta
from homeport.kube.errors import NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, name, namespace, spec, status, uid
from homeport.scheduler.batch import membership
from homeport.scheduler.batch.telling import Wanted
from homeport.standalone import asked

DEPLOYMENT = core.DEPLOYMENT.resource.group, core.DEPLOYMENT.resource.kind
_STOCK = "default-scheduler"
_ENDS = ("Succeeded", "Failed", "Complete", "Completed", "Terminated")


async def tell(
    client: Client, wanted: Wanted, place: str, told: AbstractSet[tuple[str, str]] | None = None
) -> list[str]:
    """Lines on each object that is meant; none if there is none. `told`: groups were found, of objects of these kinds;
    then pods and what is somebody else's part are passed over, too."""
    lines: list[str] = []
    for resource in dict.fromkeys(kind.resource for kind in asked.JOBS):
        kind = resource.group, resource.kind
        if not wanted.means(*kind) or (told is not None and (kind in told or resource == core.POD.resource)):
            continue
        try:
            found = await client.get(resource, wanted.name, place)
        except NotFound:
            continue
        if told is not None and meta.controller_of(found) is not None:
            continue
        lines += _lines(resource, found, await _complaints(client, found))
    return lines


async def sets_of(client: Client, wanted: Wanted, place: str) -> list[Wanted]:
    """The replica sets of a deployment of that name that are to have pods: groups are theirs."""
    if not wanted.means(*DEPLOYMENT):
        return []
    try:
        deployment = await client.get(core.DEPLOYMENT.resource, wanted.name, place)
    except NotFound:
        return []
    sets = (await client.list(core.REPLICA_SET.resource, place)).items
    own = [each for each in sets if (meta.controller_of(each) or {}).get("uid") == uid(deployment)]
    return [asked.meant(core.REPLICA_SET, name(each)) for each in own if spec(each).get("replicas")]


async def _complaints(client: Client, obj: Object) -> list[str]:
    """What events say of its group, the newest last."""
    fields = f"involvedObject.uid={uid(obj)}"
    events = (await client.list(core.EVENT.resource, namespace(obj), fields=fields)).items
    told = [event for event in events if event.get("reason") == "FailedCreatePodGroup"]
    told.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return [str(event.get("message") or "") for event in told]


def _lines(resource: Resource, obj: Object, complaints: list[str]) -> Iterator[str]:
    title = f"{resource.kind} {namespace(obj)}/{name(obj)}"
    ended = _end(obj)
    if ended:
        yield f"{title} does not wait: it has ended ({ended})."
    elif resource == core.POD.resource:
        yield from _of_pod(title, obj, complaints)
    elif complaints:
        yield f"{title} waits: it has no pod group."
        yield f"  Reason:  {complaints[-1]}"
    elif meta.holds(status(obj).get("conditions"), "Suspended"):
        yield f"{title} does not wait: it is suspended."
    elif resource == volcano.JOB.resource and _phases(obj)[1] in ("Aborting", "Aborted"):
        again = f"homeport jobs resume {name(obj)} -n {namespace(obj)}"
        yield f"{title} does not wait: it is suspended ({_phases(obj)[1]}) until it is resumed ({again})."
    else:
        yield f"{title} is not scheduled as a group: its pods are placed one by one (homeport why Pod/NAME)."


def _of_pod(title: str, pod: Object, complaints: list[str]) -> Iterator[str]:
    if spec(pod).get("nodeName"):
        yield f"{title} does not wait: it is on node {spec(pod)['nodeName']}."
        return
    yield f"{title} waits: {_missing(pod)}."
    condition = meta.find_condition(status(pod).get("conditions"), "PodScheduled") or {}
    reason = complaints[-1] if complaints else condition.get("message")
    if reason:
        yield f"  Reason:  {reason}"


def _missing(pod: Object) -> str:
    named = str(spec(pod).get("schedulerName") or _STOCK)
    if not membership.is_ours(pod) and named != _STOCK:
        ours = ", ".join(sorted((*membership.NAMES, _STOCK)))
        return f'a scheduler "{named}" has to place it, which is none of ours ({ours})'
    if not membership.is_ours(pod):
        return "it belongs to no group, and goes as soon as a node has room for it"
    _, place, group = membership.belonging(pod, plain_groups=True).keys[0].split("/", 2)
    return f'its PodGroup "{place}/{group}" does not exist'


def _end(obj: Object) -> str:
    """How it has ended; empty if it has not."""
    true = (one.get("type") for one in status(obj).get("conditions") or () if one.get("status") == "True")
    return next((str(phase) for phase in (*_phases(obj), *true) if phase in _ENDS), "")


def _phases(obj: Object) -> tuple[object, object]:
    """The phase, and Volcano jobs'."""
    own, state = status(obj).get("phase"), status(obj).get("state")
    return own, state.get("phase") if isinstance(state, dict) else None
